"""A small HTTP server to stand in for a vendor: real HTTP on a real port, a switch for each way to fail."""

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

import uvicorn

from app.server import address, listening


@dataclass
class Asked:
    """A request."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    @property
    def form(self) -> dict[str, str]:
        return dict(parse_qsl(self.body.decode()))

    @property
    def bearer(self) -> str:
        return self.headers.get("authorization", "").removeprefix("Bearer ")


@dataclass
class Answer:
    """What it is answered with: bytes, or JSON."""

    content: Any = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)

    def body(self) -> bytes:
        return self.content if isinstance(self.content, bytes) else json.dumps(self.content).encode()


Route = Callable[[Asked], Awaitable[Answer]]


class Double:
    """A vendor. `instead` answers a path in another way than it should; `asked` counts."""

    def __init__(self) -> None:
        self.url = ""
        self.instead: dict[str, Route] = {}
        self.asked: Counter[str] = Counter()
        self.reset()

    def reset(self) -> None:
        """Behave."""
        self.instead.clear()
        self.asked.clear()

    def routes(self) -> dict[str, Route]:
        raise NotImplementedError

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        query = dict(parse_qsl(scope["query_string"].decode()))
        asked = Asked(scope["method"], scope["path"], query, headers, body)
        self.asked[asked.path] += 1
        route = self.instead.get(asked.path) or self.routes().get(asked.path)
        answer = await route(asked) if route else Answer({"error": "not_found"}, 404)
        given = {"content-type": "application/json", **answer.headers}
        await send(
            {
                "type": "http.response.start",
                "status": answer.status,
                "headers": [(name.lower().encode(), value.encode()) for name, value in given.items()],
            }
        )
        await send({"type": "http.response.body", "body": answer.body()})


@contextlib.asynccontextmanager
async def running(double: Double) -> AsyncIterator[None]:
    """The double on a free port of this machine, in this event loop."""
    with listening("127.0.0.1", 0) as listener:
        double.url = address(listener)
        config = uvicorn.Config(
            double, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=1
        )
        server = uvicorn.Server(config)
        task = asyncio.create_task(server._serve([listener]))
        try:
            yield
        finally:
            server.should_exit = True
            await task
