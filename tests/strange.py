"""Strange things that clients send, as strategies; what comes of them is judged in tests/wellbehaved.py.

A dialect is one way to write commands down. Conversations are made of its pieces: commands with odd values,
commands with bytes changed, and bytes that mean nothing. Wires go below: to the frames themselves.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from centrifuge.codecs import _ProtobufCodec, _varint_encode  # type: ignore[import-untyped]
from centrifuge.protocol import client_pb2  # type: ignore[import-untyped]
from google.protobuf.json_format import ParseDict  # type: ignore[import-untyped]
from hypothesis import strategies as st

from tests.bare import BINARY, CLOSE, TEXT, masked

Command = dict[str, Any]
Strategy = st.SearchStrategy
SOME_BYTES_MAX: Final = 300
TOO_MANY_BYTES: Final = 64 * 1024 + 1


@dataclass(frozen=True)
class Dialect:
    """One format of the protocol: how the SDKs write it and read it, and what is odd in it alone."""

    name: str
    subprotocol: str
    opcode: int
    write: Callable[[Sequence[Command]], bytes]
    read: Callable[[bytes], list[Command]]
    oddities: Strategy[bytes] = field(repr=False)


class Conversation(NamedTuple):
    """What one client sends: messages with their opcodes, after a good connect or instead of it."""

    is_connected: bool
    messages: list[tuple[int, bytes]]


class Wire(NamedTuple):
    """Bytes below messages, and the close codes that are said in them and may be said back."""

    data: bytes
    closes: frozenset[int]


def conversations(dialect: Dialect, channels: Sequence[str]) -> Strategy[Conversation]:
    """Up to four messages; `channels` are names that mean something to the client who sends them."""
    command = commands(channels)
    written = st.lists(command, min_size=1, max_size=3).map(dialect.write)
    payload = st.one_of(
        written,
        written.flatmap(mutated),
        dialect.oddities,
        st.binary(max_size=SOME_BYTES_MAX),
        st.integers(TOO_MANY_BYTES - 20, TOO_MANY_BYTES).map(lambda size: b"{" * size),
    )
    other = TEXT if dialect.opcode == BINARY else BINARY
    message = st.tuples(st.sampled_from([dialect.opcode, dialect.opcode, dialect.opcode, other]), payload)
    return st.builds(Conversation, st.booleans(), st.lists(message, min_size=1, max_size=4))


def commands(channels: Sequence[str]) -> Strategy[Command]:
    """A command of the right types with odd values in it, sometimes several requests at once."""
    text = st.sampled_from([*channels, *_ODD_TEXTS]) | st.text(max_size=20)
    small, large = st.sampled_from(_U32), st.sampled_from(_U64)
    signed = st.sampled_from([-(2**31), -300, -1, 0, 1, 300, 301, 2**31 - 1])
    since = _some(offset=large, epoch=text)
    follow = _some(
        channel=text, token=text, recover=st.booleans(), epoch=text, offset=large, delta=text, flag=small,
        positioned=st.booleans(), recoverable=st.booleans(), join_leave=st.booleans(), type=signed,
    )  # fmt: skip
    data = st.sampled_from(["e30=", "", "bnVsbA=="])  # a string to JSON, and base64 of JSON to Protobuf
    of_channel = _some(channel=text)
    publish = _some(channel=text, data=data)
    requests = {
        "connect": _some(token=text, name=text, version=text, subs=st.dictionaries(text, follow, max_size=2)),
        "ping": st.just({}),
        "subscribe": follow,
        "unsubscribe": of_channel,
        "publish": publish,
        "presence": of_channel,
        "presence_stats": of_channel,
        "history": _some(channel=text, limit=signed, since=since, reverse=st.booleans()),
        "rpc": _some(method=st.sampled_from(_METHODS) | text, data=data),
        "send": _some(data=data),
        "refresh": _some(token=text),
        "sub_refresh": _some(channel=text, token=text, type=signed),
    }
    one = st.sampled_from(sorted(requests)).flatmap(lambda name: _some(**{name: requests[name]}))
    several = st.tuples(one, one).map(lambda pair: {**pair[0], **pair[1]})
    return st.tuples(_some(id=small), one | several).map(lambda parts: {**parts[0], **parts[1]})


@st.composite
def mutated(draw: st.DrawFn, data: bytes) -> bytes:
    """The same with a byte changed, a piece doubled, lost or put in, or the end cut off."""
    changed = bytearray(data)
    for _ in range(draw(st.integers(1, 3))):
        begin = draw(st.integers(0, len(changed)))
        end = min(len(changed), begin + draw(st.integers(0, 8)))
        match draw(st.sampled_from(["flip", "double", "lose", "put", "cut"])):
            case "flip":
                changed[begin : begin + 1] = bytes([draw(st.integers(0, 255))])
            case "double":
                changed[begin:begin] = changed[begin:end]
            case "lose":
                del changed[begin:end]
            case "put":
                changed[begin:begin] = draw(st.binary(max_size=8) | st.sampled_from(_PUT))
            case "cut":
                del changed[begin:]
    return bytes(changed)


@st.composite
def wires(draw: st.DrawFn, messages: Strategy[bytes]) -> Wire:
    """Frames with any header, true or false lengths, in fragments or not; and sometimes just bytes."""
    data, closes = b"", set()
    for _ in range(draw(st.integers(0, 5))):
        opcode = draw(st.sampled_from([0, TEXT, TEXT, BINARY, CLOSE, 9, 10]) | st.integers(0, 15))
        payload = draw(messages | st.binary(max_size=SOME_BYTES_MAX))
        if opcode == CLOSE and draw(st.booleans()):
            code = draw(st.sampled_from([999, 1000, 1001, 1005, 1006, 1015, 2999, 3000, 4999, 5000, 65535]))
            payload = code.to_bytes(2, "big") + payload[: draw(st.integers(0, 130))]
        closes |= {int.from_bytes(payload[:2], "big")} if opcode == CLOSE else set()
        reserved = draw(st.sampled_from([0, 0, 0, 0, 0x10, 0x20, 0x40]))
        final = draw(st.sampled_from([0x80, 0x80, 0x80, 0]))
        data += bytes([final | reserved | opcode]) + draw(_rest_of_frame(payload))
    return Wire(data + draw(st.just(b"") | st.binary(max_size=40)), frozenset(closes))


@st.composite
def _rest_of_frame(draw: st.DrawFn, payload: bytes) -> bytes:
    """Length, mask and payload; lengths are now and then longer than need be, or lies."""
    size = len(payload)
    said = draw(
        st.just(size) | st.just(size) | st.sampled_from([0, size + 1, 2**16, 2**31, 2**63 - 1, 2**64 - 1])
    )
    narrowest = 0 if said < 126 else 2 if said < 2**16 else 8
    width = draw(st.just(narrowest) | st.sampled_from([one for one in (2, 8) if one >= narrowest]))
    first = {0: said, 2: 126, 8: 127}[width]
    extended = said.to_bytes(width, "big") if width else b""
    if draw(st.integers(0, 9)) == 0:
        return bytes([first]) + extended + payload
    mask = draw(st.binary(min_size=4, max_size=4))
    return bytes([0x80 | first]) + extended + mask + masked(mask, payload)


def _some(**fields: Strategy[Any]) -> Strategy[Command]:
    """Each field most of the time."""
    return st.fixed_dictionaries({}, optional=fields) | st.fixed_dictionaries(fields)


def _json_written(given: Sequence[Command]) -> bytes:
    return "\n".join(json.dumps(command) for command in given).encode()


def _json_read(payload: bytes) -> list[Command]:
    return [json.loads(line) for line in payload.decode().split("\n")]


def _protobuf_written(given: Sequence[Command]) -> bytes:
    """As the SDK does it, but leaving out what its schema does not know."""
    parsed = (ParseDict(one, client_pb2.Command(), ignore_unknown_fields=True) for one in given)
    packed = [one.SerializeToString() for one in parsed]
    return b"".join(_varint_encode(len(one)) + one for one in packed)


_ODD_TEXTS: Final = (
    "", " ", ":", "inventory:", "inventory:team_1", "nonsense", "#", "$x", "a,b", "fossil", "\x00", "\n",
    "\\", '"', "é", "\U0001f600", "x" * 255, "x" * 256, "é" * 128, "presence:" + "0" * 26, "..",
    "%00", "{}", "null", "eyJhbGciOiJub25lIn0.e30.", "a.b.c", "mrt_x",
)  # fmt: skip
_METHODS: Final = (
    "GET /api/inventory", "GET /api/health", "GET /api/x?limit=1&limit=x", "POST /api/inventory", "GET /",
    "GET /api/../api/docs", "PUT /api/inventory/item_1", "DELETE /api/", "get /api/inventory",
    "GET  /api/teams", "GET /connection/websocket", "POST /emulation", "GET /api/%00",
    "OPTIONS /api/teams", "GET /api/inventory/%ff",
)  # fmt: skip
_U32: Final = (0, 1, 1, 2, 2, 3, 7, 128, 2**31 - 1, 2**31, 2**32 - 1)
_U64: Final = (0, 1, 2, 5, 2**31, 2**53 - 1, 2**53)
_PUT: Final = (
    b"\n",
    b"\n\n",
    b"\x00",
    b"\xff\xfe",
    b"\xed\xa0\x80",
    b"\xc0\x80",
    b"{}",
    b"null",
    b"1e999",
    b"-0",
)
_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from([2**32, 2**53 + 1, 2**63, 2**64, -1, 1.5, "1", "\ud800", 10**400]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
_names = st.sampled_from(
    [
        "id",
        "connect",
        "subscribe",
        "unsubscribe",
        "history",
        "rpc",
        "send",
        "refresh",
        "presence",
        "publish",
        "x",
    ]
)
_fields = st.sampled_from(
    [
        "channel",
        "token",
        "subs",
        "offset",
        "epoch",
        "recover",
        "limit",
        "since",
        "data",
        "method",
        "flag",
        "type",
    ]
)
_wrong_types = st.dictionaries(_names, _values | st.dictionaries(_fields, _values, max_size=4), max_size=3)
_deep = st.tuples(
    st.sampled_from([b"[", b'{"a":', b'{"id":1,"rpc":{"data":[', b'{"connect":']), st.integers(1, 4000)
)
_json_oddities = st.one_of(
    st.lists(_wrong_types, min_size=1, max_size=3).map(_json_written),
    _values.map(lambda value: json.dumps(value).encode()),
    _deep.map(lambda deep: deep[0] * deep[1]),
    _deep.map(lambda deep: b'{"id":1,"rpc":{"method":"x","data":' + b"[" * deep[1] + b"]" * deep[1] + b"}}"),
    st.sampled_from([b"", b"\n", b"{}", b"{}\n{}", b"{}\n\n{}", b"\xef\xbb\xbf{}", b'{"id":1e0,"ping":{}}']),
)


@st.composite
def _protobuf_fields(draw: st.DrawFn) -> bytes:
    """A message of any fields, of any wire type, with its length in front, which may be a lie."""
    body = b""
    for _ in range(draw(st.integers(0, 4))):
        number, kind = draw(st.integers(0, 20)), draw(st.integers(0, 7))
        body += (
            bytes([number << 3 & 0x7F | kind])
            if number < 16
            else bytes([0x80 | number << 3 & 0x7F | kind, 1])
        )
        body += draw(st.binary(max_size=12))
    said = draw(st.just(len(body)) | st.just(len(body)) | st.integers(0, 127))
    return bytes([min(said, 127)]) + body


JSON: Final = Dialect("json", "", TEXT, _json_written, _json_read, _json_oddities)
PROTOBUF: Final = Dialect(
    "protobuf",
    "centrifuge-protobuf",
    BINARY,
    _protobuf_written,
    _ProtobufCodec.decode_replies,
    st.lists(_protobuf_fields(), min_size=1, max_size=3).map(b"".join)
    | st.sampled_from(
        [b"", b"\x00", b"\x00\x00", b"\xff" * 10, b"\x80", b"\xff\xff\xff\xff\x0f", b"\x02\x08\x01"]
    ),
)
# What the server speaks.
DIALECTS: Final = (JSON, PROTOBUF)
