"""Where a request comes from, when it comes through proxies of ours (TRUSTED_PROXIES).

Headers are believed only when the other end of the socket is a trusted proxy. X-Forwarded-For is read from
the right, where the nearest proxy writes: the first address that is not trusted is the client's, whatever is
to the left of it was sent by the client. What cannot be read ends the reading, too: the client is then the
last address that could. This is done once, to the ASGI scope, before anything else sees it: requests,
websockets, and what they are counted, written down or refused by, all have the same address.
"""

from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any, Final

from litestar.types import ASGIApp, Receive, Scope, Send

from channels.headers import all_sent

FOR: Final = b"x-forwarded-for"
PROTO: Final = b"x-forwarded-proto"
TRUSTED: Final = "maycole.trusted"  # in the scope of what came through a trusted proxy
_SECURE: Final = {"http": "https", "ws": "wss"}
_KNOWN_MAX: Final = 1024


class Proxies:
    """Those that are trusted."""

    def __init__(self, networks: Sequence[str]) -> None:
        self._networks = [ip_network(network) for network in networks]
        self._is_trusted = lru_cache(_KNOWN_MAX)(self._is_in_networks)

    def before(self, app: ASGIApp) -> ASGIApp:
        """The app, which sees the client's address; itself where nobody is trusted."""
        if not self._networks:
            return app

        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            await app(self.resolved(scope), receive, send)

        return answer

    def resolved(self, scope: Any) -> Any:
        """The scope with the client's own address and scheme, as far as trusted proxies tell them."""
        client = scope.get("client")
        peer = address_of(client[0]) if client else None
        if peer is None or not self._is_trusted(peer):
            return scope
        hops = b",".join(all_sent(scope, FOR))
        scheme = scope["scheme"]
        said = all_sent(scope, PROTO)
        # The nearest proxy's word is the last one.
        if said and said[-1].rpartition(b",")[2].strip().lower() == b"https":
            scheme = _SECURE.get(scheme, scheme)
        told = {"client": (str(self._client(peer, hops)), client[1]), "scheme": scheme, TRUSTED: True}
        return {**scope, **told}

    def _client(self, peer: IPv4Address | IPv6Address, hops: bytes) -> IPv4Address | IPv6Address:
        nearest = peer
        while hops:
            hops, _, hop = hops.rpartition(b",")
            found = address_of(hop.decode("latin-1"))
            if found is None:
                break
            nearest = found
            if not self._is_trusted(nearest):
                break
        return nearest

    def _is_in_networks(self, address: IPv4Address | IPv6Address) -> bool:
        return any(address in network for network in self._networks)


def address_of(text: str) -> IPv4Address | IPv6Address | None:
    """The address in `203.0.113.7`, `203.0.113.7:4711`, `2001:db8::1` or `[2001:db8::1]:4711`; else None.

    IPv4 in IPv6 is IPv4; a zone is left out.
    """
    text = text.strip()
    if text.startswith("["):
        text, _, port = text[1:].partition("]")
        if port and not _is_port(port):
            return None
    elif text.count(":") == 1:
        text, _, port = text.partition(":")
        if not _is_port(f":{port}"):
            return None
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def _is_port(text: str) -> bool:
    return text[0] == ":" and text[1:].isascii() and text[1:].isdigit()
