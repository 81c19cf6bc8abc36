"""Pace: whether a client keeps up, and how it is brought level again when it does not.

What it is written stays in its buffer until it takes it. Above the wire's high-water mark it steps out of
its feeds, each at its own position; once it has drained it is served from the log, one stretch after another,
until it is level and steps in again. Who has BUFFER_BYTES_MAX waiting, or stays behind for BEHIND_FOR_S, is
closed with 3008 and recovers on return.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, Protocol

from channels.hub import Follower, Write
from channels.relay import Relay
from channels.subscription import Subscription
from channels.wire import BUFFER_BYTES_MAX

BEHIND_FOR_S: Final = 10.0
CATCH_UP_ENTRIES: Final = 300


class Client(Follower, Protocol):
    """Whose pace it is."""

    gone: bool
    write: Write
    subscriptions: dict[str, Subscription]

    def buffered(self) -> int: ...
    def hang_up(self, code: int) -> None: ...
    def do(self, chore: Coroutine[Any, Any, None]) -> None: ...


class Pace:
    """`behind` while the client does not keep up; `drained` is set while it does.

    `recheck` is awaited before a client is brought level: what was said of its rights has not been heard.
    """

    def __init__(self, client: Client, relay: Relay, recheck: Callable[[], Awaitable[None]]) -> None:
        self.behind = False
        self.drained = asyncio.Event()
        self.drained.set()
        self._client = client
        self._relay = relay
        self._recheck = recheck
        self._timer: asyncio.TimerHandle | None = None
        self._comes_back = False

    def paused(self) -> None:
        """The wire is above its high-water mark."""
        if self._client.buffered() > BUFFER_BYTES_MAX:
            self._client.hang_up(3008)
            return
        self.behind = True
        self.drained.clear()
        for subscription in self._client.subscriptions.values():
            if subscription.served is None:
                subscription.feed.leave(self._client)
                subscription.step_out(subscription.feed.served)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(BEHIND_FOR_S, self._client.hang_up, 3008)

    def resumed(self) -> None:
        """What was waiting has drained."""
        if self._client.gone:
            return
        self.behind = False
        self.drained.set()
        self._stop_timer()
        self._come_back_soon()

    def follow(self, subscription: Subscription) -> None:
        """Let the hub serve a subscription that is level with its feed, or leave that for later."""
        feed = subscription.feed
        if not self.behind and subscription.served is not None and subscription.served != feed.last:
            self._come_back_soon()
        elif not self.behind:
            subscription.step_in()
            self._relay.hub.follow(feed, self._client, subscription.encoding, self._client.write)
        elif subscription.served is None:
            subscription.step_out(feed.last)

    def stop(self) -> None:
        """The client is gone: whoever waits for it to drain sees that."""
        self.behind = True
        self.drained.set()
        self._stop_timer()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _late(self) -> list[Subscription]:
        return [sub for sub in self._client.subscriptions.values() if sub.served is not None]

    def _come_back_soon(self) -> None:
        if not self._comes_back and self._late():
            self._comes_back = True
            self._client.do(self._come_back())

    async def _come_back(self) -> None:
        try:
            await self._recheck()
            while not self.behind and (late := self._late()):
                await self._catch_up(late[0])
        finally:
            self._comes_back = False

    async def _catch_up(self, subscription: Subscription) -> None:
        """One stretch of one channel, from the log, at the client's own position."""
        feed, at = subscription.feed, subscription.served
        assert at is not None, "only what stepped out of its feed catches up"
        if feed.kind.kept == "nothing" or subscription.epoch != feed.epoch:
            self._client.lost(feed.channel)
            return
        if at == feed.last:
            self._relay.hub.flush(feed)
            self.follow(subscription)
            return
        if subscription.encoding.sifts:
            # What is left out fills no buffer, so nothing else slows it down: others have their turn.
            async with self._relay.sifting:
                pushes = await self._relay.after(feed, at, limit=CATCH_UP_ENTRIES)
                await asyncio.sleep(0)
        else:
            pushes = await self._relay.after(feed, at, limit=CATCH_UP_ENTRIES)
        if self._client.subscriptions.get(feed.channel) is not subscription:
            return
        if pushes is None or subscription.epoch != feed.epoch:
            self._client.lost(feed.channel)
            return
        if feed.kind.kept == "newest":
            at = feed.last - len(pushes)
        done = 0
        for frame, count in subscription.encoding.frames(feed.channel, pushes, None):
            for pushed in pushes[done : done + count] if feed.overheard else ():
                self._client.hear(pushed)
            if self.behind:
                return
            self._client.write(frame)
            done += count
            subscription.served = at + done
