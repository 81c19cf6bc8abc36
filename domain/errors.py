"""The seven ways to fail.

A domain error carries a stable `code` for programs, a sentence for people, and details for both. Which HTTP
status or websocket code it becomes is the shell's business (app/pipeline/errors.py, channels/protocol.py).
"""

from typing import Any, ClassVar

import msgspec

# The versions that a change may be made of.
AnyOf = frozenset[int]


class FieldError(msgspec.Struct, frozen=True):
    """One thing wrong with one field: an RFC 6901 pointer into the body, a code and a sentence."""

    pointer: str
    code: str
    detail: str


class DomainError(Exception):
    """A refusal that the caller is told about.

    `raise Conflict("Only 3 left.", code="insufficient_stock", available=3)`: `details` become members of the
    problem document; keep secrets out of them.
    """

    code: ClassVar[str] = "error"

    def __init__(
        self, detail: str, *, code: str | None = None, errors: tuple[FieldError, ...] = (), **details: Any
    ):
        super().__init__(detail)
        self.detail = detail
        self.problem = code or type(self).code
        self.errors = errors
        self.details = details
        # For those who may know why (domain/teams/refusals.py); never told to anyone else.
        self.explanation: msgspec.Struct | None = None


class Invalid(DomainError):
    """What was sent cannot be right, whoever sends it."""

    code = "invalid"


class Malformed(Invalid):
    """It is not what it should be before anyone looks at what it says: 400."""

    code = "malformed_json"


class Unauthenticated(DomainError):
    """We do not know who is asking."""

    code = "unauthenticated"


class Forbidden(DomainError):
    """We know who is asking, they may know of the thing, and may not do this."""

    code = "forbidden"


class NotFound(DomainError):
    """It does not exist, or the caller may not know that it does: both are said in the same words."""

    code = "not_found"

    @classmethod
    def of(cls, noun: str) -> "NotFound":
        return cls(f"There is no such {noun}, or you may not see it.")


class Conflict(DomainError):
    """It cannot be done to the thing as it is now."""

    code = "conflict"


class Stale(Conflict):
    """The caller changed an older version than the current one, which is in `current`."""

    code = "stale_version"

    @classmethod
    def unless(cls, current: Any, version: AnyOf | None) -> None:
        """Raise unless the thing is at one of these versions; None asks for none."""
        if version is not None and current.version not in version:
            raise cls("It was changed in the meantime.", current=current)


class RateLimited(DomainError):
    """Too much, too fast; `retryAfter` (seconds) is among the details."""

    code = "rate_limited"


class Unavailable(DomainError):
    """Something we depend on does not answer, or is not configured."""

    code = "unavailable"


class Faulty(Unavailable):
    """Something we depend on answers, but not what it should: 502."""

    code = "faulty"


class Silent(Unavailable):
    """Something we depend on does not answer in time: 504."""

    code = "silent"
