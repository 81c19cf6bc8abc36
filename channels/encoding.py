"""Encodings: what a follower reads. A format, cut into the frames of its transport, whole or as differences.

Followers with the same encoding get the same bytes, made once (channels/hub.py). A channel that allows it is
also read as differences (`fossil`) between one publication and the next.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

import msgspec
from msgspec import Raw

from channels import fossil, json_format, protobuf_format
from channels.protocol import FRAME_BYTES_MAX, Command, Publication

TEXT: Final = 0x81
BINARY: Final = 0x82


class Format(Protocol):
    """How messages are written down: channels/json_format.py, channels/protobuf_format.py."""

    PING: bytes

    def commands(self, data: bytes) -> list[Command]: ...
    def bundle(self, messages: Sequence[bytes]) -> bytes: ...
    def reply(self, command_id: int, name: str, result: msgspec.Struct | None = None) -> bytes: ...
    def push(self, channel: str, kind: str, body: msgspec.Struct) -> bytes: ...
    def forward(self, channel: str, pushed: bytes) -> bytes: ...
    def text(self, data: bytes) -> Raw: ...


class Encoding:
    """A format in the frames of a transport. `then` is what a follower reads after its first frames.

    With `transport_ping` the transport has pings of its own, and clients are not told to expect ours.
    """

    is_delta = False
    sifts = False

    def __init__(
        self, format_: Format, frame: Callable[[bytes], bytes], *, transport_ping: bytes | None = None
    ) -> None:
        self.format = format_
        self._frame = frame
        self.announces_pings = transport_ping is None
        self.ping = transport_ping or self.frame(format_.PING)
        self.then: Encoding = self

    def frame(self, *messages: bytes) -> bytes:
        """Messages as one finished frame."""
        return self._frame(self.format.bundle(messages))

    def frames(self, channel: str, pushes: Sequence[bytes], before: bytes | None) -> list[tuple[bytes, int]]:
        """Pushes as they come over the bus, in as few frames as hold them, each with how many are in it.

        A frame passes FRAME_BYTES_MAX only where a single message does. `before` is the push before the
        first.
        """
        framed: list[tuple[bytes, int]] = []
        batch: list[bytes] = []
        size = 0
        for message in self._messages(channel, pushes, before):
            if batch and size + len(message) >= FRAME_BYTES_MAX:
                framed.append((self.frame(*batch), len(batch)))
                batch, size = [], 0
            batch.append(message)
            size += len(message) + 1
        if batch:
            framed.append((self.frame(*batch), len(batch)))
        return framed

    def passed(self, channel: str, pushed: bytes) -> bytes:
        """A push that is no entry of the channel's stream, as a frame; nothing where it is not for these."""
        return self.frame(self.format.forward(channel, pushed))

    def publications(self, channel: str, pushes: Sequence[bytes]) -> list[Any]:
        """The publications in these pushes, for the answer to a subscribe."""
        return [Raw(json_format.publication_in(channel, pushed)) for pushed in pushes]

    def at(self, epoch: str) -> "Encoding":
        """The same, for a channel whose stream has this epoch."""
        return self

    def deltas(self, *, begun: bool) -> "Encoding":
        """The same as differences, for a follower that has (`begun`) or has not got a publication before."""
        return _DELTAS[self][begun]

    def _messages(self, channel: str, pushes: Sequence[bytes], before: bytes | None) -> Sequence[bytes]:
        if self.format is json_format:
            return pushes
        return [self.format.forward(channel, pushed) for pushed in pushes]


class Silent(Encoding):
    """For a channel that is heard and not read: pushes are written as nothing."""

    def frames(self, channel: str, pushes: Sequence[bytes], before: bytes | None) -> list[tuple[bytes, int]]:
        """All of them, in a frame of no bytes."""
        return [(b"", len(pushes))]


class Deltas(Encoding):
    """An encoding whose publications are differences; the first is whole for followers that have no other."""

    is_delta = True

    def __init__(self, whole: Encoding, *, then: "Deltas | None") -> None:
        super().__init__(whole.format, whole._frame)
        self._begun = then is None
        self.then = then or self

    def publications(self, channel: str, pushes: Sequence[bytes]) -> list[Any]:
        """The first whole, the others as differences."""
        return self._publications(pushes, None)

    def _messages(self, channel: str, pushes: Sequence[bytes], before: bytes | None) -> Sequence[bytes]:
        publications = self._publications(pushes, before if self._begun else None)
        return [self.format.push(channel, "pub", publication) for publication in publications]

    def _publications(self, pushes: Sequence[bytes], before: bytes | None) -> list[Publication]:
        base = bytes(json_format.publication_of(before).data) if before is not None else None
        made: list[Publication] = []
        for pushed in pushes:
            publication = json_format.publication_of(pushed)
            data = bytes(publication.data)
            delta = fossil.delta(base, data) if base is not None else None
            publication.data = self.format.text(data if delta is None else delta)
            publication.delta = delta is not None
            made.append(publication)
            base = data
        return made


def websocket_frame(payload: bytes, opcode: int = TEXT) -> bytes:
    """One unmasked frame as a server sends it (RFC 6455 section 5.2)."""
    size = len(payload)
    if size < 126:
        return b"%c%c%b" % (opcode, size, payload)
    if size < 65536:
        return b"%c\x7e%b%b" % (opcode, size.to_bytes(2, "big"), payload)
    return b"%c\x7f%b%b" % (opcode, size.to_bytes(8, "big"), payload)


def websocket_payload(framed: bytes) -> bytes:
    """The payload of a frame made by `websocket_frame`."""
    length = framed[1]
    return framed[2 if length < 126 else 4 if length == 126 else 10 :]


WEBSOCKET_JSON: Final = Encoding(json_format, websocket_frame)
WEBSOCKET_PROTOBUF: Final = Encoding(protobuf_format, lambda payload: websocket_frame(payload, BINARY))
# For wscat and the like, which answer a websocket's own pings but know nothing of ours.
WEBSOCKET_JSON_PINGED: Final = Encoding(json_format, websocket_frame, transport_ping=b"\x89\x00")
STREAM_JSON: Final = Encoding(json_format, lambda payload: payload + b"\n")
STREAM_PROTOBUF: Final = Encoding(protobuf_format, lambda payload: payload)
SSE: Final = Encoding(json_format, lambda lines: b"data: %b\n\n" % lines.replace(b"\n", b"\n\ndata: "))

SILENT: Final = Silent(json_format, lambda lines: b"")

_DELTAS: Final[dict[Encoding, dict[bool, Encoding]]] = {
    whole: {True: (begun := Deltas(whole, then=None)), False: Deltas(whole, then=begun)}
    for whole in (
        WEBSOCKET_JSON,
        WEBSOCKET_JSON_PINGED,
        WEBSOCKET_PROTOBUF,
        STREAM_JSON,
        STREAM_PROTOBUF,
        SSE,
    )
}
