"""The AsyncAPI document: every channel, every message on it, and the protocol around them.

Nothing is listed here that the code knows: kinds of channels come from domain/channels.py, messages from the
subclasses of Event (each says where it is news, and its `news()` says what), commands from
channels/protocol.py; msgspec writes the schemas, from the very types that are encoded. The page that shows it
is app/api/live_page.py.

Source: AsyncAPI 3.0.0. Why this is ours: docs/decisions/0011.
"""

import inspect
from collections.abc import Iterator
from typing import Any, Final, get_args, get_type_hints

import msgspec

from app.api.openapi import Json
from app.api.samples import WHEN, sample
from app.api.schemas import Written, written
from channels import protocol
from channels.filters import TAGS
from domain import channels
from domain.audit_logs.model import RECORDED, AuditLog
from domain.channels import EVERY_AUDIT, KINDS, Kind
from domain.events import Envelope, Event
from domain.teams.policy import LEAST
from domain.versions import NEWEST

URL: Final = "/connection/websocket"
DESCRIPTION: Final = """\
What Maycole says over open connections, and what it can be asked there. The protocol is that of the
Centrifugal client SDKs, over a websocket (JSON or Protobuf), HTTP streaming or server-sent events.

`connection` is the connection itself, with its commands, replies and pushes. The other channels are followed
through it: a command `subscribe` with the channel's name, then a push `pub` for each entry, whose `data` is
the message described here. Whoever uses an SDK sees only those messages.

Operations are the server's: it sends entries, and receives commands."""
# Command -> what it is for, and the type of its result. What is not here is refused to everyone.
COMMANDS: Final[dict[str, tuple[str, type[msgspec.Struct] | None]]] = {
    "connect": ("Say who you are; the first command.", protocol.Connected),
    "subscribe": ("Follow a channel, from now on or from a position.", protocol.Subscribed),
    "unsubscribe": ("Do not follow a channel any more.", None),
    "presence": ("Who follows a channel.", protocol.Present),
    "presence_stats": ("How many follow a channel.", protocol.PresenceStats),
    "history": ("Entries of a channel, and where it stands.", protocol.Position),
    "rpc": ("Run a REST operation over the connection.", protocol.Answer),
    "refresh": ("A new access token, before the old one ends.", protocol.Refreshed),
}
# What comes without being asked for.
PUSHES: Final[dict[str, tuple[str, type[msgspec.Struct]]]] = {
    "pub": ("An entry of a channel: its `data` is one of that channel's messages.", protocol.Publication),
    "join": ("Somebody came to follow a channel that tells who does.", protocol.Info),
    "leave": ("Somebody follows it no more.", protocol.Info),
    "subscribe": ("The server has joined a channel for you.", protocol.Subscribed),
    "unsubscribe": ("You follow a channel no more: see the codes.", protocol.Unsubscribed),
    "disconnect": ("The last word, where the transport has no close frame.", protocol.Disconnected),
}
WHO_COMES: Final = ("join", "leave")
KEPT: Final = {
    "all": "entries of the last seven days can be had again",
    "newest": "only the newest entry counts",
    "nothing": "heard by whoever is there",
}


class Said(msgspec.Struct, frozen=True):
    """A message: on which kinds of channels, what its `data` is, and an example of it."""

    type: str
    kinds: tuple[str, ...]
    summary: str
    data: Any
    example: Any


def document(host: str) -> Json:
    """The whole document; `host` (with its port) is where clients reach the server."""
    said = list(messages())
    schemas, ref = written(_kinds(said))
    heard = {one.type: _entry(one, ref) for one in said if one.kinds}
    asked = dict(_protocol(ref))
    by_kind = {kind: [one.type for one in said if kind in one.kinds] for kind in KINDS}
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "Maycole live", "version": NEWEST, "description": DESCRIPTION},
        "defaultContentType": "application/json",
        "servers": {scheme: _server(scheme, host) for scheme in ("ws", "wss")},
        "channels": {
            "connection": _connection(asked),
            **{name: _channel(kind, by_kind[name]) for name, kind in KINDS.items()},
        },
        "operations": {**_operations(), **_hearing(by_kind)},
        "components": {
            "schemas": schemas,
            "messages": {**asked, **heard},
            "securitySchemes": {
                "accessToken": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "an access token or an API key; it travels as `token` of `connect`",
                }
            },
        },
    }


def messages() -> Iterator[Said]:
    """Every event of the domain, sorted by type, and the audit trail's own entry.

    An event that is news nowhere has no kinds. Raises TypeError where `news()` does not say its type.
    """
    for event in sorted(_events(Event), key=lambda event: event.type):
        one = sample(event)
        kinds = tuple(dict.fromkeys(channels.kind_name(channel) for channel in one.channels()))
        data = get_type_hints(event.news)["return"]
        if kinds and not (isinstance(data, type) and issubclass(data, msgspec.Struct)):
            raise TypeError(f"{event.__name__}.news() returns {data}, of which nothing can be said")
        yield Said(event.type, kinds, _line(event), data, one.news() if kinds else None)
    yield Said(RECORDED, ("audit", EVERY_AUDIT), _line(AuditLog), AuditLog, sample(AuditLog))


def _events(base: type[Event]) -> Iterator[type[Event]]:
    for event in base.__subclasses__():
        if event.__module__.startswith("domain.") and "type" in vars(event):
            yield event
        yield from _events(event)


def who(kind: Kind) -> str:
    """Who may follow a channel of this kind."""
    if kind.owner == "user":
        return "the user"
    if kind.owner == "staff":
        return "the platform's staff"
    if kind.permission is None:
        return "members of the team"
    return f"members with `{kind.permission}` ({LEAST[kind.permission]} and above)"


def _entry(said: Said, ref: Written) -> Json:
    """What a publication's `data` is: an Envelope with its type and its data made definite."""
    data = ref[said.data]
    if said.data is AuditLog:
        actions = sorted(event.type for event in _events(Event) if event.in_the_trail)
        data = {"allOf": [data, {"properties": {"action": {"enum": actions}}}]}
    example = msgspec.structs.replace(sample(Envelope), type=said.type, time=WHEN, data=said.example)
    payload = {
        "allOf": [
            ref[Envelope],
            {"type": "object", "properties": {"type": {"const": said.type}, "data": data}},
        ]
    }
    return _message(said.type, said.summary, payload, msgspec.to_builtins(example))


def _protocol(ref: Written) -> Iterator[tuple[str, Json]]:
    """The messages of the connection itself, by their names in the document."""
    number = {"type": "integer", "minimum": 1, "description": "yours; the reply has the same"}
    for name, (summary, result) in COMMANDS.items():
        asks = _object(id=number, **{name: ref[_asked(name)]})
        yield f"command.{name}", _message(f"command.{name}", summary, asks)
        answers = _object(id=number, **{name: ref[result] if result else {"type": "object"}})
        yield f"reply.{name}", _message(f"reply.{name}", f"What `{name}` is answered with.", answers)
    failed = _object(id=number, error=ref[protocol.Error])
    yield "reply.error", _message("reply.error", "What a command is refused with: see the codes.", failed)
    for name, (summary, body) in PUSHES.items():
        about = {"channel": {"type": "string"}} if name != "disconnect" else {}
        push = _object(push=_object(**about, **{name: ref[body]}))
        yield f"push.{name}", _message(f"push.{name}", summary, push)
    empty = {"type": "object", "maxProperties": 0}
    yield "ping", _message("ping", "Are you there? Sent every `ping` seconds.", empty, {})
    yield "pong", _message("pong", "The answer to a ping, at once.", empty, {})


def _message(name: str, summary: str, payload: Json, example: Any = None) -> Json:
    message = {"name": name, "title": name, "summary": summary, "payload": payload}
    return message if example is None else {**message, "examples": [{"payload": example}]}


def _object(**properties: Json) -> Json:
    return {"type": "object", "required": list(properties), "properties": properties}


def _server(scheme: str, host: str) -> Json:
    return {
        "host": "{host}",
        "protocol": scheme,
        "protocolVersion": "13",
        "description": "as it is" if scheme == "ws" else "behind TLS",
        "variables": {"host": {"default": host}},
        "security": [{"$ref": "#/components/securitySchemes/accessToken"}],
    }


def _connection(asked: Json) -> Json:
    query = {
        "cf_protocol": {"type": "string", "const": "protobuf", "description": "speak Protobuf"},
        "cf_ws_frame_ping_pong": {
            "type": "string",
            "const": "true",
            "description": "ping with websocket frames, which wscat and the like answer by themselves",
        },
    }
    return {
        "address": URL,
        "title": "The connection",
        "description": "Commands, replies and pushes; several may share a frame, one a line.",
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in asked},
        "bindings": {
            "ws": {
                "method": "GET",
                "query": {"type": "object", "properties": query},
                "headers": {
                    "type": "object",
                    "properties": {
                        "Sec-WebSocket-Protocol": {"enum": ["centrifuge-json", "centrifuge-protobuf"]}
                    },
                },
                "bindingVersion": "0.1.0",
            }
        },
        "x-errors": {
            str(code): {"message": message, "temporary": temporary}
            for code, (message, temporary) in protocol.ERRORS.items()
        },
        "x-closes": {
            str(code): {"reason": reason, "reconnect": protocol.comes_back(code)}
            for code, reason in protocol.CLOSES.items()
        },
        "x-unsubscribed": {
            str(code): {"reason": reason, "resubscribe": code >= 2500}
            for code, reason in protocol.UNSUBSCRIBED.items()
        },
    }


def _channel(kind: Kind, types: list[str]) -> Json:
    names = [*types, *(f"push.{name}" for name in WHO_COMES if kind.presence)]
    joined = "the server joins it at connect" if kind.joined_by_server else "you subscribe to it"
    return {
        "address": address(kind),
        "title": kind.name,
        "description": f"For {who(kind)}; {joined}; {KEPT[kind.kept]}.",
        "parameters": {
            f"{owner}Id": {"description": f"the id of the {owner}, `{owner}_…`"} for owner in _owners(kind)
        },
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in names},
        "x-permission": kind.permission,
        "x-joined-by-server": kind.joined_by_server,
        "x-kept": kind.kept,
        "x-filters": sorted(TAGS) if kind.filters else [],
    }


def address(kind: Kind) -> str:
    """The name of a channel of this kind, with `{…}` where an id belongs."""
    return ":".join((kind.name, *(f"{{{owner}Id}}" for owner in _owners(kind))))


def _owners(kind: Kind) -> list[str]:
    """Whose id is in the name: nobody's, of what is the staff's."""
    return [] if kind.owner == "staff" else [kind.owner]


def _operations() -> Json:
    """What the server does on the connection: it receives commands and answers them, and it pushes."""
    channel = {"$ref": "#/channels/connection"}
    made: Json = {
        name: {
            "action": "receive",
            "channel": channel,
            "summary": summary,
            "messages": [_on("connection", f"command.{name}")],
            "reply": {
                "channel": channel,
                "messages": [_on("connection", f"reply.{name}"), _on("connection", "reply.error")],
            },
        }
        for name, (summary, _) in COMMANDS.items()
    }
    pushes = [_on("connection", f"push.{name}") for name in PUSHES]
    made["push"] = {
        "action": "send",
        "channel": channel,
        "summary": "What comes unasked.",
        "messages": pushes,
    }
    made["ping"] = {
        "action": "send",
        "channel": channel,
        "summary": "Are you there?",
        "messages": [_on("connection", "ping")],
        "reply": {"channel": channel, "messages": [_on("connection", "pong")]},
    }
    return made


def _hearing(by_kind: dict[str, list[str]]) -> Json:
    """That the server sends what happens, for each kind on which something does."""
    return {
        f"{kind}.entries": {
            "action": "send",
            "channel": {"$ref": f"#/channels/{kind}"},
            "summary": f"What happens on {kind} channels.",
            "messages": [_on(kind, name) for name in names],
        }
        for kind, names in by_kind.items()
        if names
    }


def _on(channel: str, message: str) -> Json:
    return {"$ref": f"#/channels/{channel}/messages/{message}"}


def _kinds(said: list[Said]) -> list[Any]:
    """Every type that the document speaks of."""
    results = [result for _, result in COMMANDS.values() if result]
    own = [*map(_asked, COMMANDS), *results, *(body for _, body in PUSHES.values()), protocol.Error]
    return [Envelope, *(one.data for one in said if one.kinds), *own]


def _asked(name: str) -> type[msgspec.Struct]:
    """The body of a command: the Struct in `Struct | None`."""
    kind: type[msgspec.Struct] = get_args(get_type_hints(protocol.Command)[name])[0]
    return kind


def _line(kind: type) -> str:
    """The first paragraph of a class's own docstring."""
    own = inspect.cleandoc(vars(kind).get("__doc__") or kind.__name__)
    return " ".join(own.split("\n\n")[0].split())
