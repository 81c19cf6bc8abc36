"""Which methods a path takes, as `Allow` says it."""

from collections.abc import Iterable


def is_head_taken(path: str) -> bool:
    """Whether HEAD is taken for GET there; what streams is at other addresses, and would not end."""
    return path.startswith(("/api/", "/auth/"))


def allow(methods: Iterable[str], path: str) -> str:
    """The header, from what there are handlers for."""
    found = set(methods) | {"OPTIONS"}
    if "GET" in found and is_head_taken(path):
        found.add("HEAD")
    return ", ".join(sorted(found))
