"""What every answer carries, whoever makes it: the application (app/pipeline/stamp.py) or the engine itself.

An application says in its state whether people reach it over TLS (`is_secure`); only then HSTS is sent.
"""

from typing import Any, Final

Headers = list[tuple[bytes, bytes]]

ALWAYS: Final[Headers] = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-site"),
]
# For browsers that came over TLS: a year. Names below ours may be somebody else's, and are left alone.
HSTS: Final = (b"strict-transport-security", b"max-age=31536000")
NO_STORE: Final = (b"cache-control", b"no-store")
# What is no page loads nothing and is shown in no frame.
FRAMES: Final = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")


def always(*, is_secure: bool) -> Headers:
    """On each answer."""
    return [*ALWAYS, HSTS] if is_secure else ALWAYS


def of_problems(app: Any) -> Headers:
    """On a problem that the engine answers in the place of this application; None: of nobody's."""
    is_secure = getattr(getattr(app, "state", None), "is_secure", False)
    return [*always(is_secure=is_secure), NO_STORE, FRAMES]
