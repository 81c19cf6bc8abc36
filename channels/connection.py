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
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final

from channels import gate, protocol
from channels.protocol import HangUp, Refused, Result, Since
from channels.pulse import Pulse
from channels.relay import Relay
from channels.subscription import Subscription, result
from channels.wire import BUFFER_BYTES_MAX, Wire
from domain import channels, db
from domain.auth import service as auth
from domain.auth.service import Identity

log = logging.getLogger("maycole.connection")

BEHIND_FOR_S: Final = 10.0
ANSWER_BYTES_MAX: Final = 512 * 1024
CATCH_UP_ENTRIES: Final = 300


class Connection:
    """A follower (channels/hub.py) with a wire of its own. `identity` is None until it says who it is."""

    def __init__(self, wire: Wire, relay: Relay) -> None:
        self.behind = False
        self.write: Callable[[bytes], None] = wire.write
        self.identity: Identity | None = None
        self.subscriptions: dict[str, Subscription] = {}
        self.drained = asyncio.Event()
        self.drained.set()
        self.busy = False
        self.gone = False
        self._wire = wire
        self._relay = relay
        self._loop = asyncio.get_running_loop()
        self._behind_timer: asyncio.TimerHandle | None = None
        self._chores: set[asyncio.Task[None]] = set()
        self._joining = asyncio.Lock()
        self._comes_back = False
        self._to_recheck = False
        self.pulse = Pulse(self.say, self.hang_up, lambda: self.busy)
        wire.watcher = self

    # Joining and leaving

    async def welcome(
        self, identity: Identity, before: Mapping[str, Since], answer: Callable[[dict[str, Result]], bytes]
    ) -> None:
        """The client has said who it is: join what the server joins for it, from where it stood before.

        `answer` makes the reply out of the results; nothing is pushed ahead of it. Raises HangUp.
        """
        held: list[bytes] = []
        self.write = held.append
        self.identity = identity
        try:
            async with self._joining:
                results = await self._join_for_server(identity, before)
        except BaseException:
            self.identity = None
            self._leave_all()
            self._drop_chores()
            raise
        finally:
            self.write = self._wire.write
        self.say(answer(results))
        for frame in held:
            if not self.gone:
                self.write(frame)
        if not self.gone:
            self.pulse.begin()

    async def _join_for_server(self, identity: Identity, before: Mapping[str, Since]) -> dict[str, Result]:
        own = channels.user(identity.user_id)
        room = ANSWER_BYTES_MAX
        results = {own: await self._join(own, before.get(own), by_server=True, bytes_max=room)}
        # From here on a change of rights is heard; what was asked before might have missed one.
        if await auth.over([identity.session_id]):
            raise HangUp(3500)
        for channel in gate.joined_by_server(identity.user_id, await gate.roles_of(identity.user_id)):
            if channel != own:
                results[channel] = await self._join(
                    channel, before.get(channel), by_server=True, bytes_max=max(0, room)
                )
            room -= sum(len(publication) for publication in results[channel].publications)
        return results

    async def subscribe(
        self, channel: str, since: Since | None, answer: Callable[[Result], bytes], *, or_refuse: bool
    ) -> None:
        """Follow a channel because the client asks. Raises Refused.

        With `or_refuse` a position that cannot be recovered from is refused (112) instead of being said.
        """
        async with self._joining:
            if channel in self.subscriptions:
                raise Refused(105)
            if sum(not sub.by_server for sub in self.subscriptions.values()) >= protocol.CHANNELS_MAX:
                raise Refused(106)
            gate.may_follow(self.user_id, await gate.roles_of(self.user_id), channel)
            await self._join(channel, since, answer=answer, or_refuse=or_refuse)

    async def _join(
        self,
        channel: str,
        since: Since | None,
        *,
        by_server: bool = False,
        answer: Callable[[Result], bytes] | None = None,
        or_refuse: bool = False,
        bytes_max: int = ANSWER_BYTES_MAX,
    ) -> Result:
        """The answer, where one is due, is written in the same turn in which the feed lets us in."""
        async with self._relay.following(channel) as feed:
            missed = None
            if since is not None:
                missed = await self._relay.missed(feed, since, bytes_max=bytes_max)
                if missed is None and or_refuse:
                    raise Refused(112)
            # From here to the end nothing waits, so the position that is answered is where we are let in.
            self._relay.hub.flush(feed)
            answered = result(feed, since, missed)
            if not self.gone:
                self.subscriptions[channel] = Subscription(feed, by_server=by_server)
                if answer is not None:
                    self.say(answer(answered))
            # The answer itself may have been more than the client's buffer takes: then we are gone again.
            if channel in self.subscriptions:
                self._relay.hub.follow(feed, self)
        return answered

    def leave(self, channel: str) -> None:
        subscription = self.subscriptions.pop(channel, None)
        if subscription is not None:
            subscription.feed.followers.pop(self, None)
            subscription.step_in()
            self._relay.let_go(subscription.feed)

    def _leave_all(self) -> None:
        for channel in list(self.subscriptions):
            self.leave(channel)

    # As a follower, and as the watcher of its wire

    def hear(self, pushed: bytes) -> None:
        """A push on the user's own channel: rights, or the session itself, may have changed with it."""
        assert self.identity is not None, "only a client that said who it is follows its user's channel"
        match gate.concerns(pushed, self.identity.session_id):
            case "rights":
                self._recheck_soon()
            case "session":
                self.hang_up(3500)
            case "nothing":
                pass

    def fell_behind(self, channel: str, offset: int) -> None:
        subscription = self.subscriptions.get(channel)
        if subscription is not None:
            subscription.step_out(offset)

    def lost(self, channel: str) -> None:
        subscription = self.subscriptions.get(channel)
        if subscription is None:
            return
        if subscription.by_server:
            self.hang_up(3010)
        else:
            self.leave(channel)
            self.say(protocol.push_unsubscribe(channel, 2500))

    def broke(self) -> None:
        self.hang_up(3004)

    def paused(self) -> None:
        if self._wire.buffered() > BUFFER_BYTES_MAX:
            self.hang_up(3008)
            return
        self.behind = True
        self.drained.clear()
        if self._behind_timer is None:
            self._behind_timer = self._loop.call_later(BEHIND_FOR_S, self.hang_up, 3008)

    def resumed(self) -> None:
        if self.gone:
            return
        self.behind = False
        self.drained.set()
        if self._behind_timer is not None:
            self._behind_timer.cancel()
            self._behind_timer = None
        if not self._comes_back and self._late():
            self._comes_back = True
            self._do(self._come_back())

    def _late(self) -> list[str]:
        return [channel for channel, sub in self.subscriptions.items() if sub.served is not None]

    async def _come_back(self) -> None:
        """Serve what was missed while behind, one channel after another, until level or behind again.

        Rights first: what was said of them meanwhile has not been heard.
        """
        try:
            await self._recheck()
            while not self.behind and (late := self._late()):
                await self._catch_up(late[0])
        finally:
            self._comes_back = False

    async def _catch_up(self, channel: str) -> None:
        """One stretch of one channel, from the log, at our own position."""
        subscription = self.subscriptions[channel]
        feed, at = subscription.feed, subscription.served
        assert at is not None, "only what stepped out of its feed catches up"
        if at == feed.last and subscription.epoch == feed.epoch:
            self._relay.hub.flush(feed)
            subscription.step_in()
            self._relay.hub.follow(feed, self)
            return
        pushes = await self._relay.after(feed, at, limit=CATCH_UP_ENTRIES)
        if self.subscriptions.get(channel) is not subscription:
            return
        if pushes is None or subscription.epoch != feed.epoch:
            self.lost(channel)
            return
        done = 0
        for frame, count in protocol.frames(pushes):
            for pushed in pushes[done : done + count] if feed.overheard else ():
                self.hear(pushed)
            if self.behind:
                return
            self.write(frame)
            done += count
            subscription.served = at + done

    # Rights

    def check(self, roles: gate.Roles) -> None:
        """The watchman comes by with the roles as they are: put right what does not fit them."""
        if not gate.still_right(self.user_id, roles, self.subscriptions):
            self._recheck_soon()

    def _recheck_soon(self) -> None:
        """One recheck that has not begun serves everyone who asks for it meanwhile."""
        if not self._to_recheck:
            self._to_recheck = True
            self._do(self._recheck())

    async def _recheck(self) -> None:
        """Leave what may not be followed any more, join what the server joins for this user now."""
        async with self._joining:
            self._to_recheck = False
            if self.gone or self.identity is None:
                return
            if await auth.over([self.identity.session_id]):
                self.hang_up(3500)
                return
            roles = await gate.roles_of(self.user_id)
            for channel in list(self.subscriptions):
                try:
                    gate.may_follow(self.user_id, roles, channel)
                except Refused:
                    self.leave(channel)
                    self.say(protocol.push_unsubscribe(channel, 2000))
            for channel in gate.joined_by_server(self.user_id, roles):
                if channel not in self.subscriptions and not self.gone:
                    joined = await self._join(channel, None, by_server=True)
                    self.say(protocol.push_subscribe(channel, joined))

    @property
    def user_id(self) -> str:
        assert self.identity is not None, "asked only of a client that said who it is"
        return self.identity.user_id

    # Life and death

    def say(self, message: bytes) -> None:
        if not self.gone:
            self.write(protocol.frame(message))

    def hang_up(self, code: int) -> None:
        """Close with this code. Who waits for the client sees the disconnect."""
        if not self.gone:
            self.left()
            self._wire.hang_up(code)

    def left(self) -> None:
        """The socket is gone: forget everything. May be said more than once."""
        self.gone = self.behind = True
        self.drained.set()
        self.pulse.stop()
        if self._behind_timer is not None:
            self._behind_timer.cancel()
        self._leave_all()
        self._drop_chores()

    def _drop_chores(self) -> None:
        self._to_recheck = False
        for chore in self._chores:
            chore.cancel()

    def _do(self, chore: Coroutine[Any, Any, None]) -> None:
        """Work that a push set off, beside the commands; where it fails the client starts over."""
        task = asyncio.create_task(chore)
        self._chores.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._chores.discard(task)
        if task.cancelled() or (error := task.exception()) is None:
            return
        if isinstance(error, db.UNREACHABLE):
            # Rights cannot be asked at the moment: better to start over than to go on with old ones.
            log.warning("a connection starts over: %s: %s", type(error).__name__, error)
        else:
            log.error("a connection could not be kept up to date", exc_info=error)
        self.hang_up(3004)
