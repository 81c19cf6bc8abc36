"""Masks: no secret is written to a log, whoever hands it to a logger.

A value is masked by the name it goes by, and any text by what tokens, keys and addresses with passwords look
like. It is the last line of defence: what we write ourselves does not name secrets in the first place.
"""

import re
from functools import lru_cache
from typing import Any, Final

from domain import secret_shapes

MASK: Final = "***"
# In names, whatever stands around them: `new_password`, `X-Api-Key`, `jwtSecret`. Not `key_id`, not `monkey`.
_SECRET_NAME: Final = re.compile(
    r"password|passwd|secret|authorization|cookie|credential|totp|recovery_?code|"
    r"(^|[_.-])(access|refresh)?_?tokens?$|(?-i:[a-z]Tokens?$)|(^|[_.-])(api|private|encryption|signing|secret)?[_-]?keys?$"
    r"|(?-i:[a-z]Key$)|(database|redis)_?url|\bdsn\b",
    re.IGNORECASE,
)
_BEFORE: Final = (
    r"(?i:password|passwd|secret|authorization|cookie|token|api[_-]?key)"
    r"""["']?\s*[:=]\s*(?i:bearer\s+|basic\s+)?"""
)
# What is found is masked; what a named group holds stays in front of it.
_SECRETS: Final = re.compile(
    "|".join(
        (
            secret_shapes.OURS,
            r"(?P<scheme>(?i:\b(?:bearer|basic)\s+))[\w.~+/=-]+",
            r"(?P<address>\b[a-z][a-z0-9+.-]*://[^\s:/@]*:)[^\s@/]+(?=@)",
            rf"(?P<named>{_BEFORE})(?:\"(?:[^\"\\]|\\.)*\"|'[^']*'|[^\s,;&)}}\]]+)",
        )
    )
)
# Without any of these there is nothing to find, and to look for them costs next to nothing.
_SIGNS: Final = (
    "eyj",
    "mk_",
    "t_",
    "bearer",
    "basic",
    "://",
    "passw",
    "secret",
    "cookie",
    "token",
    "authoriz",
    "key",
)
# What our own lines have under these names comes from tables of ours: nobody can put a secret there.
_OURS: Final = frozenset(
    {"timestamp", "level", "logger", "method", "route", "code", "client", "user_id", "key_id", "via"}
)


def text(said: str) -> str:
    """The text without what looks like a secret."""
    low = said.lower()
    if not any(map(low.__contains__, _SIGNS)):
        return said
    return _SECRETS.sub(_masked, said)


def masked(name: str, value: Any) -> Any:
    """A value that goes by this name, as it may be written."""
    if value is None or isinstance(value, bool):
        return value
    if _is_secret(name):
        return MASK
    if isinstance(value, int | float):
        return value
    if isinstance(value, str):
        return text(value)
    if isinstance(value, dict):
        return {key: masked(str(key), of) for key, of in value.items()}
    if isinstance(value, list | tuple):
        return [masked(name, one) for one in value]
    return text(str(value))


def mask(logger: object, method: str, event: Any) -> Any:
    """A structlog processor."""
    for name, value in event.items():
        if name not in _OURS:
            event[name] = masked(name, value)
    return event


@lru_cache(maxsize=1024)
def _is_secret(name: str) -> bool:
    return _SECRET_NAME.search(name) is not None


def _masked(found: re.Match[str]) -> str:
    return f"{found['scheme'] or found['address'] or found['named'] or ''}{MASK}"
