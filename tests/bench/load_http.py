"""The load client of REST: a process with some connections, each with one request under way at any time.

It is lean, so that it is the server that has no time left: what a request costs is asked of a server that is
busy, not of one that is woken for each.

stdin   {"port", "heads", "bodies", "at_once"}: once for each round; `heads` in turns, `bodies` are what is
        sent, "" for a GET
stdout  {"statuses": {"200": n}, "example": "the first answer with another status"}
"""

import asyncio
import sys
from collections import Counter
from itertools import cycle
from typing import Final, cast

import msgspec
import uvloop

WITHIN_S: Final = 120.0


class Round(msgspec.Struct):
    """One body after the other, with each head in turn, over `at_once` connections."""

    port: int
    heads: list[str]
    bodies: list[str]
    expected: int
    at_once: int


class Lane(asyncio.Protocol):
    """One connection; it sends the next request when it has the whole answer to the last."""

    def __init__(self, left: list[bytes], statuses: Counter[int], over: asyncio.Future[None]) -> None:
        self._left = left
        self._statuses = statuses
        self.over = over
        self._answer = b""
        self.odd: dict[int, str] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance
        self._next()

    def data_received(self, data: bytes) -> None:
        self._answer += data
        if not _is_whole(self._answer):
            return
        status = int(self._answer[9:12])
        self._statuses[status] += 1
        self.odd.setdefault(status, self._answer.decode(errors="replace"))
        self._answer = b""
        self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.over.done():
            self.over.set_exception(ConnectionError(f"the server hung up: {exc}"))

    def _next(self) -> None:
        if self._left:
            self._transport.write(self._left.pop())
        elif not self.over.done():
            self.over.set_result(None)
            self._transport.close()


def _is_whole(answer: bytes) -> bool:
    head, end, body = answer.partition(b"\r\n\r\n")
    if not end:
        return False
    head = head.lower()
    if b"transfer-encoding: chunked" in head:
        return body.endswith(b"0\r\n\r\n")
    _, _, length = head.partition(b"content-length: ")
    return len(body) == int(length.partition(b"\r\n")[0])


async def _run(asked: Round) -> tuple[Counter[int], str]:
    left = [_request(head, body) for head, body in zip(cycle(asked.heads), asked.bodies, strict=False)][::-1]
    statuses: Counter[int] = Counter()
    loop = asyncio.get_running_loop()
    lanes = [Lane(left, statuses, loop.create_future()) for _ in range(asked.at_once)]
    for lane in lanes:
        await loop.create_connection(lambda lane=lane: lane, "127.0.0.1", asked.port)  # type: ignore[misc]
    async with asyncio.timeout(WITHIN_S):
        await asyncio.gather(*(lane.over for lane in lanes))
    odd = [text for lane in lanes for status, text in lane.odd.items() if status != asked.expected]
    return statuses, odd[0] if odd else ""


def _request(head: str, body: str) -> bytes:
    if not body:
        return f"{head}\r\n\r\n".encode()
    return f"{head}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n{body}".encode()


def main() -> None:
    print("{}", flush=True)
    for line in sys.stdin:
        statuses, odd = uvloop.run(_run(msgspec.json.decode(line, type=Round)))
        said = {"statuses": {str(status): count for status, count in statuses.items()}, "example": odd}
        print(msgspec.json.encode(said).decode(), flush=True)


if __name__ == "__main__":
    main()
