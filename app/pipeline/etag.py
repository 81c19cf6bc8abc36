"""Versions on the wire: the ETag of a thing is its row's version; If-Match asks for exactly that one."""

from typing import Any

from litestar import Request

from app.pipeline.headers import only
from domain.errors import Invalid


def etag(version: int) -> str:
    return f'"{version}"'


async def provide_if_version(request: Request[Any, Any, Any]) -> int | None:
    """The version that `If-Match` asks for; None without the header, or for `*`.

    Raises Invalid for anything else, and as `only` does.
    """
    said = only(request.scope, b"if-match")
    given = "*" if said is None else said.decode("latin-1").strip()
    if given == "*":
        return None
    digits = given.removeprefix('"').removesuffix('"')
    if given != f'"{digits}"' or not digits.isascii() or not digits.isdigit() or len(digits) > 18:
        raise Invalid("If-Match takes the ETag of one version, as it was sent.", code="invalid_if_match")
    return int(digits)
