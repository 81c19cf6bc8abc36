"""Headers of a request, as they were sent: without an object of all of them, as Litestar makes."""

from typing import Any

from domain.errors import Malformed


def sent(scope: Any, name: bytes) -> bytes | None:
    """The first value of that name (in lower case); None where there is none."""
    value: bytes
    for given, value in scope["headers"]:
        if given == name:
            return value
    return None


def all_sent(scope: Any, name: bytes) -> list[bytes]:
    """All values of that name (in lower case), in their order."""
    return [value for given, value in scope["headers"] if given == name]


def only(scope: Any, name: bytes) -> bytes | None:
    """The value of a header that says one thing; None where it is not sent.

    Raises Malformed `repeated_header` where it is sent more than once: whoever stands between us and the
    client may go by another of its lines than we would.
    """
    values = all_sent(scope, name)
    if len(values) > 1:
        raise Malformed("A header that says one thing was sent more than once.", code="repeated_header")
    return values[0] if values else None
