"""Which hosts we are: a request that names another one was meant for somebody else, or is a trick.

What a Host header says would otherwise be believed by caches in front of us, and a page could rebind a name
of its own to our address and read a server that only listens on loopback (DNS rebinding).

PUBLIC_URL and ALLOWED_HOSTS say who we are, and loopback always is. Where neither is set, a server that
listens on loopback is reached by those names only, and any other one by whatever leads to it.
"""

import re
from collections.abc import Collection
from typing import Any, Final
from urllib.parse import urlsplit

from app.config import Config
from channels.headers import all_sent
from domain.errors import Malformed

LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
# Orchestrators ask by address, and are told what any host would be told.
PROBES: Final = ("/api/health/live", "/api/health/ready")
ANY: Final = "*"
_HOST: Final = re.compile(rb"(\[[0-9a-fA-F:.]+\]|[^:\[\]]+)(:[0-9]*)?")


class Hosts:
    """`allowed` are names in lower case; None: all of them."""

    def __init__(self, allowed: Collection[str] | None) -> None:
        self._allowed = None if allowed is None else frozenset(host.encode() for host in allowed)

    def check(self, scope: Any) -> None:
        """Raises Malformed `unknown_host`. Where all are allowed nothing is asked."""
        if self._allowed is None or scope["path"] in PROBES:
            return
        said = all_sent(scope, b"host")
        found = _HOST.fullmatch(said[0]) if len(said) == 1 else None
        if found is None or found[1].strip(b"[]").lower() not in self._allowed:
            raise Malformed("This server is not the one you named: see ALLOWED_HOSTS.", code="unknown_host")


def hosts(config: Config) -> Hosts:
    """Who this process is."""
    public = urlsplit(config.public_url).hostname if config.public_url else None
    named = {*config.front.allowed_hosts, *([public] if public else [])}
    if ANY in named or not (named or config.host in LOOPBACK):
        return Hosts(None)
    return Hosts(named | set(LOOPBACK))
