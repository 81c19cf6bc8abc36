"""Slugs: what a team is called in an address."""

import re
import secrets
import unicodedata


def slug_of(name: str) -> str:
    """A readable slug from the name, with a tail that makes a clash unlikely."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    words = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:40].strip("-")
    tail = secrets.token_hex(4)
    return f"{words}-{tail}" if words else f"team-{tail}"
