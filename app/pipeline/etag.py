"""Versions on the wire: the ETag of a thing is its row's version.

`If-Match` asks a change of no other version than those it names, and compares strongly; `If-None-Match` asks
a read for anything but those, and compares weakly (RFC 9110 sections 8.8.3, 13.1.1 and 13.1.2).
"""

import re
from typing import Any, Final

from litestar import Request
from litestar.di import NamedDependency

from channels.headers import all_sent
from domain.errors import AnyOf, Invalid

IF_NONE_MATCH: Final = b"if-none-match"
_TAG: Final = re.compile(r'(W/)?"([!#-~\x80-\xff]*)"')
_BETWEEN: Final = re.compile(r"[ \t]*(?:,[ \t,]*|\Z)")
_OURS: Final = re.compile(r"[1-9][0-9]{0,17}")


# What a handler takes for it.
IfVersion = NamedDependency[AnyOf | None]


def etag(version: int) -> str:
    return f'"{version}"'


async def provide_if_version(request: Request[Any, Any, Any]) -> AnyOf | None:
    """The versions that `If-Match` asks for; None without the header, or for `*`.

    What is weak, or not from here, is no version of ours. Raises Invalid for what is no list of ETags.
    """
    given = all_sent(request.scope, b"if-match")
    if not given:
        return None
    said = b",".join(given).decode("latin-1").strip(" \t,")
    if said == "*":
        return None
    tags = _tags(said)
    if not tags:
        raise Invalid("If-Match takes ETags as they were sent, or `*`.", code="invalid_if_match")
    return frozenset(int(tag) for is_weak, tag in tags if not is_weak and _OURS.fullmatch(tag))


def is_known(scope: Any, current: str) -> bool:
    """Whether a client that reads has this ETag already. What is no list of ETags asks for nothing."""
    given = all_sent(scope, IF_NONE_MATCH)
    if not given or scope["method"] not in ("GET", "HEAD"):
        return False
    said = b",".join(given).decode("latin-1").strip(" \t,")
    return said == "*" or current.strip('"') in [tag for _, tag in _tags(said) or ()]


def _tags(said: str) -> list[tuple[bool, str]] | None:
    """Whether each is weak, and what it is; None for what is no list of them."""
    found, at = [], 0
    while at < len(said):
        tag = _TAG.match(said, at)
        between = _BETWEEN.match(said, tag.end()) if tag is not None else None
        if tag is None or between is None:
            return None
        found.append((tag[1] is not None, tag[2]))
        at = between.end()
    return found
