"""Headers of a request, as they were sent: without an object of all of them, as Litestar makes."""

from typing import Any


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
