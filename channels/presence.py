"""Presence: who follows a channel, in all processes. Kept in Redis; true again within a minute of any loss.

Each process says what it knows of its own clients when it changes, and again every REFRESH_S; what nobody has
said for KEPT_S does not count, so a process that was killed leaves no ghosts. Coming and going is also pushed
to whoever follows (join, leave): a hint, to be shown at once; what `of` answers is the state.

Who loses a connection is not gone yet: on channels that say so (`Kind.lingers_s`) a client stays for a while
after its connection, so that whoever comes back in time was never away. The join of the new connection is
told first, the leave of the old one at the end of that while: who counts people sees nothing.

On Redis: a hash `maycole:presence:<channel>`, client -> JSON of (info, the second it counts until).
"""

import asyncio
import logging
import time
from typing import Final, NamedTuple

import msgspec

from channels import json_format
from channels.bus import TORN, Bus
from channels.bus_format import PREFIX
from channels.protocol import ClientInfo, Info

log = logging.getLogger("maycole.presence")

REFRESH_S: Final = 27.0
KEPT_S: Final = 60
AT_ONCE: Final = 500
SETTLED_WITHIN_S: Final = 2.0


class _Here(msgspec.Struct):
    info: ClientInfo
    until: float


_here = msgspec.json.Decoder(_Here)


class _Lingering(NamedTuple):
    """A client without a connection, that may be back: until which second, and what ends it."""

    info: ClientInfo
    until: float
    end: asyncio.TimerHandle


class Presence:
    """`came` and `went` are said by connections; `of` asks Redis, and raises what is in bus.GONE."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._redis = bus.redis
        self._here: dict[tuple[str, str], ClientInfo] = {}
        self._lingering: dict[tuple[str, str], _Lingering] = {}
        self._changed: dict[tuple[str, str], None] = {}
        self._wake = asyncio.Event()
        self._hints: list[tuple[str, bytes]] = []
        # Set once what is in _changed has been said as far as it can be; and what was taken from there last.
        self._to_be_said, self._being_said = asyncio.Event(), asyncio.Event()
        self._being_said.set()

    def came(self, channel: str, info: ClientInfo) -> None:
        """A client of this process follows the channel; if it never seemed to leave, nobody is told."""
        lingering = self._lingering.pop((channel, info.client), None)
        if lingering is not None:
            lingering.end.cancel()
            self._here[channel, info.client] = info
            self._changed[channel, info.client] = None
            self._wake.set()
            return
        self._here[channel, info.client] = info
        self._change(channel, "join", info)

    def went(self, channel: str, client: str, *, lingers_s: float = 0.0) -> None:
        """It does not any more: at once, or once so many seconds are over. Harmless if it was never there."""
        info = self._here.pop((channel, client), None)
        if info is None:
            return
        if lingers_s <= 0:
            self._change(channel, "leave", info)
            return
        end = asyncio.get_running_loop().call_later(lingers_s, self._gone, channel, client)
        self._lingering[channel, client] = _Lingering(info, time.time() + lingers_s, end)
        # If this process ends meanwhile nobody says that the client went: so its entry says until when.
        self._changed[channel, client] = None
        self._wake.set()

    def _gone(self, channel: str, client: str) -> None:
        self._change(channel, "leave", self._lingering.pop((channel, client)).info)

    def refresh(self) -> None:
        """Say all of it again, now: Redis is back, and may have forgotten."""
        self._changed.update(dict.fromkeys([*self._here, *self._lingering]))
        self._wake.set()

    async def of(self, channel: str) -> dict[str, ClientInfo]:
        """Who follows the channel: client -> who it is. What this process knows counts already."""
        said = self._to_be_said if self._changed else self._being_said
        async with asyncio.timeout(SETTLED_WITHIN_S):
            await said.wait()
        try:
            found = await self._redis.hgetall(_key(channel))
            known = {_text(client): _here.decode(value) for client, value in found.items()}
            now = time.time()
            # A channel that is never empty never expires: what killed processes left there would pile up.
            left = [client for client, here in known.items() if here.until < now - KEPT_S]
            if left:
                await self._redis.hdel(_key(channel), *left)
        except RuntimeError as closed:  # what a closed transport raises under uvloop
            raise ConnectionError("the link was closed while asking") from closed
        return {client: here.info for client, here in known.items() if here.until > now}

    async def run(self) -> None:
        """Say what changes, and now and then everything, until cancelled."""
        refresh_at = time.monotonic() + REFRESH_S
        while True:
            try:
                async with asyncio.timeout(max(0.0, refresh_at - time.monotonic())):
                    await self._wake.wait()
            except TimeoutError:
                pass  # nothing has changed: it is time to say everything
            if time.monotonic() >= refresh_at:
                # Also when something changes all the time.
                refresh_at = time.monotonic() + REFRESH_S
                self.refresh()
            self._wake.clear()
            await self._say()

    async def _say(self) -> None:
        changed, self._changed = list(self._changed), {}
        hints, self._hints = self._hints, []
        self._being_said, self._to_be_said = self._to_be_said, asyncio.Event()
        try:
            for start in range(0, len(changed), AT_ONCE):
                pipeline = self._redis.pipeline(transaction=False)
                for channel, client in changed[start : start + AT_ONCE]:
                    here = self._said_of(channel, client)
                    if here is None:
                        pipeline.hdel(_key(channel), client)
                    else:
                        pipeline.hset(_key(channel), client, msgspec.json.encode(here))
                        pipeline.expire(_key(channel), KEPT_S)
                await pipeline.execute()
        except TORN as lost:
            # What is there is said again with the next refresh, and what is not counts no longer by then.
            log.warning("cannot say who is present: %s", lost)
        self._being_said.set()
        # Only now: who hears of somebody and asks finds them there.
        for channel, pushed in hints:
            self._bus.tell(channel, pushed)

    def _said_of(self, channel: str, client: str) -> "_Here | None":
        """Until when a client of this process counts, unless it is said again; None for one that is gone."""
        info, lingering = self._here.get((channel, client)), self._lingering.get((channel, client))
        if info is not None:
            return _Here(info, time.time() + KEPT_S)
        return _Here(lingering.info, lingering.until) if lingering is not None else None

    def _change(self, channel: str, kind: str, info: ClientInfo) -> None:
        self._changed[channel, info.client] = None
        self._hints.append((channel, json_format.push(channel, kind, Info(info))))
        self._wake.set()


def _key(channel: str) -> bytes:
    return PREFIX + b"presence:" + channel.encode()


def _text(name: bytes | str) -> str:
    return name.decode() if isinstance(name, bytes) else name
