"""Listeners: the official SDK, and what its handlers saw; they wait for what is expected, not for a time."""

import asyncio
import json
from collections import defaultdict
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from centrifuge import (
    Client,
    ClientEventHandler,
    PublicationContext,
    ServerPublicationContext,
    ServerSubscribedContext,
    ServerUnsubscribedContext,
    Subscription,
    SubscriptionEventHandler,
)

WITHIN_S = 20


class Listener:
    """One client. `seen[channel]` lists (offset, entry) in the order in which its handlers were called."""

    def __init__(self, url: str, token: str, *, use_protobuf: bool = False) -> None:
        self.seen: dict[str, list[tuple[int, dict[str, Any]]]] = defaultdict(list)
        self.said: list[tuple[Any, ...]] = []
        self._changed = asyncio.Condition()
        self.client = Client(
            f"{url.replace('http', 'ws', 1)}/connection/websocket",
            token=token,
            use_protobuf=use_protobuf,
            events=_ClientEvents(self),
            min_reconnect_delay=0.05,
            max_reconnect_delay=0.5,
        )

    async def connect(self) -> Self:
        await self.client.connect()
        await self.client.ready(timeout=WITHIN_S)
        return self

    async def follow(self, channel: str, **options: Any) -> Subscription:
        """Subscribe, and wait until that is done."""
        subscription = await self.watch(channel, **options)
        await self.until(lambda: any(said[:2] == ("subscribed", channel) for said in self.said))
        return subscription

    async def watch(self, channel: str, **options: Any) -> Subscription:
        """Ask to subscribe, and note what comes of it."""
        subscription = self.client.new_subscription(
            channel, events=_SubscriptionEvents(self, channel), **options
        )
        await subscription.subscribe()
        return subscription

    async def until(self, condition: Callable[[], bool], *, within_s: float = WITHIN_S) -> None:
        """Wait until what was seen or said makes the condition true."""
        async with self._changed:
            try:
                await asyncio.wait_for(self._changed.wait_for(condition), within_s)
            except TimeoutError:
                raise AssertionError(f"it did not come: seen {dict(self.seen)}, said {self.said}") from None

    def offsets(self, channel: str) -> list[int]:
        return [offset for offset, _ in self.seen[channel]]

    def types(self, channel: str) -> list[str]:
        return [entry["type"] for _, entry in self.seen[channel]]

    async def note(self, *what: Any) -> None:
        async with self._changed:
            self.said.append(what)
            self._changed.notify_all()

    async def saw(self, channel: str, offset: int, entry: Any) -> None:
        if isinstance(entry, bytes):
            entry = json.loads(entry)  # as Protobuf gives it
        async with self._changed:
            self.seen[channel].append((offset, entry))
            self._changed.notify_all()


class Listeners:
    """Makes listeners, and disconnects them all at the end."""

    def __init__(self) -> None:
        self._all: list[Listener] = []

    async def __call__(self, url: str, token: str, *, use_protobuf: bool = False) -> Listener:
        listener = Listener(url, token, use_protobuf=use_protobuf)
        self._all.append(listener)
        return await listener.connect()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for listener in self._all:
            await listener.client.disconnect()


class _ClientEvents(ClientEventHandler):
    def __init__(self, listener: Listener) -> None:
        self._listener = listener

    async def on_connected(self, ctx: Any) -> None:
        await self._listener.note("connected")

    async def on_connecting(self, ctx: Any) -> None:
        await self._listener.note("connecting", ctx.code)

    async def on_disconnected(self, ctx: Any) -> None:
        await self._listener.note("disconnected", ctx.code)

    async def on_publication(self, ctx: ServerPublicationContext) -> None:
        await self._listener.saw(ctx.channel, ctx.pub.offset, ctx.pub.data)

    async def on_subscribed(self, ctx: ServerSubscribedContext) -> None:
        await self._listener.note("joined", ctx.channel, ctx.recovered)

    async def on_unsubscribed(self, ctx: ServerUnsubscribedContext) -> None:
        await self._listener.note("left", ctx.channel)


class _SubscriptionEvents(SubscriptionEventHandler):
    def __init__(self, listener: Listener, channel: str) -> None:
        self._listener = listener
        self._channel = channel

    async def on_publication(self, ctx: PublicationContext) -> None:
        await self._listener.saw(self._channel, ctx.pub.offset, ctx.pub.data)

    async def on_subscribed(self, ctx: Any) -> None:
        await self._listener.note("subscribed", self._channel, ctx.recovered)

    async def on_unsubscribed(self, ctx: Any) -> None:
        await self._listener.note("unsubscribed", self._channel, ctx.code)

    async def on_error(self, ctx: Any) -> None:
        await self._listener.note("refused", self._channel, ctx.error)
