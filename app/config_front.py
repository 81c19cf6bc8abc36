"""The part of the configuration that says who we are, and who is told when something goes wrong."""

import re
from collections.abc import Mapping
from typing import Final

import msgspec

_NAME: Final = re.compile(r"\*|[a-z0-9_-]+(\.[a-z0-9_-]+)*|[0-9a-f:]+:[0-9a-f:.]*")
_DSN: Final = re.compile(r"https?://[0-9A-Za-z]+(:[0-9A-Za-z]+)?@[^/@?#\s]+(/[^?#\s]*)?/[0-9]+")


class Front(msgspec.Struct, frozen=True, kw_only=True):
    """`allowed_hosts` in lower case, without ports; `commit` is what was built, where the builder says so."""

    allowed_hosts: tuple[str, ...] = ()
    sentry_dsn: str | None = None
    commit: str | None = None

    def __repr__(self) -> str:
        return f"Front({self.allowed_hosts}, {self.commit})"


def read(env: Mapping[str, str]) -> tuple[Front, list[str]]:
    """What these variables say, and what is wrong with them."""
    named = [name.strip().lower() for name in env.get("ALLOWED_HOSTS", "").split(",")]
    hosts = tuple(name.removeprefix("[").removesuffix("]") for name in named if name)
    wrong = [
        f"ALLOWED_HOSTS has {name!r}: use names or addresses without a port, or * for any"
        for name in hosts
        if not _NAME.fullmatch(name)
    ]
    dsn = env.get("SENTRY_DSN")
    if dsn is not None and not _DSN.fullmatch(dsn):
        wrong.append("SENTRY_DSN must be as Sentry gives it: https://key@host/project")
    return Front(allowed_hosts=hosts, sentry_dsn=dsn, commit=env.get("MAYCOLE_COMMIT")), wrong
