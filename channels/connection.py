"""One client: what it follows and from where on, its bounded buffer, its catch-up.

Promises
  - A channel's publications reach the client in order and once, beginning right after the position in the
    answer to its subscribe (or the position it recovered from); where that is impossible it is told so.
  - A client that does not keep up is skipped, and served from the log at its own position once it has
    drained. One that stays behind for BEHIND_FOR_S, or has BUFFER_BYTES_MAX waiting, is closed with 3008 and
    recovers on return.
  - Rights are asked at every join and again when they change; a session that ends takes its sockets with it.

What the client asks for is in channels/commands.py.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final

import msgspec

from channels import gate, protocol
from channels.hub import Feed
from channels.protocol import HangUp, Refused, Result, Since
from channels.relay import RECOVERED_MAX, Relay
from channels.wire import BUFFER_BYTES_MAX, Wire
from domain.auth import service as auth
from domain.auth.service import Identity

log = logging.getLogger("maycole.connection")

HELLO_WITHIN_S: Final = 10.0
PING_EVERY_S: Final = 25
PONG_WITHIN_S: Final = 8.0
BEHIND_FOR_S: Final = 10.0


class Subscription:
    """A channel that this client follows. `served` is where it stands while it is out of the feed."""

    __slots__ = ("by_server", "epoch", "feed", "served")

    def __init__(self, feed: Feed, *, by_server: bool) -> None:
        self.feed = feed
        self.epoch = feed.epoch
        self.by_server = by_server
        self.served: int | None = None


class Connection:
    """A follower (channels/hub.py) with a wire of its own. `identity` is None until it is welcome."""

    def __init__(self, wire: Wire, relay: Relay) -> None:
        self.behind = False
        self.write: Callable[[bytes], None] = wire.write
        self.identity: Identity | None = None
        self.subscriptions: dict[str, Subscription] = {}
        self._wire = wire
        self._relay = relay
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(HELLO_WITHIN_S, self.hang_up, 3502)
        self._behind_timer: asyncio.TimerHandle | None = None
        self._awaits_pong = False
        self.drained = asyncio.Event()
        self.drained.set()
        self._chores: set[asyncio.Task[None]] = set()
        self._joining = asyncio.Lock()
        self.gone = False
        wire.on_flow(self._paused, self._resumed)

    # Joining and leaving

    async def welcome(
        self, identity: Identity, before: Mapping[str, Since], answer: Callable[[dict[str, Result]], bytes]
    ) -> None:
        """The client has said who it is: join what the server joins for it, from where it stood before.

        `answer` makes the reply out of the results; nothing is pushed ahead of it.
        """
        held: list[bytes] = []
        self.write = held.append
        self.identity = identity
        try:
            async with self._joining:
                results = {
                    channel: await self._join(channel, before.get(channel), by_server=True)
                    for channel in await gate.joined_by_server(identity.user_id)
                }
        except BaseException:
            self.identity = None
            self._leave_all()
            raise
        finally:
            self.write = self._wire.write
        if self.gone:
            return
        self.say(answer(results))
        for frame in held:
            self.write(frame)
        self._timer.cancel()
        # The first ping comes at a random moment: a thousand that came together are not pinged together.
        first = PING_EVERY_S * random.uniform(0.5, 1)  # noqa: S311 - no secret
        self._timer = self._loop.call_later(first, self._ping)
        # Rights may have changed between asking and joining.
        self._do(self._recheck())

    async def subscribe(
        self, channel: str, since: Since | None, answer: Callable[[Result], bytes], *, or_refuse: bool
    ) -> None:
        """Follow a channel because the client asks. Raises Refused.

        With `or_refuse` a position that cannot be recovered from is refused (112) instead of being said.
        """
        async with self._joining:
            await gate.may_follow(self.user_id, channel)
            await self._join(channel, since, answer=answer, or_refuse=or_refuse)

    async def _join(
        self,
        channel: str,
        since: Since | None,
        *,
        by_server: bool = False,
        answer: Callable[[Result], bytes] | None = None,
        or_refuse: bool = False,
    ) -> Result:
        """The answer, where one is due, is written in the same turn in which the feed lets us in."""
        async with self._relay.following(channel) as feed:
            missed = await self._relay.missed(feed, since) if since is not None else None
            if since is not None and missed is None and or_refuse:
                raise Refused(112)
            # From here to the end nothing waits, so the position that is answered is where we are let in.
            self._relay.hub.flush(feed)
            result = Result(
                recoverable=True,
                positioned=True,
                epoch=feed.epoch,
                offset=feed.last,
                was_recovering=since is not None,
            )
            if since is not None and missed is not None:
                result.recovered = True
                result.offset = since.offset
                result.publications = [
                    msgspec.Raw(protocol.publication_of(channel, pushed)) for pushed in missed
                ]
            if not self.gone:
                self.subscriptions[channel] = Subscription(feed, by_server=by_server)
                if answer is not None:
                    self.say(answer(result))
            # The answer itself may have been more than the client's buffer takes: then we are gone again.
            if channel in self.subscriptions:
                self._relay.hub.follow(feed, self)
        return result

    def leave(self, channel: str) -> None:
        subscription = self.subscriptions.pop(channel, None)
        if subscription is None:
            return
        subscription.feed.followers.pop(self, None)
        if subscription.served is not None:
            subscription.feed.pins -= 1
        self._relay.let_go(subscription.feed)

    def _leave_all(self) -> None:
        for channel in list(self.subscriptions):
            self.leave(channel)

    # As a follower

    def fell_behind(self, channel: str, offset: int) -> None:
        subscription = self.subscriptions.get(channel)
        if subscription is not None:
            # The feed must not close while we are out of it.
            subscription.feed.pins += 1
            subscription.served = offset

    def lost(self, channel: str) -> None:
        subscription = self.subscriptions.get(channel)
        if subscription is None:
            return
        if subscription.by_server:
            self.hang_up(3010)
        else:
            self.leave(channel)
            self.say(protocol.push_unsubscribe(channel, 2500))

    def _paused(self) -> None:
        if self._wire.buffered() > BUFFER_BYTES_MAX:
            self.hang_up(3008)
            return
        self.behind = True
        self.drained.clear()
        if self._behind_timer is None:
            self._behind_timer = self._loop.call_later(BEHIND_FOR_S, self.hang_up, 3008)

    def _resumed(self) -> None:
        self.behind = False
        self.drained.set()
        if self._behind_timer is not None:
            self._behind_timer.cancel()
            self._behind_timer = None
        if any(subscription.served is not None for subscription in self.subscriptions.values()):
            self._do(self._come_back())

    async def _come_back(self) -> None:
        """Rights first: what was said of them while we were behind has not been heard yet."""
        await self._recheck()
        for channel, subscription in list(self.subscriptions.items()):
            if subscription.served is not None:
                await self._catch_up(channel, subscription)

    async def _catch_up(self, channel: str, subscription: Subscription) -> None:
        """Go on where we fell behind, from the log, until we are level with the feed or behind again."""
        feed = subscription.feed
        while subscription.served is not None and self._may_write(channel, subscription):
            if subscription.served == feed.last:
                subscription.served = None
                feed.pins -= 1
                self._relay.hub.flush(feed)
                self._relay.hub.follow(feed, self)
                return
            pushes = None
            if subscription.epoch == feed.epoch:
                pushes = await self._relay.after(feed, subscription.served, limit=RECOVERED_MAX)
            if pushes is None:
                self.lost(channel)
                return
            for frame, count in protocol.frames(pushes):
                if not self._may_write(channel, subscription):
                    return
                self.write(frame)
                subscription.served += count

    def _may_write(self, channel: str, subscription: Subscription) -> bool:
        return not self.behind and self.subscriptions.get(channel) is subscription

    # Rights

    def hear(self, pushed: bytes) -> None:
        """A push on the user's own channel: rights, or the session itself, may have changed with it."""
        assert self.identity is not None, "only a connected client follows its user's channel"
        match gate.concerns(pushed, self.identity.session_id):
            case "rights":
                self._do(self._recheck())
            case "session":
                self.hang_up(3500)
            case "nothing":
                pass

    async def _recheck(self) -> None:
        """Leave what may not be followed any more, join what the server joins for this user now."""
        assert self.identity is not None, "only a connected client has rights"
        async with self._joining:
            if await auth.over([self.identity.session_id]):
                self.hang_up(3500)
                return
            for channel in list(self.subscriptions):
                try:
                    await gate.may_follow(self.user_id, channel)
                except Refused:
                    self.leave(channel)
                    self.say(protocol.push_unsubscribe(channel, 2000))
            for channel in await gate.joined_by_server(self.user_id):
                if channel not in self.subscriptions and not self.gone:
                    result = await self._join(channel, None, by_server=True)
                    self.say(protocol.push_subscribe(channel, result))

    @property
    def user_id(self) -> str:
        assert self.identity is not None, "asked only of a connected client"
        return self.identity.user_id

    # Life and death

    def hang_up(self, code: int) -> None:
        """Close with this code. Who waits for the client sees the disconnect and calls `left`."""
        if not self.gone:
            self.left()
            self._wire.hang_up(code)

    def left(self) -> None:
        """The socket is gone: forget everything."""
        self.gone = self.behind = True
        self._timer.cancel()
        if self._behind_timer is not None:
            self._behind_timer.cancel()
        self.drained.set()
        self._leave_all()
        for chore in self._chores:
            chore.cancel()

    def pong(self) -> None:
        """The client has answered a ping. Raises HangUp where none was asked."""
        if not self._awaits_pong:
            raise HangUp(3501)
        self._awaits_pong = False
        self._timer.cancel()
        self._timer = self._loop.call_later(PING_EVERY_S, self._ping)

    def _ping(self) -> None:
        self._awaits_pong = True
        self.say(protocol.PING)
        self._timer = self._loop.call_later(PONG_WITHIN_S, self.hang_up, 3012)

    def say(self, message: bytes) -> None:
        if not self.gone:
            self.write(protocol.frame(message))

    def _do(self, chore: Coroutine[Any, Any, None]) -> None:
        """Work that a push set off, beside the commands; where it fails the client starts over."""
        task = asyncio.create_task(chore)
        self._chores.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._chores.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a connection could not be kept up to date", exc_info=error)
            self.hang_up(3004)
