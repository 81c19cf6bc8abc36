"""Followers: the official SDK, and a history of what its handlers were called with.

A follower behaves as a good client does: it reconnects by itself, asks for a new token when it is told to,
and reads the list anew when it is told that what it missed cannot be recovered.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Self

from centrifuge import Client, ClientEventHandler, SubscriptionEventHandler

from tests.faults.history import Joined, Left, Saw, Seen, Snapshot

WITHIN_S: Final = 30.0
RECONNECT_WITHIN_S: Final = (0.05, 0.5)
# Reads the list that a channel belongs to: (epoch, offset) that it is true for.
Look = Callable[[str], Awaitable[tuple[str, int]]]


class Follower:
    """One client. `seen` is its history, `closes` the codes with which connections to it were closed."""

    def __init__(self, name: str, url: str, get_token: Callable[[], Awaitable[str]], look: Look) -> None:
        self.name = name
        self.seen: list[Seen] = []
        self.closes: list[int] = []
        self.sent_away: int | None = None
        self._look = look
        self._looking: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        least, most = RECONNECT_WITHIN_S
        self.client = Client(
            f"{url.replace('http', 'ws', 1)}/connection/websocket",
            get_token=get_token,
            events=_OfClient(self),
            min_reconnect_delay=least,
            max_reconnect_delay=most,
            proxy=None,
        )

    async def follow(self, *channels: str) -> Self:
        """Connect and follow these channels; returns when all of them are joined."""
        for channel in channels:
            handler = _OfSubscription(self, channel)
            subscription = self.client.new_subscription(
                channel, events=handler, min_resubscribe_delay=0.05, max_resubscribe_delay=0.5
            )
            await subscription.subscribe()
        await self.client.connect()
        await self.until(lambda: set(channels) <= self.channels())
        return self

    def channels(self) -> set[str]:
        """What it has joined at some time, and did not have to leave."""
        return {event.channel for event in self.seen if isinstance(event, Joined)} - {
            event.channel for event in self.seen if isinstance(event, Left)
        }

    def offset(self, channel: str) -> int:
        """Up to where it was served on the channel; -1 where it is told to look again and has not yet."""
        at = -1
        for event in self.seen:
            if event.channel != channel:
                continue
            if isinstance(event, Saw | Snapshot) or (isinstance(event, Joined) and at < 0):
                at = max(at, event.offset)
            elif isinstance(event, Joined) and not event.recovered and event.offset != at:
                at = -1
        return at

    async def until(self, condition: Callable[[], bool], *, within_s: float = WITHIN_S) -> None:
        """Wait until what happened makes the condition true. Raises TimeoutError."""
        async with asyncio.timeout(within_s):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    def note(self, event: Seen) -> None:
        self.seen.append(event)
        self._changed.set()
        if isinstance(event, Joined) and event.was_recovering and not event.recovered:
            # Beside the handler: while a handler waits, the SDK reads nothing.
            task = asyncio.create_task(self._look_again(event.channel))
            self._looking.add(task)
            task.add_done_callback(self._looking.discard)

    async def end(self) -> None:
        for task in list(self._looking):
            task.cancel()
        await self.client.disconnect()

    async def _look_again(self, channel: str) -> None:
        epoch, offset = await self._look(channel)
        self.note(Snapshot(channel, epoch, offset, time.monotonic()))

    def leave_all(self, code: int) -> None:
        """The server has ended it for good."""
        self.sent_away = code
        for channel in self.channels():
            self.note(Left(channel, code, time.monotonic()))


class Followers:
    """Makes followers, and disconnects them all at the end."""

    def __init__(self) -> None:
        self.all: list[Follower] = []

    async def add(self, follower: Follower, *channels: str) -> Follower:
        self.all.append(follower)
        return await follower.follow(*channels)

    async def level(self, tops: dict[str, int], *, within_s: float = WITHIN_S) -> list[str]:
        """Wait until everyone stands at the top of whatever it follows; who does not, and where."""
        waits = (self._level(follower, tops, within_s) for follower in self.all)
        return [said for said in await asyncio.gather(*waits) if said]

    async def _level(self, follower: Follower, tops: dict[str, int], within_s: float) -> str:
        def behind() -> list[str]:
            # Not only at the head: one that was passed over may be far ahead of what it has seen.
            return [c for c in follower.channels() if c in tops and follower.offset(c) < tops[c]]

        try:
            await follower.until(lambda: not behind(), within_s=within_s)
        except TimeoutError:
            return f"{follower.name} is behind on {', '.join(behind())}"
        return ""

    def histories(self) -> dict[str, list[Seen]]:
        return {follower.name: list(follower.seen) for follower in self.all}

    def closes(self) -> Sequence[int]:
        return [code for follower in self.all for code in follower.closes]

    async def disconnect(self) -> None:
        """All of them; their histories stay."""
        await asyncio.gather(*(follower.end() for follower in self.all))


class _OfClient(ClientEventHandler):
    """What the server joined for the client, and the connection itself."""

    def __init__(self, follower: Follower) -> None:
        self._follower = follower

    async def on_connecting(self, ctx: Any) -> None:
        if ctx.code:
            self._follower.closes.append(ctx.code)

    async def on_disconnected(self, ctx: Any) -> None:
        if ctx.code:
            self._follower.leave_all(ctx.code)

    async def on_subscribed(self, ctx: Any) -> None:
        self._follower.note(_joined(ctx.channel, ctx))

    async def on_publication(self, ctx: Any) -> None:
        self._follower.note(Saw(ctx.channel, ctx.pub.offset, ctx.pub.data["id"], time.monotonic()))

    async def on_unsubscribed(self, ctx: Any) -> None:
        self._follower.note(Left(ctx.channel, 0, time.monotonic()))


class _OfSubscription(SubscriptionEventHandler):
    """What the client asked to follow."""

    def __init__(self, follower: Follower, channel: str) -> None:
        self._follower = follower
        self._channel = channel

    async def on_subscribed(self, ctx: Any) -> None:
        self._follower.note(_joined(self._channel, ctx))

    async def on_publication(self, ctx: Any) -> None:
        self._follower.note(Saw(self._channel, ctx.pub.offset, ctx.pub.data["id"], time.monotonic()))

    async def on_unsubscribed(self, ctx: Any) -> None:
        if ctx.code:
            self._follower.note(Left(self._channel, ctx.code, time.monotonic()))


def _joined(channel: str, ctx: Any) -> Joined:
    position = ctx.stream_position
    return Joined(
        channel, position.epoch, position.offset, ctx.was_recovering, ctx.recovered, time.monotonic()
    )
