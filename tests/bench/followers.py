"""Followers: bare connections of the load client to one channel, each of which checks every byte it gets.

They must be faster than what they measure, so there is no websocket library: all followers get the same
bytes, so what is seen first is read message by message, and every further copy is compared as a whole.

`Follower` reads websocket frames that hold whole publications (the product, the bare loops, nchan); NATS cuts
its own protocol into frames as it likes, so `NatsFollower` reads a stream of bytes.
"""

import asyncio
import os
import re
import sys
from typing import Any, Final, NoReturn

import msgspec

from tests.bench.harness import Broken

PONG: Final = b"\x81\x82\0\0\0\0{}"  # a masked text frame; a mask of zeros is a mask
PING: Final = b"\x81\x02{}"
UPGRADE: Final = (
    "GET /connection/websocket HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\n"
    "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
_NATS_MESSAGE: Final = re.compile(rb'MSG \S+ 1 (\d+)\r\n\{"offset":(\d+),')
_NATS_PING: Final = b"PING\r\n"


class Crowd:
    """What all followers of this process share: the channel, what was seen, how far everyone is."""

    def __init__(self, channel: str, size: int) -> None:
        self.size = size
        self.begins = b'{"push":{"channel":"%s","pub":' % channel.encode()
        self.seen: dict[int, tuple[bytes, int]] = {}  # after an offset: a frame, and the offset it leads to
        self.stream = bytearray()  # of NATS: all bytes since the round began
        self.message_bytes = 0
        self.first = self.last = 0
        self.step = 0
        self.messages = self.frames = self.different = 0
        self._passed: dict[int, int] = {}

    def begin(self, first: int, last: int, step: int) -> None:
        """Offsets `first` to `last` are to come."""
        self.first, self.last, self.step = first, last, step
        self.messages = self.frames = self.different = 0
        self.seen.clear()
        self.stream.clear()
        self.message_bytes = 0
        self._passed.clear()

    def passed(self, mark: int) -> None:
        """One more follower is at `mark` or beyond."""
        count = self._passed[mark] = self._passed.get(mark, 0) + 1
        if count == self.size:
            say(level=mark)

    def next_mark(self, after: int) -> int:
        """The next offset at which all must have been before the driver is told; the last one is one."""
        return min(after + self.step, self.last)

    def read(self, frame: bytes, after: int) -> int:
        """The offset to which a frame's messages lead, which must be the publications right after `after`."""
        for line in payload_of(frame).split(b"\n"):
            if not line.startswith(self.begins):
                raise Broken(f"not a publication of the channel: {line[:200]!r}")
            offset: int = msgspec.json.decode(line)["push"]["pub"]["offset"]
            after = self.follows(offset, after)
        return after

    def follows(self, offset: int, after: int) -> int:
        """The offset, which must be the next one. Raises Broken."""
        if offset != after + 1:
            raise Broken(f"after offset {after} came {offset}")
        if offset > self.last:
            raise Broken(f"offset {offset} came in a round that ends with {self.last}")
        return offset


class Follower(asyncio.Protocol):
    """One connection: upgraded by hand, connected and subscribed with `hello`, then counting.

    Where there is no `hello` the upgrade is all, and the first offset is 1.
    """

    def __init__(self, crowd: Crowd, upgrade: bytes, hello: bytes) -> None:
        self.at = 0
        self.mark = 0
        self.subscribed: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._crowd = crowd
        self._upgrade = upgrade
        self._hello = hello
        self._rest = b""

    def begin(self) -> None:
        """A round begins: everything up to here has been received."""
        if self.at != self._crowd.first - 1:
            stop(f"a connection is at {self.at} before a round that begins with {self._crowd.first}")
        self.mark = self._crowd.next_mark(self.at)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # it is one
        self._transport = transport
        transport.write(self._upgrade)

    def data_received(self, data: bytes) -> None:
        try:
            self._rest = self._read(self._rest + data if self._rest else data)
        except Broken as broken:
            stop(str(broken))

    def connection_lost(self, error: Exception | None) -> None:
        stop(f"a connection was closed at offset {self.at}: {error}, unread {self._rest[:200]!r}")

    def _read(self, data: bytes) -> bytes:
        """Take whole frames; what is left is the beginning of one."""
        if not self.subscribed.done():
            return self._come_in(data)
        place, end, seen = 0, len(data), self._crowd.seen
        while place < end:
            known = seen.get(self.at)
            if known is not None and data.startswith(known[0], place):
                place += len(known[0])
                self._crowd.frames += 1
                self._advance(known[1])
                continue
            size = frame_size(data, place)
            if size == 0 or place + size > end:
                break
            self._take(data[place : place + size])
            place += size
        return data[place:]

    def _take(self, frame: bytes) -> None:
        """A frame of which no copy was seen at this position."""
        if frame == PING:
            self._transport.write(PONG)
            return
        if frame[0] != 0x81:
            raise Broken(f"not a text frame: {frame[:200]!r}")
        to = self._crowd.read(frame, self.at)
        if self.at in self._crowd.seen:
            self._crowd.different += 1
        else:
            self._crowd.seen[self.at] = (frame, to)
        self._crowd.frames += 1
        self._advance(to)

    def _advance(self, to: int) -> None:
        crowd = self._crowd
        crowd.messages += to - self.at
        self.at = to
        while self.mark <= to:
            crowd.passed(self.mark)
            if self.mark == crowd.last:
                self.mark += 1  # the round is over
                return
            self.mark = crowd.next_mark(self.mark)

    def _upgraded(self, data: bytes) -> bytes | None:
        """What follows the answer to the upgrade, after which `hello` is sent; None while there is more."""
        head, found, rest = data.partition(b"\r\n\r\n")
        if not found:
            return None
        if not head.startswith(b"HTTP/1.1 101 "):
            raise Broken(f"no websocket: {head[:200]!r}")
        self._upgrade = b""
        self._transport.write(self._hello)
        return rest

    def _come_in(self, data: bytes) -> bytes:
        """The answers to the upgrade, to `connect` and to `subscribe`, in this order."""
        if self._upgrade:
            rest = self._upgraded(data)
            if rest is None:
                return data
            data = rest
            if not self._hello:
                self.subscribed.set_result(0)
                return data
        while (size := frame_size(data, 0)) and size <= len(data):
            frame, data = data[:size], data[size:]
            for line in payload_of(frame).split(b"\n"):
                answer: dict[str, Any] = msgspec.json.decode(line)
                if "error" in answer:
                    raise Broken(f"refused: {line[:200]!r}")
                if answer.get("id") == 2:
                    self.at = answer["subscribe"].get("offset", 0)
                    self.subscribed.set_result(self.at)
        return data


class NatsFollower(Follower):
    """A NATS client in websocket frames: what the frames carry is one stream of `MSG` and `PING`.

    All messages of a round are of one size, and begin with their offset.
    """

    def __init__(self, crowd: Crowd, upgrade: bytes, hello: bytes) -> None:
        super().__init__(crowd, upgrade, hello)
        self._place = 0  # in the crowd's stream
        self._ping = b""  # the beginning of one

    def begin(self) -> None:
        super().begin()
        self._place = 0

    def _read(self, data: bytes) -> bytes:
        if not self.subscribed.done():
            return self._come_in(data)
        place, end = 0, len(data)
        while (size := frame_size(data, place)) and place + size <= end:
            self._crowd.frames += 1
            self._follow(payload_of(data[place : place + size]))
            place += size
        return data[place:]

    def _follow(self, payload: bytes) -> None:
        """What a frame carries goes on in the stream right where this follower stands."""
        crowd, to = self._crowd, self._place + len(payload)
        if not self._ping and crowd.stream[self._place : to] == payload:
            self._go(to)
            return
        while payload:
            within = self._place % crowd.message_bytes if crowd.message_bytes else 0
            if within == 0 and (self._ping + payload)[:1] == b"P":
                payload = self._answer(self._ping + payload)
                continue
            if within == 0:
                self._learn(payload)
            part = payload[: crowd.message_bytes - within]
            known = crowd.stream[self._place : self._place + len(part)]
            if part[: len(known)] != known:
                raise Broken(f"after offset {self.at} came {part[:200]!r}")
            crowd.stream += part[len(known) :]
            payload = payload[len(part) :]
            self._go(self._place + len(part))

    def _learn(self, message: bytes) -> None:
        """The beginning of a message: its offset is the next one. NATS never cuts its header in two."""
        read = _NATS_MESSAGE.match(message)
        if read is None:
            raise Broken(f"not a message: {message[:200]!r}")
        self._crowd.follows(int(read[2]), self.at)
        size = message.index(b"\r\n") + 2 + int(read[1]) + 2
        if self._crowd.message_bytes not in (0, size):
            raise Broken("messages of a round differ in size")
        self._crowd.message_bytes = size

    def _answer(self, data: bytes) -> bytes:
        """A ping, perhaps only its beginning; what follows it."""
        if len(data) < len(_NATS_PING):
            self._ping = data
            return b""
        if not data.startswith(_NATS_PING):
            raise Broken(f"neither a message nor a ping: {data[:200]!r}")
        self._ping = b""
        self._transport.write(masked(b"PONG\r\n"))
        self._crowd.frames -= len(data) == len(_NATS_PING)
        return data[len(_NATS_PING) :]

    def _go(self, place: int) -> None:
        self._place = place
        to = self._crowd.first - 1 + place // self._crowd.message_bytes
        if to > self.at:
            self._advance(to)

    def _come_in(self, data: bytes) -> bytes:
        """INFO comes by itself; PONG, the answer to the PING that follows SUB, says that it is done."""
        if self._upgrade:
            rest = self._upgraded(data)
            if rest is None:
                return data
            data = rest
        while (size := frame_size(data, 0)) and size <= len(data):
            said, data = payload_of(data[:size]), data[size:]
            if b"-ERR" in said:
                raise Broken(f"refused: {said[:200]!r}")
            if b"PONG\r\n" in said:
                self.subscribed.set_result(0)
        return data


def say(**what: Any) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(what) + b"\n")
    sys.stdout.buffer.flush()


def stop(why: str) -> NoReturn:
    """Say what is wrong, and end: no figure comes out of this."""
    say(broken=why)
    os._exit(1)  # from any callback, whatever the loop would make of an exception


def masked(payload: bytes, opcode: int = 0x82) -> bytes:
    """A frame as a client sends it."""
    size = len(payload)
    header = bytes([0x80 | size]) if size < 126 else b"\xfe" + size.to_bytes(2, "big")
    return b"%c%b\0\0\0\0%b" % (opcode, header, payload)


def frame_size(data: bytes, place: int) -> int:
    """The size of the unmasked frame that begins there; 0 while its header is incomplete."""
    if len(data) < place + 2:
        return 0
    length = data[place + 1]
    if length < 126:
        return 2 + length
    header = 4 if length == 126 else 10
    if len(data) < place + header:
        return 0
    return header + int.from_bytes(data[place + 2 : place + header], "big")


def payload_of(frame: bytes) -> bytes:
    return frame[2 if frame[1] < 126 else 4 if frame[1] == 126 else 10 :]
