"""The Centrifugal client protocol, JSON, as pure functions: bytes in, commands out; results in, bytes out.

A frame from a client holds one or more commands, one a line. What goes out is finished bytes: `reply`,
`error`, `push`, and `frame`, which makes them a websocket frame that can be written to any number of
transports.

Source: PROTOCOL.md sections 2 to 6 and 10.
"""

from collections.abc import Iterable
from typing import Annotated, Any, Final

import msgspec

from domain.streams import Entry

PING: Final = b"{}"
FRAME_BYTES_MAX: Final = 64 * 1024
CHANNEL_BYTES_MAX: Final = 255
CHANNELS_MAX: Final = 128
HISTORY_MAX: Final = 300

ERRORS: Final = {
    100: ("internal server error", True),
    101: ("unauthorized", False),
    102: ("unknown channel", False),
    103: ("permission denied", False),
    104: ("method not found", False),
    105: ("already subscribed", False),
    106: ("limit exceeded", False),
    107: ("bad request", False),
    108: ("not available", False),
    109: ("token expired", False),
    111: ("too many requests", True),
    112: ("unrecoverable position", False),
}
# A close without a reason makes the JavaScript SDK reconnect for ever, so every code has one.
CLOSES: Final = {
    3000: "connection closed",
    3001: "shutdown",
    3004: "internal server error",
    3008: "slow",
    3010: "insufficient state",
    3012: "no pong",
    3500: "invalid token",
    3501: "bad request",
    3502: "stale",
    3508: "not available",
}
UNSUBSCRIBED: Final = {2000: "server unsubscribe", 2500: "insufficient state"}


class Refused(Exception):
    """A command that is answered with an error."""

    def __init__(self, code: int) -> None:
        super().__init__(ERRORS[code][0])
        self.code = code


class HangUp(Exception):
    """The connection ends with this close code."""

    def __init__(self, code: int) -> None:
        super().__init__(CLOSES[code])
        self.code = code


# The JavaScript SDK counts in doubles, and Postgres in 64 bits: what lies beyond is a mistake.
Offset = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
Int32 = Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)]


class Since(msgspec.Struct):
    """A position in a channel's stream."""

    offset: Offset = 0
    epoch: str = ""


class Subscribe(msgspec.Struct):
    """Follow a channel; with `recover`, from (epoch, offset) on.

    `flag` bit 2: an error 112 instead of not recovered.
    """

    channel: str = ""
    recover: bool = False
    epoch: str = ""
    offset: Offset = 0
    flag: int = 0
    type: int = 0


class Connect(msgspec.Struct):
    """The first command: who, and where the server-side subscriptions stood before."""

    token: str = ""
    subs: dict[str, Subscribe] = {}


class Unsubscribe(msgspec.Struct):
    channel: str = ""


class History(msgspec.Struct):
    """Entries of a channel: `limit` 0 asks for the position only, below 0 for as many as there may be."""

    channel: str = ""
    limit: Int32 = 0
    since: Since | None = None
    reverse: bool = False


class Command(msgspec.Struct):
    """What a client asks; exactly one request is looked at, in this order. `{}` answers a ping."""

    id: Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)] = 0
    connect: Connect | None = None
    ping: dict[str, Any] | None = None
    subscribe: Subscribe | None = None
    unsubscribe: Unsubscribe | None = None
    publish: dict[str, Any] | None = None
    presence: dict[str, Any] | None = None
    presence_stats: dict[str, Any] | None = None
    history: History | None = None
    rpc: dict[str, Any] | None = None
    send: dict[str, Any] | None = None
    refresh: dict[str, Any] | None = None
    sub_refresh: dict[str, Any] | None = None

    def request(self) -> tuple[str, Any] | None:
        """The name and body of what is asked, or None for a pong."""
        for name in _REQUESTS:
            body = getattr(self, name)
            if body is not None:
                return name, body
        return None


_REQUESTS = Command.__struct_fields__[1:]
_decoder = msgspec.json.Decoder(Command)


class Result(msgspec.Struct, omit_defaults=True):
    """What a subscription answers with (PROTOCOL.md section 5, subscribe)."""

    recoverable: bool = False
    positioned: bool = False
    epoch: str = ""
    offset: int = 0
    was_recovering: bool = False
    recovered: bool = False
    publications: list[msgspec.Raw] = []


class ConnectResult(msgspec.Struct):
    """What `connect` answers with; `ping` in seconds."""

    client: str
    version: str
    subs: dict[str, Result]
    ping: int
    pong: bool = True


class HistoryResult(msgspec.Struct):
    publications: list[msgspec.Raw]
    epoch: str
    offset: int


def commands(data: bytes) -> list[Command]:
    """The commands in one frame. Raises HangUp 3501 for anything that is not a list of commands."""
    lines = data.removesuffix(b"\n").split(b"\n")
    try:
        return [_decoder.decode(line) for line in lines]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as malformed:
        raise HangUp(3501) from malformed


def reply(command_id: int, name: str, result: Any = None) -> bytes:
    """The answer to a command; the name stands there even where there is nothing to say."""
    body = msgspec.json.encode(result) if result is not None else b"{}"
    return b'{"id":%d,"%s":%s}' % (command_id, name.encode(), body)


def error(command_id: int, code: int) -> bytes:
    message, temporary = ERRORS[code]
    body: dict[str, Any] = {"code": code, "message": message}
    if temporary:
        body["temporary"] = True
    return reply(command_id, "error", body)


def publication(entry: Entry) -> bytes:
    """An entry as a publication, for a reply; its data is forwarded as it was encoded."""
    return b'{"data":%s,"offset":%d}' % (entry.data.encode(), entry.offset)


def push(channel: str, pub: bytes) -> bytes:
    """A publication on its way to whoever follows the channel.

    Channel names hold nothing that JSON escapes.
    """
    return b'{"push":{"channel":"%s","pub":%s}}' % (channel.encode(), pub)


def publication_of(channel: str, pushed: bytes) -> bytes:
    """The publication inside a push made by `push`."""
    return pushed[len(channel) + 28 : -2]


def push_unsubscribe(channel: str, code: int) -> bytes:
    body = {"push": {"channel": channel, "unsubscribe": {"code": code, "reason": UNSUBSCRIBED[code]}}}
    return msgspec.json.encode(body)


def push_subscribe(channel: str, result: Result) -> bytes:
    """A server-side subscription that begins after connect."""
    return msgspec.json.encode({"push": {"channel": channel, "subscribe": result}})


def frame(payload: bytes) -> bytes:
    """One unmasked text frame as a server sends it (RFC 6455 section 5.2)."""
    size = len(payload)
    if size < 126:
        return b"\x81%c%b" % (size, payload)
    if size < 65536:
        return b"\x81\x7e%b%b" % (size.to_bytes(2, "big"), payload)
    return b"\x81\x7f%b%b" % (size.to_bytes(8, "big"), payload)


def payload(framed: bytes) -> bytes:
    """The payload of a frame made by `frame`."""
    length = framed[1]
    return framed[2 if length < 126 else 4 if length == 126 else 10 :]


def frames(messages: Iterable[bytes]) -> list[tuple[bytes, int]]:
    """The messages in as few frames as hold them, in order, each with the number of messages in it.

    A frame passes FRAME_BYTES_MAX only where a single message does.
    """
    framed: list[tuple[bytes, int]] = []
    batch: list[bytes] = []
    size = 0
    for message in messages:
        if batch and size + len(message) >= FRAME_BYTES_MAX:
            framed.append((frame(b"\n".join(batch)), len(batch)))
            batch, size = [], 0
        batch.append(message)
        size += len(message) + 1
    if batch:
        framed.append((frame(b"\n".join(batch)), len(batch)))
    return framed
