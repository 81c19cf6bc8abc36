"""The load client: a process with many bare websocket connections to one channel, which checks every frame.

It must be faster than what it measures, so there is no websocket library: all followers get the same bytes,
so a frame is read message by message when it is first seen, and every further copy is compared as a whole.

Checks  each connection gets the offsets that follow on its position, every one, in order, once, with nothing
        but publications of the channel and pings between them. Else it says `broken`, and that is the end.

stdin   {"round": {"first", "last", "step"}}  the offsets that are to come; {"report": true}
stdout  {"ready", "offset"}; {"level": n} when every connection has passed each `step`-th offset;
        {"report": {"messages", "frames", "different"}}
"""

import argparse
import asyncio
import os
import sys
from typing import Any, Final, NoReturn

import msgspec
import uvloop

from tests.bench.harness import Broken

CONNECT_AT_ONCE: Final = 50
CONNECT_WITHIN_S: Final = 20.0
PONG: Final = b"\x81\x82\0\0\0\0{}"  # a masked text frame; a mask of zeros is a mask
PING: Final = b"\x81\x02{}"
UPGRADE: Final = (
    "GET /connection/websocket HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\n"
    "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


class Crowd:
    """What all followers of this process share: the channel, the frames seen, how far everyone is."""

    def __init__(self, channel: str, size: int) -> None:
        self.size = size
        self.begins = b'{"push":{"channel":"%s","pub":' % channel.encode()
        self.seen: dict[int, tuple[bytes, int]] = {}  # after an offset: a frame, and the offset it leads to
        self.first = self.last = 0
        self.step = 0
        self.messages = self.frames = self.different = 0
        self._passed: dict[int, int] = {}

    def begin(self, first: int, last: int, step: int) -> None:
        """Offsets `first` to `last` are to come."""
        self.first, self.last, self.step = first, last, step
        self.messages = self.frames = self.different = 0
        self.seen.clear()
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
        for line in _payload(frame).split(b"\n"):
            if not line.startswith(self.begins):
                raise Broken(f"not a publication of the channel: {line[:200]!r}")
            offset: int = msgspec.json.decode(line)["push"]["pub"]["offset"]
            if offset != after + 1:
                raise Broken(f"after offset {after} came {offset}")
            after = offset
        if after > self.last:
            raise Broken(f"offset {after} came in a round that ends with {self.last}")
        return after


class Follower(asyncio.Protocol):
    """One connection: upgraded by hand, connected and subscribed, then counting."""

    def __init__(self, crowd: Crowd, upgrade: bytes, hello: bytes) -> None:
        self.at = 0
        self.mark = 0
        self.subscribed: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._crowd = crowd
        self._upgrade = upgrade
        self._hello = hello
        self._rest = b""

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
                self._advance(known[1])
                continue
            size = _frame_size(data, place)
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
        self._advance(to)

    def _advance(self, to: int) -> None:
        crowd = self._crowd
        crowd.frames += 1
        crowd.messages += to - self.at
        self.at = to
        while self.mark <= to:
            crowd.passed(self.mark)
            if self.mark == crowd.last:
                self.mark += 1  # the round is over
                return
            self.mark = crowd.next_mark(self.mark)

    def _come_in(self, data: bytes) -> bytes:
        """The answers to the upgrade, to `connect` and to `subscribe`, in this order."""
        if self._upgrade:
            head, found, rest = data.partition(b"\r\n\r\n")
            if not found:
                return data
            if not head.startswith(b"HTTP/1.1 101 "):
                raise Broken(f"no websocket: {head[:200]!r}")
            self._upgrade = b""
            self._transport.write(self._hello)
            data = rest
        while (size := _frame_size(data, 0)) and size <= len(data):
            frame, data = data[:size], data[size:]
            for line in _payload(frame).split(b"\n"):
                answer: dict[str, Any] = msgspec.json.decode(line)
                if "error" in answer:
                    raise Broken(f"refused: {line[:200]!r}")
                if answer.get("id") == 2:
                    self.at = answer["subscribe"].get("offset", 0)
                    self.subscribed.set_result(self.at)
        return data


def say(**what: Any) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(what) + b"\n")
    sys.stdout.buffer.flush()


def stop(why: str) -> NoReturn:
    """Say what is wrong, and end: no figure comes out of this."""
    say(broken=why)
    os._exit(1)  # from any callback, whatever the loop would make of an exception


def _hello(channel: str, token: str) -> bytes:
    connect = msgspec.json.encode({"id": 1, "connect": {"token": token}})
    subscribe = msgspec.json.encode({"id": 2, "subscribe": {"channel": channel}})
    payload = connect + b"\n" + subscribe
    return b"\x81\xfe%b\0\0\0\0%b" % (len(payload).to_bytes(2, "big"), payload)


def _frame_size(data: bytes, place: int) -> int:
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


def _payload(frame: bytes) -> bytes:
    return frame[2 if frame[1] < 126 else 4 if frame[1] == 126 else 10 :]


async def _connect(crowd: Crowd, host: str, port: int, hello: bytes) -> list[Follower]:
    loop = asyncio.get_running_loop()
    upgrade = UPGRADE.format(host=host, port=port).encode()
    gate = asyncio.Semaphore(CONNECT_AT_ONCE)

    async def one() -> Follower:
        async with gate, asyncio.timeout(CONNECT_WITHIN_S):
            _, follower = await loop.create_connection(lambda: Follower(crowd, upgrade, hello), host, port)
            await follower.subscribed
        return follower

    return await asyncio.gather(*(one() for _ in range(crowd.size)))


async def _obey(crowd: Crowd, followers: list[Follower]) -> None:
    """Do what the driver says until it says no more."""
    told = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(told), sys.stdin)
    while line := await told.readline():
        command = msgspec.json.decode(line, type=dict[str, Any])
        if "round" in command:
            crowd.begin(**command["round"])
            for follower in followers:
                if follower.at != crowd.first - 1:
                    stop(f"a connection is at {follower.at} before a round that begins with {crowd.first}")
                follower.mark = crowd.next_mark(follower.at)
            say(begun=True)
        elif "report" in command:
            wrong = [follower.at for follower in followers if follower.at != crowd.last]
            if wrong:
                stop(f"{len(wrong)} connections are not at {crowd.last} but at {sorted(set(wrong))[:5]}")
            counted = {"messages": crowd.messages, "frames": crowd.frames, "different": crowd.different}
            say(report=counted)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, kind in {"host": str, "port": int, "followers": int, "channel": str, "token": str}.items():
        parser.add_argument(name, type=kind)
    given = parser.parse_args()
    crowd = Crowd(given.channel, given.followers)
    followers = await _connect(crowd, given.host, given.port, _hello(given.channel, given.token))
    if len({follower.at for follower in followers}) != 1:
        stop("the connections do not begin at one offset")
    say(ready=len(followers), offset=followers[0].at)
    await _obey(crowd, followers)


if __name__ == "__main__":
    uvloop.run(main())
