"""The Centrifugal client protocol: what is said, apart from how it is written down.

Commands and their results as Structs, the codes, the limits. channels/json_format.py and
channels/protobuf_format.py read and write them; field names here are the protocol's own.

Source: PROTOCOL.md sections 2 to 6 and 10.
"""

from typing import Annotated, Any, Final

import msgspec
from msgspec import Raw

FRAME_BYTES_MAX: Final = 64 * 1024
COMMANDS_MAX: Final = 4096  # in one frame; a pong in Protobuf is a single byte
CHANNEL_BYTES_MAX: Final = 255
CHANNELS_MAX: Final = 128
HISTORY_MAX: Final = 300
ANSWER_BYTES_MAX: Final = 512 * 1024

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
    3005: "connection expired",
    3008: "slow",
    3010: "insufficient state",
    3012: "no pong",
    3013: "too many requests",
    3500: "invalid token",
    3501: "bad request",
    3502: "stale",
    3504: "connection limit",
    3507: "permission denied",
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


def comes_back(code: int) -> bool:
    """Whether clients reconnect after this close code."""
    return not (3500 <= code < 4000 or 4500 <= code < 5000)


# What clients say

# The JavaScript SDK counts in doubles, and Postgres in 64 bits: what lies beyond is a mistake.
Offset = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
Int32 = Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)]


class Since(msgspec.Struct):
    """A position in a channel's stream."""

    offset: Offset = 0
    epoch: str = ""


class Subscribe(msgspec.Struct):
    """Follow a channel; with `recover`, from (epoch, offset) on.

    `flag` bit 2: an error 112 instead of not recovered. `delta` "fossil": differences where the channel
    allows it. `tf` is a filter, see channels/filters.py.
    """

    channel: str = ""
    token: str = ""
    recover: bool = False
    epoch: str = ""
    offset: Offset = 0
    delta: str = ""
    tf: dict[str, Any] | None = None
    flag: int = 0
    type: int = 0

    @property
    def wants_error_instead(self) -> bool:
        """Whether 112 is wanted rather than `recovered` false."""
        return bool(self.flag & 2)


class Connect(msgspec.Struct):
    """The first command: who, and where the server-side subscriptions stood before."""

    token: str = ""
    subs: dict[str, Subscribe] = {}


class Channel(msgspec.Struct):
    """What unsubscribe, presence and presence_stats ask with."""

    channel: str = ""


class Publish(msgspec.Struct):
    channel: str = ""
    data: Raw = Raw(b"")


class History(msgspec.Struct):
    """Entries of a channel: `limit` 0 asks for the position only, below 0 for as many as there may be."""

    channel: str = ""
    limit: Int32 = 0
    since: Since | None = None
    reverse: bool = False


class Rpc(msgspec.Struct):
    """`method` is a route, such as "PUT /api/inventory/item_…"; `data` see channels/rpc.py."""

    method: str = ""
    data: Raw = Raw(b"")


class Refresh(msgspec.Struct):
    token: str = ""


class SubRefresh(msgspec.Struct):
    channel: str = ""
    token: str = ""
    type: int = 0


class Command(msgspec.Struct):
    """What a client asks; exactly one request is looked at, in this order. `{}` answers a ping."""

    id: Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)] = 0
    connect: Connect | None = None
    ping: dict[str, Any] | None = None
    subscribe: Subscribe | None = None
    unsubscribe: Channel | None = None
    publish: Publish | None = None
    presence: Channel | None = None
    presence_stats: Channel | None = None
    history: History | None = None
    rpc: Rpc | None = None
    send: dict[str, Any] | None = None
    refresh: Refresh | None = None
    sub_refresh: SubRefresh | None = None

    def request(self) -> tuple[str, Any] | None:
        """The name and body of what is asked, or None for a pong."""
        for name in _REQUESTS:
            body = getattr(self, name)
            if body is not None:
                return name, body
        return None


_REQUESTS = Command.__struct_fields__[1:]


# What the server says


class ClientInfo(msgspec.Struct, omit_defaults=True):
    """Somebody on a channel; `conn_info` is JSON."""

    user: str
    client: str
    conn_info: Raw = Raw(b"")


class Publication(msgspec.Struct, omit_defaults=True):
    """One entry of a channel. `data` is JSON, or with `delta` the difference to the one before it."""

    data: Raw
    offset: int = 0
    delta: bool = False


class Subscribed(msgspec.Struct, omit_defaults=True):
    """What a subscribe is answered with; `publications` are JSON texts of Publication."""

    recoverable: bool = False
    positioned: bool = False
    epoch: str = ""
    offset: int = 0
    was_recovering: bool = False
    recovered: bool = False
    delta: bool = False
    publications: list[Raw] = []


class Connected(msgspec.Struct, omit_defaults=True):
    """What `connect` answers with; `ping` and `ttl` in seconds.

    `session` and `node` are for transports whose commands come by POST /emulation.
    """

    client: str
    version: str
    subs: dict[str, Subscribed]
    ping: int = 0
    pong: bool = False
    expires: bool = False
    ttl: int = 0
    session: str = ""
    node: str = ""


class Uplink(msgspec.Struct, frozen=True):
    """Where the commands of a client come in whose transport only goes down."""

    session: str
    node: str


class Position(msgspec.Struct):
    """What a history is answered with."""

    publications: list[Raw]
    epoch: str
    offset: int


class Present(msgspec.Struct):
    presence: dict[str, ClientInfo]


class PresenceStats(msgspec.Struct):
    num_clients: int
    num_users: int


class Answer(msgspec.Struct):
    """What an rpc is answered with."""

    data: Raw


class Refreshed(msgspec.Struct, omit_defaults=True):
    client: str
    version: str
    expires: bool = False
    ttl: int = 0


class Error(msgspec.Struct, omit_defaults=True):
    code: int
    message: str
    temporary: bool = False

    @classmethod
    def of(cls, code: int) -> "Error":
        return cls(code, *ERRORS[code])


class Info(msgspec.Struct):
    """Who came (`join`) or went (`leave`)."""

    info: ClientInfo


class Unsubscribed(msgspec.Struct):
    code: int
    reason: str

    @classmethod
    def of(cls, code: int) -> "Unsubscribed":
        return cls(code, UNSUBSCRIBED[code])


class Disconnected(msgspec.Struct):
    """The last push on transports that have no close frame."""

    code: int
    reason: str
    reconnect: bool

    @classmethod
    def of(cls, code: int) -> "Disconnected":
        return cls(code, CLOSES[code], comes_back(code))
