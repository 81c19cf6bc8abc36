"""Step 3: what comes in is text that the product can keep, in the shape the handler takes, or it is a 4xx.

Measured on bare Litestar: JSON nested a thousand deep and bad UTF-8 answer 500, and NUL, which Postgres
cannot store, gets as far as the database. Here a body is UTF-8 JSON, at most DEPTH_MAX deep, without NUL. It
is held to its type strictly: Litestar would take `"1"` for a number, which its own OpenAPI document denies.
"""

import asyncio
import re
from typing import Any, Final
from urllib.parse import unquote_to_bytes

import msgspec
from litestar import Request
from litestar.exceptions import HTTPException
from litestar.exceptions.http_exceptions import RequestEntityTooLarge
from litestar.types import Empty

from app.pipeline.stay import sending
from channels import cycle
from channels.headers import all_sent, sent
from domain.errors import FieldError, Invalid, Malformed

BODY_BYTES_MAX: Final = 1024 * 1024
BODY_WITHIN_S: Final = 10
DEPTH_MAX: Final = 32
VALUES_MAX: Final = 50_000
_IS_JSON: Final = re.compile(rb"application/([\w.-]+\+)?json\s*(;|$)", re.IGNORECASE)


class HardenedRequest(Request[Any, Any, Any]):
    """Litestar's request, with a JSON parser that cannot be surprised."""

    async def body(self) -> bytes:
        """All of it. What came with the head is one message, for which no generator is needed."""
        state = self._connection_state
        if self._body is Empty and state.body is Empty and self.scope["state"].get(cycle.BODY_IS_HERE):
            message: Any = await self.receive()
            body: bytes = message.get("body", b"")
            if len(body) > BODY_BYTES_MAX:
                raise RequestEntityTooLarge
            self._body = state.body = body
        return await super().body()

    async def json(self) -> Any:
        """The body as what the handler takes. Raises Malformed, Invalid, or 415 for what is not JSON."""
        if self._json is Empty:
            kind = sent(self.scope, b"content-type")
            if kind is not None and not _IS_JSON.match(kind):
                raise HTTPException(status_code=415, detail="Send JSON: `Content-Type: application/json`.")
            value = parse(await self.body())
            wanted = self.route_handler.parsed_data_field
            self._json = self._connection_state.json = fitted(value, wanted.annotation) if wanted else value
        return self._json


def parse(body: bytes) -> Any:
    """JSON text as Python values.

    Raises Malformed for what is not JSON, too deep, or holds NUL; Invalid `too_many_values`.
    """
    try:
        value = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Malformed(f"The body is not valid JSON: {error}.") from error
    except RecursionError as error:
        raise Malformed(f"The body is nested more than {DEPTH_MAX} deep.", code="json_too_deep") from error
    # Counted in C, before each is looked at: a megabyte of `[],[],…` would hold the loop for 0.3 s.
    if body.count(b",") + body.count(b"[") + body.count(b"{") > VALUES_MAX:
        raise Invalid(f"The body has more than {VALUES_MAX:,} values.", code="too_many_values")
    # So few brackets are not deeper than that, and NUL is only ever spelled like this.
    if body.count(b"[") + body.count(b"{") > DEPTH_MAX or b"\\u0000" in body:
        _inspect(value, DEPTH_MAX)
    return value


def fitted(value: Any, kind: Any) -> Any:
    """The value as a `kind`. Raises Invalid that points at what does not fit."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `")
        field = field_error(message, path.removesuffix("`").removeprefix("$"))
        raise Invalid(message, errors=(field,)) from error


def field_error(message: str, path: str) -> FieldError:
    """What msgspec says, as a pointer into the body: `.a.b[0]` is `/a/b/0`."""
    unknown = re.search(r"unknown field `([^`]*)`", message)
    missing = re.search(r"missing required field `([^`]*)`", message)
    steps = [step for step in re.sub(r"\[(?:\.\.\.|(\d+))\]", r".\1", path).split(".") if step]
    if named := unknown or missing:
        steps.append(named[1])
    pointer = "".join(f"/{step.replace('~', '~0').replace('/', '~1')}" for step in steps)
    return FieldError(pointer, "unknown_field" if unknown else "required" if missing else "invalid", message)


async def refuse_bad_text(request: Request[Any, Any, Any]) -> None:
    """Path and query are UTF-8 and hold no NUL either (a before_request hook)."""
    for part in (request.scope["raw_path"], request.scope["query_string"]):
        if b"%" not in part and part.isascii():
            continue
        if b"%00" in part:
            raise Malformed("NUL characters cannot be stored.", code="nul_character")
        try:
            unquote_to_bytes(part).decode()
        except UnicodeDecodeError as error:
            raise Malformed("The address is not UTF-8.", code="malformed_address") from error


async def refuse_nothing(request: Request[Any, Any, Any]) -> None:
    """A handler that takes a body gets one (a before_request hook); Litestar would say `'data'`."""
    if request.route_handler.parsed_data_field is None:
        return
    # All of them: a second one is a coding as well (RFC 9110, 5.3).
    codings = all_sent(request.scope, b"content-encoding")
    if any(coding.strip().lower() not in (b"", b"identity") for coding in codings):
        # Unpacked, a kilobyte may be a gigabyte.
        raise HTTPException(
            status_code=415,
            detail="Send the body as it is, without a content coding.",
            headers={"Accept-Encoding": "identity"},
        )
    body = await (request.body() if request.scope["state"].get(cycle.BODY_IS_HERE) else _received(request))
    if not body:
        raise Malformed("The body is empty: send JSON.", code="empty_body")


async def _received(request: Request[Any, Any, Any]) -> bytes:
    """The body, which the client is still to send."""
    try:
        with sending(request.scope):
            async with asyncio.timeout(BODY_WITHIN_S):
                return await request.body()
    except TimeoutError as slow:
        raise HTTPException(status_code=408, detail=f"The body took more than {BODY_WITHIN_S} s.") from slow


def _inspect(value: Any, depth: int) -> None:
    if isinstance(value, str):
        if "\0" in value:
            raise Malformed("NUL characters cannot be stored.", code="nul_character")
    elif isinstance(value, dict | list):
        if depth == 0:
            raise Malformed(f"The body is nested more than {DEPTH_MAX} deep.", code="json_too_deep")
        for item in value:
            _inspect(item, depth - 1)
        if isinstance(value, dict):
            for item in value.values():
                _inspect(item, depth - 1)
