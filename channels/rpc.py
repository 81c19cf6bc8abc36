"""rpc: a command that runs a REST handler, with its rights, limits and audit: the REST app itself is asked.

`method` is "PUT /api/inventory/item_…", with a query if there is one. `data` is {"body": …, "headers": {…}},
both optional; the answer is {"status": 200, "headers": {…}, "body": …}, also for a refusal: the same problem
document that REST answers with. An error is answered only to what is no such request.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final
from urllib.parse import unquote

import msgspec
from msgspec import Raw

from channels.protocol import ANSWER_BYTES_MAX, Refused
from channels.under_way import UnderWay
from domain.auth.tokens import Claims

CLAIMS: Final = "maycole.claims"
COUNTED: Final = "drawn"  # in the state of a request that its route has counted (app/pipeline/limits.py)
HEADERS: Final = frozenset(
    {"accept", "api-version", "idempotency-key", "if-match", "if-none-match", "x-request-id"}
)
_METHOD: Final = re.compile(r"(GET|POST|PUT|PATCH|DELETE) (/api/[!-~]*)", re.ASCII)
_HEADER_VALUE: Final = re.compile(r"[ -~]*", re.ASCII)

Scope = MutableMapping[str, Any]
App = Callable[[Any, Any, Any], Awaitable[None]]
Pay = Callable[[], Awaitable[None]]


class Call(msgspec.Struct):
    """What a client sends; of the headers only HEADERS are passed on, others are refused."""

    body: Raw = Raw(b"")
    headers: dict[str, str] = {}


class Called(msgspec.Struct):
    """What it is answered with."""

    status: int
    headers: dict[str, str]
    body: Raw = Raw(b"null")


_call = msgspec.json.Decoder(Call | None)


async def call(
    app: App, via: Scope, claims: Claims, method: str, data: Raw, *, under_way: UnderWay, pay: Pay
) -> Raw:
    """The answer of the REST handler. `via` is the scope of the client's own connection; `pay` is awaited for
    what no route has counted: routes without a limit, addresses that lead nowhere, what is no request at all.

    Raises Refused: 104 for what is no request, 106 for an answer beyond ANSWER_BYTES_MAX, 107 for bad data,
    100 where it was stopped; and what `pay` raises.
    """
    state: dict[str, Any] = {}
    try:
        verb, target, headers, body = _read(method, data)
        exchange = _Exchange(body)
        scope = _scope(via, claims, verb, target, headers, state)
        await under_way.finish(_run(app, scope, exchange))
        answer = exchange.answer()
    except Refused:
        if COUNTED not in state:
            await pay()
        raise
    if COUNTED not in state:
        await pay()
    return Raw(msgspec.json.encode(answer))


def _read(method: str, data: Raw) -> tuple[str, str, dict[str, str], bytes]:
    """Method, address, headers and body of the request. Raises Refused."""
    asked = _METHOD.fullmatch(method)
    if asked is None:
        raise Refused(104)
    try:
        given = _call.decode(bytes(data) or b"{}") or Call()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as malformed:
        raise Refused(107) from malformed
    headers = {name.lower(): value for name, value in given.headers.items()}
    if headers.keys() - HEADERS or not all(map(_HEADER_VALUE.fullmatch, headers.values())):
        raise Refused(107)
    body = bytes(given.body)
    if body:
        headers |= {"content-type": "application/json", "content-length": str(len(body))}
    return asked[1], asked[2], headers, body


async def _run(app: App, scope: Scope, exchange: "_Exchange") -> None:
    await app(scope, exchange.receive, exchange.send)


def _scope(
    via: Scope, claims: Claims, method: str, target: str, headers: dict[str, str], state: dict[str, Any]
) -> Scope:
    path, _, query = target.partition("?")
    kept = [(name, value) for name, value in via["headers"] if name in (b"host", b"user-agent")]
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": method,
        "scheme": {"ws": "http", "wss": "https"}.get(via["scheme"], via["scheme"]),
        "path": unquote(path),
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": kept + [(name.encode(), value.encode()) for name, value in headers.items()],
        "client": via["client"],
        "server": via["server"],
        "state": state,
        "extensions": {CLAIMS: claims},
    }


class _Exchange:
    """The handler's side of one request, without a network."""

    def __init__(self, body: bytes) -> None:
        self._requests = [{"type": "http.request", "body": body, "more_body": False}]
        self._status = 0
        self._headers: dict[str, str] = {}
        self._parts: list[bytes] = []
        self._size = 0
        self._over = asyncio.Event()

    async def receive(self) -> Any:
        if self._requests:
            return self._requests.pop()
        await self._over.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            self._headers = {name.decode().lower(): value.decode() for name, value in message["headers"]}
            return
        part = message.get("body", b"")
        self._size += len(part)
        if self._size > ANSWER_BYTES_MAX:
            self._parts.clear()
        else:
            self._parts.append(part)
        if not message.get("more_body", False):
            self._over.set()

    def answer(self) -> Called:
        if self._size > ANSWER_BYTES_MAX:
            raise Refused(106)
        body = b"".join(self._parts)
        if not body:
            return Called(self._status, self._headers)
        if "json" not in self._headers.get("content-type", ""):
            return Called(
                self._status, self._headers, Raw(msgspec.json.encode(body.decode(errors="replace")))
            )
        return Called(self._status, self._headers, Raw(body.replace(b"\n", b" ")))
