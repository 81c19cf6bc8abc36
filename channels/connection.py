"""One client: what it follows and from where on, its bounded buffer, its catch-up.

Promises
  - A channel's publications reach the client in order and once, beginning right after the position in the
    answer to its subscribe (or the position it recovered from); where that is impossible it is told so.
  - A client that does not keep up is skipped, and served from the log at its own position once it has
    drained. One that stays behind for BEHIND_FOR_S, or has BUFFER_BYTES_MAX waiting, is closed with 3008 and
    recovers on return.
  - Rights are asked at every join and again when they change; a session that ends takes its sockets with it.

Commands of one connection are carried out one after another.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final

import msgspec

from channels import gate, protocol
from channels.hub import Feed
from channels.protocol import Command, HangUp, Refused, Result, Since
from channels.relay import Relay
from channels.wire import BUFFER_BYTES_MAX, Wire
from domain import db, ids, streams
from domain.auth import service as auth
from domain.auth.service import Identity
from domain.errors import Unauthenticated

log = logging.getLogger("maycole.connection")

VERSION: Final = "maycole 0.1.0"
HELLO_WITHIN_S: Final = 10.0
PING_EVERY_S: Final = 25
PONG_WITHIN_S: Final = 8.0
BEHIND_FOR_S: Final = 10.0
RECOVERED_MAX: Final = 300
WANTS_ERROR_INSTEAD: Final = 2

Identify = Callable[[str], Awaitable[Identity]]


class Subscription:
    """A channel that this client follows. `served` is where it stands while it is taken out of the feed."""

    __slots__ = ("by_server", "epoch", "feed", "served")

    def __init__(self, feed: Feed, *, by_server: bool) -> None:
        self.feed = feed
        self.epoch = feed.epoch
        self.by_server = by_server
        self.served: int | None = None


class Connection:
    """A follower (channels/hub.py) with a wire of its own. `received` is given what the client sends."""

    def __init__(self, wire: Wire, relay: Relay, identify: Identify) -> None:
        self.behind = False
        self.write: Callable[[bytes], None] = wire.write
        self.identity: Identity | None = None
        self.subscriptions: dict[str, Subscription] = {}
        self._wire = wire
        self._relay = relay
        self._identify = identify
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(HELLO_WITHIN_S, self.hang_up, 3502)
        self._behind_timer: asyncio.TimerHandle | None = None
        self._awaits_pong = False
        self._drained = asyncio.Event()
        self._drained.set()
        self._chores: set[asyncio.Task[None]] = set()
        self._joining = asyncio.Lock()
        self._gone = False
        wire.on_flow(self._paused, self._resumed)

    # What the client sends

    async def received(self, data: bytes) -> None:
        """One frame. Closes the connection for what breaks the protocol; raises nothing."""
        try:
            for command in protocol.commands(data):
                await self._drained.wait()
                if self._gone:
                    return
                await self._carry_out(command)
        except HangUp as close:
            self.hang_up(close.code)

    async def _carry_out(self, command: Command) -> None:
        request = command.request()
        if command.id <= 0:
            self._without_id(request)
            return
        if request is None or (self.identity is None) != (request[0] == "connect"):
            raise HangUp(3501)
        name, body = request
        try:
            answer = await getattr(self, f"_{name}", self._unavailable)(command.id, body)
        except Refused as refused:
            answer = protocol.error(command.id, refused.code)
        except db.UNREACHABLE as error:
            log.warning("cannot carry out %s: %s", name, error)
            answer = protocol.error(command.id, 100)
        if answer is not None:
            self._say(answer)

    def _without_id(self, request: tuple[str, Any] | None) -> None:
        if request is not None:
            raise HangUp(3508 if request[0] == "send" and self.identity is not None else 3501)
        if not self._awaits_pong:
            raise HangUp(3501)
        self._awaits_pong = False
        self._timer.cancel()
        self._timer = self._loop.call_later(PING_EVERY_S, self._ping)

    async def _unavailable(self, command_id: int, body: Any) -> bytes:
        raise Refused(108)

    async def _connect(self, command_id: int, body: protocol.Connect) -> None:
        if not body.token:
            raise HangUp(3501)
        try:
            identity = await self._identify(body.token)
        except Unauthenticated as unknown:
            if unknown.problem == "token_expired":
                raise Refused(109) from unknown
            raise HangUp(3500) from unknown
        self.identity = identity
        async with self._joining:
            # What is pushed before the answer is complete waits behind it.
            held: list[bytes] = []
            self.write = held.append
            results = {
                channel: await self._join(channel, _position(body.subs.get(channel)), by_server=True)
                for channel in await gate.joined_by_server(identity.user_id)
            }
            self.write = self._wire.write
            self._say(
                protocol.reply(
                    command_id,
                    "connect",
                    protocol.ConnectResult(ids.new("client"), VERSION, results, PING_EVERY_S),
                )
            )
            for frame in held:
                self.write(frame)
        self._timer.cancel()
        # The first ping comes at a random moment, so that a thousand that came together are not pinged
        # together.
        self._timer = self._loop.call_later(PING_EVERY_S * random.uniform(0.5, 1), self._ping)  # noqa: S311 - no secret
        # Rights may have changed between asking and joining.
        self._do(self._recheck())

    async def _subscribe(self, command_id: int, body: protocol.Subscribe) -> None:
        if len(body.channel.encode()) > protocol.CHANNEL_BYTES_MAX:
            raise Refused(107)
        if body.type:
            raise Refused(108)
        if body.channel in self.subscriptions:
            raise Refused(105)
        if len(self.subscriptions) >= protocol.CHANNELS_MAX:
            raise Refused(106)
        async with self._joining:
            await gate.may_follow(self._user, body.channel)
            await self._join(
                body.channel,
                _position(body),
                by_server=False,
                answer_to=command_id,
                or_refuse=bool(body.flag & WANTS_ERROR_INSTEAD),
            )

    async def _unsubscribe(self, command_id: int, body: protocol.Unsubscribe) -> bytes:
        self._leave(body.channel)
        return protocol.reply(command_id, "unsubscribe")

    async def _history(self, command_id: int, body: protocol.History) -> bytes:
        await gate.may_follow(self._user, body.channel)
        head = await streams.open_head(body.channel)
        if body.since is not None and body.since.epoch and body.since.epoch != head.epoch:
            raise Refused(112)
        entries: list[streams.Entry] = []
        limit = protocol.HISTORY_MAX if body.limit < 0 else min(body.limit, protocol.HISTORY_MAX)
        if limit and body.reverse:
            before = body.since.offset if body.since is not None else None
            entries = await streams.read_back(body.channel, before, limit=limit)
        elif limit:
            after = body.since.offset if body.since is not None else 0
            entries = await streams.read(body.channel, after, limit=limit)
        publications = [msgspec.Raw(protocol.publication(entry)) for entry in entries]
        return protocol.reply(
            command_id, "history", protocol.HistoryResult(publications, head.epoch, head.offset)
        )

    # Joining and leaving

    async def _join(
        self,
        channel: str,
        since: Since | None,
        *,
        by_server: bool,
        answer_to: int | None = None,
        or_refuse: bool = False,
    ) -> Result:
        """Follow a channel.

        The answer, where one is due, is written in the same turn in which the feed lets us in.
        """
        async with self._relay.following(channel) as feed:
            missed = await self._missed(feed, since) if since is not None else None
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
            if not self._gone:
                self.subscriptions[channel] = Subscription(feed, by_server=by_server)
                if answer_to is not None:
                    self._say(protocol.reply(answer_to, "subscribe", result))
            # The answer itself may have been more than the client's buffer takes: then we are gone again.
            if channel in self.subscriptions:
                self._relay.hub.follow(feed, self)
        return result

    async def _missed(self, feed: Feed, since: Since) -> list[bytes] | None:
        """All pushes after a position, up to `feed.last` at the time of return; None where that cannot be
        told.
        """
        if since.offset > feed.last or (since.epoch and since.epoch != feed.epoch):
            await self._relay.refresh(feed)
        if since.epoch and since.epoch != feed.epoch:
            return None
        missed: list[bytes] = []
        while (at := since.offset + len(missed)) != feed.last:
            more = await self._relay.after(feed, at, limit=RECOVERED_MAX + 1)
            if more is None:
                return None
            missed += more
            if len(missed) > RECOVERED_MAX or sum(map(len, missed)) > BUFFER_BYTES_MAX:
                return None
        return missed

    def _leave(self, channel: str) -> None:
        subscription = self.subscriptions.pop(channel, None)
        if subscription is None:
            return
        subscription.feed.followers.pop(self, None)
        if subscription.served is not None:
            subscription.feed.pins -= 1
        self._relay.let_go(subscription.feed)

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
            self._leave(channel)
            self._say(protocol.push_unsubscribe(channel, 2500))

    def _paused(self) -> None:
        if self._wire.buffered() > BUFFER_BYTES_MAX:
            self.hang_up(3008)
            return
        self.behind = True
        self._drained.clear()
        if self._behind_timer is None:
            self._behind_timer = self._loop.call_later(BEHIND_FOR_S, self.hang_up, 3008)

    def _resumed(self) -> None:
        self.behind = False
        self._drained.set()
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
                    await gate.may_follow(self._user, channel)
                except Refused:
                    self._leave(channel)
                    self._say(protocol.push_unsubscribe(channel, 2000))
            for channel in await gate.joined_by_server(self._user):
                if channel not in self.subscriptions and not self._gone:
                    result = await self._join(channel, None, by_server=True)
                    self._say(protocol.push_subscribe(channel, result))

    @property
    def _user(self) -> str:
        assert self.identity is not None, "asked only of a connected client"
        return self.identity.user_id

    # Life and death

    def hang_up(self, code: int) -> None:
        """Close with this code. Who waits for the client sees the disconnect and calls `left`."""
        if not self._gone:
            self.left()
            self._wire.hang_up(code)

    def left(self) -> None:
        """The socket is gone: forget everything."""
        self._gone = True
        self._timer.cancel()
        if self._behind_timer is not None:
            self._behind_timer.cancel()
        self._drained.set()
        for channel in list(self.subscriptions):
            self._leave(channel)
        for chore in self._chores:
            chore.cancel()

    def _ping(self) -> None:
        self._awaits_pong = True
        self._say(protocol.PING)
        self._timer = self._loop.call_later(PONG_WITHIN_S, self.hang_up, 3012)

    def _say(self, message: bytes) -> None:
        if not self._gone:
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


def _position(given: protocol.Subscribe | None) -> Since | None:
    """Where a client wants to go on from, if it does."""
    return Since(given.offset, given.epoch) if given is not None and given.recover else None
