"""Step 3: what comes in is text that the product can keep, or a 4xx; never a 500.

Measured on bare Litestar: JSON nested a thousand deep and bad UTF-8 answer 500, and NUL, which Postgres
cannot store, gets as far as the database. Here a body is UTF-8 JSON, at most DEPTH_MAX deep, without NUL.
"""

from typing import Any, Final

import msgspec
from litestar import Request
from litestar.types import Empty

from domain.errors import Invalid

BODY_BYTES_MAX: Final = 1024 * 1024
DEPTH_MAX: Final = 32


class Malformed(Invalid):
    """It is not what it should be before anyone looks at what it says: 400."""

    code = "malformed_json"


class HardenedRequest(Request[Any, Any, Any]):
    """Litestar's request, with a JSON parser that cannot be surprised."""

    async def json(self) -> Any:
        """The body as Python values. Raises Malformed."""
        if self._json is Empty:
            self._json = self._connection_state.json = parse(await self.body())
        return self._json


def parse(body: bytes) -> Any:
    """JSON text as Python values. Raises Malformed for what is not JSON, too deep, or holds NUL."""
    try:
        value = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Malformed(f"The body is not valid JSON: {error}.") from error
    except RecursionError as error:
        raise Malformed(f"The body is nested more than {DEPTH_MAX} deep.", code="json_too_deep") from error
    _inspect(value, DEPTH_MAX)
    return value


async def refuse_nul(request: Request[Any, Any, Any]) -> None:
    """Path and query hold no NUL either (a before_request hook)."""
    if b"%00" in request.scope["raw_path"] or b"%00" in request.scope["query_string"]:
        raise Malformed("NUL characters cannot be stored.", code="nul_character")


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
