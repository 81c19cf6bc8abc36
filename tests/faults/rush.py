"""python -m tests.faults.rush <job>: a rush of requests on one app, whether it answers them or not.

job      {"host", "port", "tokens", "path", "connections"}
stdin    {"alone": seconds, "at_once"}      so many at once, one after another: what it can do
         {"rate": per second, "seconds"}    a request whenever one is due, answered or not
stdout   {"ready": true}; then for each {"counts": {status and code: n}, "odd": [], "times": [], "seconds",
         "slowest_s", "drained_s"}

`times` are of answers 200, from when they were due; `slowest_s` is the longest that any answer took, also a
refusal, from when it was asked; `drained_s` is from when the last was asked until all were answered. `odd` is
what no answer should be: it is 200, or 503 with a code of REFUSED and a Retry-After. Beside `rate` health is
asked all the time, over a connection of its own each: `live` are its statuses, `live_s` the slowest of them.
"""

import asyncio
import itertools
import re
import sys
import time
from collections import Counter, deque
from typing import Any, Final

import msgspec
import uvloop

# deadline_exceeded: it was let in, and broken off in time. The scenario prints how many there were.
REFUSED: Final = ("overloaded", "deadline_exceeded")
LIVE_EVERY_S: Final = 0.2
ANSWER_WITHIN_S: Final = 15.0
_LENGTH: Final = re.compile(rb"content-length: (\d+)", re.IGNORECASE)
_CODE: Final = re.compile(rb'"code":"(\w+)"')


class Line(asyncio.Protocol):
    """One connection, which carries one request at a time."""

    def __init__(self, rush: "Rush") -> None:
        self._rush = rush
        self._got = b""
        self._due = 0.0
        self._asked = 0.0
        self.transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def ask(self, request: bytes, due: float) -> None:
        self._due, self._asked = due, time.monotonic()
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._got += data
        head, end, body = self._got.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if end and length and len(body) >= int(length[1]):
            self._got = b""
            now = time.monotonic()
            self._rush.answered(self, head, body, now - self._due, now - self._asked)

    def connection_lost(self, exc: Exception | None) -> None:
        self._rush.lost(self)


class Rush:
    def __init__(self, job: dict[str, Any]) -> None:
        self._where = (job["host"], job["port"])
        self._requests = itertools.cycle(
            f"GET {job['path']} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
            for token in job["tokens"]
        )
        self._size = job["connections"]
        self._idle: deque[Line] = deque()
        self._at_once = 0
        self._until = 0.0
        self._done = asyncio.Event()
        self._under_way = 0
        self.begin()

    def begin(self) -> None:
        self.counts: Counter[str] = Counter()
        self.odd: list[str] = []
        self.times: list[float] = []
        self.slowest_s = 0.0

    async def open(self) -> None:
        loop = asyncio.get_running_loop()
        while len(self._idle) < self._size:
            _, line = await loop.create_connection(lambda: Line(self), *self._where)
            self._idle.append(line)

    async def alone(self, seconds: float, at_once: int) -> dict[str, Any]:
        """As fast as it goes."""
        self._at_once, self._until = at_once, time.monotonic() + seconds
        began = time.monotonic()
        for _ in range(at_once):
            self._next()
        await self._until_answered()
        self._at_once = 0
        return self._said(began)

    async def at(self, rate: float, seconds: float) -> dict[str, Any]:
        """At that many per second, and health beside it."""
        live = asyncio.create_task(self._ask_live(seconds))
        began = time.monotonic()
        for number in range(round(rate * seconds)):
            due = began + number / rate
            if (wait_s := due - time.monotonic()) > 0:
                await asyncio.sleep(wait_s)
            if self._idle:
                self._next(due)
            else:
                self.counts["no connection was free"] += 1
        last = time.monotonic()
        await self._until_answered()
        return {**self._said(began), "drained_s": time.monotonic() - last, **await live}

    def answered(self, line: Line, head: bytes, body: bytes, took_s: float, waited_s: float) -> None:
        self._under_way -= 1
        self.slowest_s = max(self.slowest_s, waited_s)
        self._idle.append(line)
        status = head[9:12].decode()
        found = _CODE.search(body) if status != "200" else None
        code = found[1].decode() if found else ""
        self.counts[f"{status} {code}".strip()] += 1
        if status == "200":
            self.times.append(took_s)
        elif status != "503" or code not in REFUSED or b"retry-after: " not in head.lower():
            self.odd.append(f"{head.decode(errors='replace')} {code}")
        if self._at_once and time.monotonic() < self._until:
            self._next()
        if not self._under_way:
            self._done.set()

    def lost(self, line: Line) -> None:
        if line in self._idle:
            self.counts["closed for its silence"] += 1
            self._idle.remove(line)
        else:
            self.counts["lost"] += 1
            self._under_way -= 1
            self.odd.append("a connection was lost with a request on it")
        if not self._under_way:
            self._done.set()

    def _next(self, due: float | None = None) -> None:
        self._under_way += 1
        self._done.clear()
        # The one that was used last: the others may fall silent, and are closed for it.
        self._idle.pop().ask(next(self._requests), due or time.monotonic())

    async def _until_answered(self) -> None:
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S if self._under_way else None):
                if self._under_way:
                    await self._done.wait()
        except TimeoutError:
            self.odd.append(f"{self._under_way} requests were never answered")

    async def _ask_live(self, seconds: float) -> dict[str, Any]:
        end = time.monotonic() + seconds
        said: Counter[str] = Counter()
        slowest = 0.0
        while (began := time.monotonic()) < end:
            try:
                async with asyncio.timeout(ANSWER_WITHIN_S):
                    reader, writer = await asyncio.open_connection(*self._where)
                    writer.write(
                        b"GET /api/health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
                    )
                    said[(await reader.read())[9:12].decode()] += 1
                    writer.close()
            except (OSError, TimeoutError) as error:
                said[type(error).__name__] += 1
            slowest = max(slowest, time.monotonic() - began)
            await asyncio.sleep(LIVE_EVERY_S)
        return {"live": said, "live_s": slowest}

    def _said(self, began: float) -> dict[str, Any]:
        return {
            "counts": self.counts,
            "odd": self.odd[:5],
            "times": sorted(self.times),
            "seconds": time.monotonic() - began,
            "slowest_s": self.slowest_s,
        }


async def main() -> None:
    rush = Rush(msgspec.json.decode(sys.argv[1]))
    await rush.open()
    told = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(told), sys.stdin)
    _say(ready=True)
    while line := await told.readline():
        command = msgspec.json.decode(line)
        rush.begin()
        await rush.open()
        if "alone" in command:
            _say(**await rush.alone(command["alone"], command["at_once"]))
        else:
            _say(**await rush.at(command["rate"], command["seconds"]))


def _say(**what: Any) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(what) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    uvloop.run(main())
