"""The one clock: every time the product writes down comes from here."""

from datetime import UTC, datetime


def now() -> datetime:
    """The present in UTC, to the microsecond (what Postgres keeps)."""
    return datetime.now(UTC)
