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
from collections.abc import Callable, Collection, Mapping

from channels import rpc
from channels.encoding import SILENT, Encoding
from channels.gate import Rights
from channels.hub import Feed
from channels.live import Live
from channels.pace import Pace
from channels.protocol import (
    ANSWER_BYTES_MAX,
    CHANNELS_MAX,
    HangUp,
    Refused,
    Since,
    Subscribe,
    Subscribed,
    Unsubscribed,
    Uplink,
    comes_back,
)
from channels.pulse import Pulse
from channels.standing import Standing
from channels.subscription import Subscription, reading, subscribed
from channels.tasks import Chores
from channels.under_way import UnderWay
from channels.wire import Wire
from domain import db, ids
from domain.auth.tokens import Claims
from domain.channels import Kind

log = logging.getLogger("maycole.connection")

Positions = Mapping[str, Since]
Welcome = Callable[[dict[str, Subscribed]], bytes]


class Connection:
    """A follower (channels/hub.py) with a wire of its own.

    Without `joins` the server joins nothing for it. The channel with news of its rights is then only listened
    to, as it is for an API key.
    """

    def __init__(
        self, wire: Wire, encoding: Encoding, live: Live, via: rpc.Scope, *, joins: bool = True
    ) -> None:
        self.id = ids.new("client")
        self.encoding = encoding
        self.uplink: Uplink | None = None
        self._joins = joins
        self.standing = Standing(live, self.hang_up)
        self.subscriptions: dict[str, Subscription] = {}
        self.under_way = UnderWay(self.hang_up)
        self.drain = self.under_way.drain
        self.gone = False
        self._wire = wire
        self.write = wire.write
        self.buffered = wire.buffered
        self.via = via
        self.live = live
        self._relay = live.relay
        self._gate = live.gate
        self._loop = asyncio.get_running_loop()
        self._chores = Chores(self._failed)
        self.do = self._chores.do
        self._joining = asyncio.Lock()
        self._to_recheck = False
        self.pace = Pace(self, live.relay, self._recheck)
        self.pulse = Pulse(self._ping, self.hang_up, lambda: self.under_way.busy, answers=joins)
        wire.watcher = self

    # Joining and leaving

    async def welcome(self, token: str, before: Positions, answer: Welcome) -> None:
        """The client says who it is: join what the server joins for it, from where it stood before.

        `answer` makes the reply out of the results; nothing is pushed ahead of it. Raises Refused, HangUp.
        """
        claims = await self.standing.admitted(token, self.via, self)
        own = self._gate.own_channel(claims.sub)
        async with self._joining, self._relay.following(own) as (news,):
            while True:
                # From here on a change of rights is heard, so what is asked now holds until one is.
                epoch, last = news.epoch, news.last
                rights = await self.standing.rights_of(claims)
                joined = dict.fromkeys([own, *self._joined_by_server(rights)])
                async with self._relay.following(*joined) as feeds:
                    for feed in feeds:
                        if feed.channel in before:
                            await self._relay.prepare(feed, before[feed.channel])
                    said = news.recent(last) if news.epoch == epoch else None
                    if said is None or any(
                        self._gate.concerns(each, claims.sid) != "nothing" for each in said
                    ):
                        continue  # or it was too much to be kept in mind
                    if not self.gone:
                        self._begin(claims, rights, feeds, before, answer)
                    return

    def _begin(
        self, claims: Claims, rights: Rights, feeds: Collection[Feed], before: Positions, answer: Welcome
    ) -> None:
        """Nothing waits here, so the positions that are answered are where the client is let in."""
        self.standing.begin(claims, rights)
        room = ANSWER_BYTES_MAX
        told = self._joined_by_server(rights)
        results: dict[str, Subscribed] = {}
        for feed in feeds:
            encoding = self.encoding if feed.channel in told else SILENT
            result = self._enter(
                feed, before.get(feed.channel), by_server=True, encoding=encoding, bytes_max=room
            )
            room = max(0, room - sum(map(len, result.publications)))
            results[feed.channel] = result
        self.say(answer({channel: results[channel] for channel in told}))
        self._follow(*results)
        if not self.gone:
            self.pulse.begin()

    async def subscribe(
        self, body: Subscribe, answer: Callable[[Subscribed], bytes], *, soon: Collection[str]
    ) -> None:
        """Follow a channel because the client asks. Raises Refused.

        `soon` are the channels that it asks for in the same breath.
        """
        channel = body.channel
        since = Since(body.offset, body.epoch) if body.recover else None
        async with self._joining:
            if sum(not sub.by_server for sub in self.subscriptions.values()) >= CHANNELS_MAX:
                raise Refused(106)
            rights = await self.standing.fresh()
            self._gate.require(rights, channel, self.via, body.token)
            if channel in self.subscriptions:
                raise Refused(105)
            unopened = self._gate.allowed(
                rights, [name for name in soon if name not in self._relay.hub.feeds]
            )
            async with self._relay.following(channel, *unopened) as (feed, *_):
                encoding, resumes = reading(self.encoding, feed, body), False
                if since is not None:
                    await self._relay.prepare(feed, since)
                    resumes = encoding.sifts and await self._relay.reaches(feed, since)
                if self.gone:
                    return
                # From here to the end nothing waits, so the position that is answered is where we are let in.
                result = self._enter(feed, since, encoding=encoding, resumes=resumes)
                if since is not None and not result.recovered and body.wants_error_instead:
                    self.leave(channel)
                    raise Refused(112)
                self.say(answer(result))
                self._follow(channel)

    def _enter(
        self,
        feed: Feed,
        since: Since | None,
        *,
        by_server: bool = False,
        encoding: Encoding | None = None,
        bytes_max: int = ANSWER_BYTES_MAX,
        resumes: bool = False,
    ) -> Subscribed:
        """A subscription that stands where the feed stands; the hub serves it once `_follow` says so.

        One that `resumes` stands where the client stood, and is served from there on.
        """
        self._relay.hub.flush(feed)
        subscription = Subscription(feed, encoding or self.encoding, by_server=by_server)
        self.subscriptions[feed.channel] = subscription
        missed: list[bytes] | None = None
        if since is not None and resumes:
            subscription.step_out(since.offset)
            missed = []
        elif since is not None:
            missed = self._relay.recent(feed, since, bytes_max=bytes_max)
        return subscribed(feed, since, missed, subscription.encoding)

    def _follow(self, *channels: str) -> None:
        """Let the hub serve what was answered, unless the answer was more than the client takes at once."""
        for channel in channels:
            subscription = self.subscriptions.get(channel)
            if subscription is None:
                return  # the answer was more than its buffer holds, so it is gone again
            self.pace.follow(subscription)
            if subscription.feed.kind.presence:
                self._relay.presence.came(channel, self.standing.info(self.id))

    def leave(self, channel: str, *, lingers: bool = False) -> None:
        """Follow it no more; who `lingers` may be back in a moment, and is present for that long."""
        subscription = self.subscriptions.pop(channel, None)
        if subscription is not None:
            subscription.feed.leave(self)
            subscription.step_in()
            self._relay.let_go(subscription.feed)
            lingers_s = subscription.feed.kind.lingers_s if lingers else 0.0
            self._relay.presence.went(channel, self.id, lingers_s=lingers_s)

    # As a follower, and as the watcher of its wire

    def hear(self, pushed: bytes) -> None:
        """A push on the user's own channel: rights, or the session or key, may have changed with it."""
        claims = self.standing.claims
        assert claims is not None, "only a client that said who it is follows its user's channel"
        means = self._gate.concerns(pushed, claims.sid)
        if means == "rights":
            self._recheck_soon()
        elif means == "end":
            self.hang_up(3500)

    def lost(self, channel: str) -> None:
        subscription = self.subscriptions.get(channel)
        if subscription is None:
            return
        if subscription.by_server:
            self.hang_up(3010)
        else:
            self.leave(channel, lingers=True)
            self._say_unsubscribed(channel, 2500)

    def broke(self) -> None:
        self.hang_up(3004)

    def paused(self) -> None:
        self.pace.paused()

    def resumed(self) -> None:
        self.pace.resumed()

    def ponged(self) -> None:
        self.pulse.ponged()

    # Rights

    async def may_see(self, channel: str) -> Kind:
        """What holds for a channel. Raises Refused where the client may not follow it."""
        async with self._joining:
            self._gate.require(await self.standing.fresh(), channel, self.via)
        return self._gate.kind_of(channel)

    async def refresh(self, token: str) -> None:
        """A new token for the time to come, of the same user. Raises Refused, HangUp."""
        claims = await self.standing.introduced(token, self.via)
        async with self._joining:
            before = self.standing.claims
            await self.standing.renew(claims)
        if self.gone:
            self.standing.stop()
        elif before is not None and before.sid != claims.sid:
            # News of the other session was not for us until now.
            self._recheck_soon()

    def check(self, rights: Rights) -> None:
        """The watchman comes by with the rights as they are: put right what does not fit them."""
        if not self._gate.still_right(rights, self.subscriptions, self._joined_by_server(rights)):
            self._recheck_soon()

    def _joined_by_server(self, rights: Rights) -> list[str]:
        return self._gate.joined_by_server(rights) if self._joins else []

    def _recheck_soon(self) -> None:
        """One recheck that has not begun serves everyone who asks for it meanwhile."""
        if not self._to_recheck:
            self._to_recheck = True
            self.do(self._recheck())

    async def _recheck(self) -> None:
        """Leave what may not be followed any more, join what the server joins for this user now."""
        async with self._joining:
            self._to_recheck = False
            self.standing.ask_again()
            if self.gone or self.standing.rights is None:
                return
            try:
                rights = await self.standing.fresh()
            except HangUp as over:
                self.hang_up(over.code)
                return
            allowed = self._gate.allowed(rights, self.subscriptions)
            for channel in set(self.subscriptions) - set(allowed):
                self.leave(channel)
                self._say_unsubscribed(channel, 2000)
            missing = [name for name in self._joined_by_server(rights) if name not in self.subscriptions]
            async with self._relay.following(*missing) as feeds:
                for feed in feeds:
                    if not self.gone:
                        joined = self._enter(feed, None, by_server=True)
                        self.say(self.encoding.format.push(feed.channel, "subscribe", joined))
                        self._follow(feed.channel)

    # Life and death

    def say(self, message: bytes) -> None:
        if not self.gone:
            self.write(self.encoding.frame(message))

    def _say_unsubscribed(self, channel: str, code: int) -> None:
        if not self._joins:
            # It was the only one.
            self.hang_up(3507 if code == 2000 else 3010)
        self.say(self.encoding.format.push(channel, "unsubscribe", Unsubscribed.of(code)))

    def _ping(self) -> None:
        if not self.gone:
            self.write(self.encoding.ping)

    def hang_up(self, code: int) -> None:
        """Close with this code. Who waits for the client sees the disconnect."""
        if not self.gone:
            self.left(lingers=comes_back(code))
            self._wire.hang_up(code)

    def left(self, *, lingers: bool = True) -> None:
        """The socket is gone: forget everything. May be said more than once."""
        self.gone = True
        self.under_way.client_is_gone()
        self.pace.stop()
        self.pulse.stop()
        self.standing.stop()
        for channel in list(self.subscriptions):
            self.leave(channel, lingers=lingers)
        self._to_recheck = False
        self._chores.drop()

    def _failed(self, error: BaseException) -> None:
        """Work that a push set off, beside the commands, has failed: the client starts over."""
        if isinstance(error, db.UNREACHABLE):
            # Rights cannot be asked at the moment: better to start over than to go on with old ones.
            log.warning("a connection starts over: %s: %s", type(error).__name__, error)
        else:
            log.error("a connection could not be kept up to date", exc_info=error)
        self.hang_up(3004)
