"""The crowd: very many clients in one process, each a bare websocket; for storms, and for clients that stall.

Each follows one channel. When its connection ends it comes back from its position, after a pause that is
drawn and grows. Every frame is checked as it comes: offsets rise by one, or the server has said
"not recovered".

argv    a Job as JSON
stdin   {"level": {channel: offset}, "within_s": s}; {"stall": true | false}; {"report": true}
stdout  {"ready": n}; {"level": n}, how many have come as far; {"stall": …}; {"report": {…}}, see Crowd.report
"""

import asyncio
import random
import socket
import sys
import time
from collections import Counter
from typing import Any, Final

import msgspec
import uvloop

from tests.bench.followers import PING, PONG, UPGRADE

AT_ONCE: Final = 200
COME_IN_WITHIN_S: Final = 20.0
PAUSE_S: Final = (0.05, 5.0)
WRONG_MAX: Final = 20
SMALL_BUFFER_BYTES: Final = 4096
POLL_S: Final = 0.05


class Job(msgspec.Struct):
    """`size` clients; the n-th has the n-th token and channel, from the first again after the last.

    `keep_times`: note when each publication came. `small`: as small a receive buffer as the kernel allows.
    """

    host: str
    port: int
    tokens: list[str]
    channels: list[str]
    size: int
    keep_times: bool = False
    small: bool = False
    seed: int = 1


class Message(msgspec.Struct):
    """What of an answer or a push is looked at."""

    id: int = 0
    error: dict[str, Any] | None = None
    subscribe: dict[str, Any] | None = None
    push: dict[str, Any] | None = None
    disconnect: dict[str, Any] | None = None


_message = msgspec.json.Decoder(Message)


class Crowd:
    """What its clients have in common."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.dice = random.Random(job.seed)  # noqa: S311 - pauses
        self.gate = asyncio.Semaphore(AT_ONCE)
        self.stalled = False
        self.counts: Counter[str] = Counter()
        self.wrong: list[tuple[str, str]] = []
        self.times: list[tuple[str, int, float]] = []
        self.clients = [Client(self, number) for number in range(job.size)]
        self.lives: list[asyncio.Task[None]] = []

    def find(self, kind: str, what: str) -> None:
        self.counts[kind] += 1
        if len(self.wrong) < WRONG_MAX:
            self.wrong.append((kind, what))

    def report(self) -> dict[str, Any]:
        """`wrong`: (kind, what) of the first violations; `counts`: joins, closes by code, violations by kind.

        `times`: (channel, offset, when it came) since the last report.
        """
        times, self.times = self.times, []
        self.counts["broken"] = sum(
            life.done() for life in self.lives
        )  # a client goes on until it is cancelled
        return {"counts": self.counts, "wrong": self.wrong, "times": times}

    async def level(self, tops: dict[str, int], within_s: float) -> int:
        """How many stand at the top of their channel; returns when all do, or when the time is over."""
        end = time.monotonic() + within_s
        while True:
            level = sum(client.inside and client.at >= tops[client.channel] for client in self.clients)
            if level == len(self.clients) or time.monotonic() > end:
                return level
            await asyncio.sleep(POLL_S)

    def stall(self, stalled: bool) -> None:
        self.stalled = stalled
        for client in self.clients:
            client.stall()


class Client(asyncio.Protocol):
    """One of them: `at` its position, `inside` whether it is subscribed at the moment."""

    def __init__(self, crowd: Crowd, number: int) -> None:
        job = crowd.job
        self.channel = job.channels[number % len(job.channels)]
        self.at = 0
        self.inside = False
        self._crowd = crowd
        self._number = number
        self._token = job.tokens[number % len(job.tokens)]
        self._epoch = ""
        self._rest = b""
        self._upgraded = False
        self._transport: asyncio.Transport | None = None
        self._over = asyncio.Event()
        self._came_in = asyncio.Event()

    async def live(self) -> None:
        """Come in, and come back, until cancelled."""
        least, most = PAUSE_S
        pause_s = least
        while True:
            try:
                async with self._crowd.gate, asyncio.timeout(COME_IN_WITHIN_S):
                    await self._come_in()
                pause_s = least
                await self._over.wait()
                self._crowd.counts["closed"] += 1
            except (
                OSError,
                TimeoutError,
                RuntimeError,
            ):  # the last is uvloop's word for a transport that is gone
                self._crowd.counts["did not get in"] += 1
            finally:
                self.inside = False
                if self._transport is not None:
                    self._transport.abort()
            await asyncio.sleep(self._crowd.dice.uniform(0, pause_s))
            pause_s = min(most, pause_s * 2)

    def stall(self) -> None:
        if self._transport is None or self._transport.is_closing() or not self.inside:
            return
        if self._crowd.stalled:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    # As a protocol

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # it is one
        self._transport = transport
        where = self._crowd.job
        transport.write(UPGRADE.format(host=where.host, port=where.port).encode())

    def connection_lost(self, error: Exception | None) -> None:
        self.inside = False
        self._over.set()
        self._came_in.set()

    def data_received(self, data: bytes) -> None:
        data = self._rest + data
        if not self._upgraded:
            head, found, data = data.partition(b"\r\n\r\n")
            if not found:
                self._rest = head
                return
            if not head.startswith(b"HTTP/1.1 101 "):
                self._end("no websocket")
                return
            self._upgraded = True
            self._say_hello()
        place = 0
        while size := _whole_frame(data, place):
            self._frame(data[place : place + size])
            place += size
        self._rest = data[place:]

    async def _come_in(self) -> None:
        """Connect and subscribe. Raises OSError, also where it was closed before that was done."""
        self._rest, self._upgraded = b"", False
        self._over, self._came_in = asyncio.Event(), asyncio.Event()
        job, plug = self._crowd.job, socket.socket()
        plug.setblocking(False)
        if job.small:
            plug.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER_BYTES)
        loop = asyncio.get_running_loop()
        try:
            await loop.sock_connect(plug, (job.host, job.port))
        except BaseException:
            plug.close()
            raise
        await loop.create_connection(lambda: self, sock=plug)
        await self._came_in.wait()
        if not self.inside:
            raise ConnectionError("closed before it was let in")

    def _say_hello(self) -> None:
        subscribe: dict[str, Any] = {"channel": self.channel}
        if self._epoch:
            subscribe |= {"recover": True, "epoch": self._epoch, "offset": self.at}
        said = (
            msgspec.json.encode({"id": 1, "connect": {"token": self._token}})
            + b"\n"
            + msgspec.json.encode({"id": 2, "subscribe": subscribe})
        )
        assert self._transport is not None
        self._transport.write(b"\x81\xfe%b\0\0\0\0%b" % (len(said).to_bytes(2, "big"), said))

    def _frame(self, frame: bytes) -> None:
        assert self._transport is not None
        if frame[0] == 0x88:
            self._end(f"code {int.from_bytes(_payload(frame)[:2], 'big')}")
        elif frame == PING:
            self._transport.write(PONG)
        else:
            for line in _payload(frame).split(b"\n"):
                self._told(_message.decode(line))

    def _told(self, message: Message) -> None:
        if message.error is not None:
            self._end(f"refused {message.error['code']}")
        elif message.id == 2 and message.subscribe is not None:
            self._joined(message.subscribe)
        elif message.push is not None and message.push.get("channel") == self.channel:
            if "pub" in message.push:
                self._saw(message.push["pub"].get("offset", 0))
            elif "unsubscribe" in message.push:
                self._end(f"unsubscribed {message.push['unsubscribe']['code']}")

    def _joined(self, answer: dict[str, Any]) -> None:
        came_back, recovered = bool(self._epoch), bool(answer.get("recovered"))
        self._crowd.counts["recovered" if recovered else "looked again" if came_back else "joined"] += 1
        if recovered and answer["epoch"] != self._epoch:
            self._crowd.find("dishonest", f"client {self._number} recovered into another stream")
        self._epoch = answer["epoch"]
        if not recovered:
            # It would read the list anew, and go on from here.
            self.at = answer.get("offset", 0)
        for publication in answer.get("publications", ()):
            self._saw(publication["offset"])
        self.inside = True
        self._came_in.set()
        if self._crowd.stalled:
            self.stall()

    def _saw(self, offset: int) -> None:
        if offset <= self.at:
            self._crowd.find("doubled", f"client {self._number} saw {offset} after {self.at}")
            return
        if offset > self.at + 1:
            self._crowd.find("lost", f"client {self._number} saw {offset} right after {self.at}")
        self.at = offset
        if self._crowd.job.keep_times:
            self._crowd.times.append((self.channel, offset, time.monotonic()))

    def _end(self, why: str) -> None:
        self._crowd.counts[why] += 1
        if self._transport is not None:
            self._transport.abort()


def _whole_frame(data: bytes, place: int) -> int:
    """The size of the frame that begins there, 0 while it is not all there."""
    if len(data) < place + 2:
        return 0
    short = data[place + 1]
    header = 2 if short < 126 else 4 if short == 126 else 10
    if len(data) < place + header:
        return 0
    size = header + (short if short < 126 else int.from_bytes(data[place + 2 : place + header], "big"))
    return size if len(data) >= place + size else 0


def _payload(frame: bytes) -> bytes:
    return frame[2 if frame[1] < 126 else 4 if frame[1] == 126 else 10 :]


def _say(**what: object) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(what) + b"\n")
    sys.stdout.buffer.flush()


async def main(job: Job) -> None:
    crowd = Crowd(job)
    crowd.lives = [asyncio.create_task(client.live()) for client in crowd.clients]
    while not all(client.inside for client in crowd.clients):
        await asyncio.sleep(POLL_S)
    _say(ready=job.size)
    told = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(told), sys.stdin)
    while line := await told.readline():
        command = msgspec.json.decode(line, type=dict[str, Any])
        if "level" in command:
            _say(level=await crowd.level(command["level"], command["within_s"]))
        elif "stall" in command:
            crowd.stall(command["stall"])
            _say(stall=command["stall"])
        elif "report" in command:
            _say(report=crowd.report())
    for life in crowd.lives:
        life.cancel()
    await asyncio.gather(*crowd.lives, return_exceptions=True)


if __name__ == "__main__":
    uvloop.run(main(msgspec.json.decode(sys.argv[1], type=Job)))
