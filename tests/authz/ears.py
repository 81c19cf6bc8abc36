"""Ears: connections that note every byte they are sent, and a sink for what the server logs."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import websockets

from channels import client_pb2 as pb
from tests.raw import Raw
from tests.raw_protobuf import SUBPROTOCOL, RawProtobuf, packed

# The server's own loggers; those of the clients in this process hold what they were sent by right.
SERVER: Final = ("maycole", "litestar", "uvicorn", "piccolo", "pgqueuer", "asyncpg", "wsproto")


@dataclass
class Ear:
    """`frames` are the bytes as they came."""

    frames: list[bytes] = field(default_factory=list)

    def has(self, word: str) -> bool:
        return any(word.encode() in frame for frame in self.frames)

    def leaked(self, word: str) -> list[bytes]:
        """The frames that have it, but for those that tell of its own readers what they looked for."""
        own_words = b'"action":"audit_logs.read"'
        return [frame for frame in self.frames if word.encode() in frame and own_words not in frame]

    def keep(self, frame: str | bytes) -> bytes:
        self.frames.append(frame if isinstance(frame, bytes) else frame.encode())
        return self.frames[-1]


@contextlib.asynccontextmanager
async def listening(
    url: str, token: str, channels: Sequence[str], *, use_protobuf: bool
) -> AsyncIterator[Ear]:
    """Follow these channels, beside those that the server joins, until the block ends."""
    where = f"{url.replace('http', 'ws', 1)}/connection/websocket"
    subprotocols: Any = [SUBPROTOCOL] if use_protobuf else None
    ear = Ear()
    async with websockets.connect(where, subprotocols=subprotocols) as socket:
        if use_protobuf:
            client: Any = RawProtobuf(socket)
            said = await client.ask(connect=pb.ConnectRequest(token=token))
            assert said.HasField("connect"), said
            for channel in channels:
                said = await client.ask(subscribe=pb.SubscribeRequest(channel=channel))
                assert said.HasField("subscribe"), said
        else:
            client = Raw(socket)
            assert "connect" in await client.ask(connect={"token": token})
            for channel in channels:
                assert "subscribe" in await client.ask(subscribe={"channel": channel})
        hearing = asyncio.create_task(_hear(socket, ear, use_protobuf=use_protobuf))
        try:
            yield ear
        finally:
            assert not hearing.done(), "it heard everything to the end"
            hearing.cancel()
            await asyncio.gather(hearing, return_exceptions=True)


async def _hear(socket: Any, ear: Ear, *, use_protobuf: bool) -> None:
    ping, pong = (packed(pb.Reply()), packed(pb.Command())) if use_protobuf else (b"{}", "{}")
    while True:
        if ear.keep(await socket.recv()) == ping:
            await socket.send(pong)


@contextlib.contextmanager
def logging_into(lines: list[str]) -> Iterator[None]:
    """Everything the server logs until the block ends, down to DEBUG, as it would be written."""
    handler = _Into(lines)
    loggers = [logging.getLogger(name) for name in SERVER]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.DEBUG)
        logger.addHandler(handler)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.removeHandler(handler)
            logger.setLevel(level)


class _Into(logging.Handler):
    def __init__(self, lines: list[str]) -> None:
        super().__init__()
        self._lines = lines
        self.setFormatter(logging.Formatter("%(levelname)s %(name)s %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append(self.format(record))
