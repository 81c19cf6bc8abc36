"""The opening handshake of a websocket (RFC 6455 section 4.2), of a request that is already parsed.

uvicorn's HTTP engine has read the request by the time it sees the upgrade; its websocket engine would have it
written out and read again by h11. `Upgrade` stands where that engine has wsproto's `WSConnection`: it answers
the handshake itself, and from then on passes everything to wsproto's frames.
"""

from collections.abc import Iterable, Sequence
from http import HTTPStatus
from typing import Final

from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.events import AcceptConnection, Event, RejectConnection, RejectData, Request
from wsproto.utilities import (
    RemoteProtocolError,
    generate_accept_token,
    normed_header_dict,
    split_comma_header,
)

from channels.refusals import UNKNOWN, Asked
from channels.request_ids import HEADER

Headers = Sequence[tuple[bytes, bytes]]

PATH: Final = "/connection/websocket"
HTTP_VERSION: Final = "1.1"
VERSION: Final = b"13"
KEY_CHARS: Final = 24  # 16 bytes in base 64


def known(method: bytes, target: bytes, headers: Headers) -> Asked:
    """As much of it as a log may hold."""
    route = PATH if target.partition(b"?")[0] == PATH.encode() else UNKNOWN.route
    return Asked(method.decode(), route, normed_header_dict(list(headers)).get(HEADER))


class Upgrade:
    """One connection from its upgrade on, with the part of `WSConnection` that uvicorn uses."""

    def __init__(self) -> None:
        self._key = b""
        self._frames: Connection | None = None
        self._is_over = False

    @property
    def state(self) -> ConnectionState:
        if self._frames is not None:
            return self._frames.state
        return ConnectionState.CLOSED if self._is_over else ConnectionState.CONNECTING

    def asked(self, method: bytes, target: bytes, headers: Headers, *, http_version: str) -> Request | str:
        """What is asked for, or the code of its refusal (channels/refusals.py), with which this is over.

        Names of headers are in lower case. `http_version` is `1.1`, or there is no upgrade (RFC 6455
        section 4.1).
        """
        asked = self._asked(method, target, headers, http_version)
        self._is_over = isinstance(asked, str)
        return asked

    def _asked(self, method: bytes, target: bytes, headers: Headers, http_version: str) -> Request | str:
        said = normed_header_dict(list(headers))
        version = said.get(b"sec-websocket-version")
        if version != VERSION:
            return "upgrade_required" if version else "malformed_handshake"
        self._key = said.get(b"sec-websocket-key", b"")
        if http_version != HTTP_VERSION or method != b"GET" or b"host" not in said:
            return "malformed_handshake"
        if len(self._key) != KEY_CHARS:
            return "malformed_handshake"
        offered = said.get(b"sec-websocket-protocol", b"")
        try:
            return Request(
                host=said[b"host"].decode("ascii"),
                target=target.decode("ascii"),
                extra_headers=[(name, value) for name, value in headers if name != b"host"],
                subprotocols=[name for name in split_comma_header(offered) if name],
            )
        except UnicodeDecodeError:
            return "malformed_handshake"

    def receive_data(self, data: bytes) -> None:
        """Raises RemoteProtocolError where a client talks before it has been answered."""
        if self._frames is None:
            raise RemoteProtocolError("too early", event_hint=RejectConnection())
        self._frames.receive_data(data)

    def events(self) -> Iterable[Event]:
        """What the bytes received so far mean."""
        return self._frames.events() if self._frames is not None else ()

    def send(self, event: Event) -> bytes:
        """The bytes that say so; none once the handshake has failed."""
        if self._frames is not None:
            return self._frames.send(event)
        if isinstance(event, RejectData):
            return event.data
        if self._is_over:
            return b""
        if isinstance(event, AcceptConnection):
            self._frames = Connection(ConnectionType.SERVER)
            return _head(101, [*self._acceptance(event.subprotocol), *event.extra_headers])
        assert isinstance(event, RejectConnection), "there are two answers to a handshake"
        self._is_over = True
        none = [] if event.has_body else [(b"content-length", b"0")]
        return _head(event.status_code, [*event.headers, *none])

    def _acceptance(self, subprotocol: str | None) -> Headers:
        chosen = [(b"sec-websocket-protocol", subprotocol.encode())] if subprotocol is not None else []
        return [
            (b"upgrade", b"websocket"),
            (b"connection", b"upgrade"),
            (b"sec-websocket-accept", generate_accept_token(self._key)),
            *chosen,
        ]


def _head(status: int, headers: Headers) -> bytes:
    lines = b"".join(b"%b: %b\r\n" % header for header in headers)
    return b"HTTP/1.1 %d %b\r\n%b\r\n" % (status, HTTPStatus(status).phrase.encode(), lines)
