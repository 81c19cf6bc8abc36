"""The client protocol as Protobuf: each message after its length. Dart, swift and java SDKs speak only this.

Fields have the names of channels/protocol.py, so reading and writing go by name; the schema is
channels/client.proto. What arrives over the bus is JSON: its `data` is forwarded as UTF-8 JSON text, so
clients of both formats share a channel.

Source: PROTOCOL.md sections 2 and 16.
"""

from collections.abc import Sequence
from io import BytesIO
from typing import Any, Final

import msgspec
from google.protobuf import proto
from google.protobuf.message import DecodeError
from msgspec import Raw

from channels import client_pb2 as pb
from channels import json_format
from channels.protocol import COMMANDS_MAX, Command, HangUp, Publication

_MESSAGE: Final = 11  # FieldDescriptor.TYPE_MESSAGE
_BYTES: Final = 12  # FieldDescriptor.TYPE_BYTES


_publication = msgspec.json.Decoder(Publication)


def _prefixed(message: pb.Reply) -> bytes:
    stream = BytesIO()
    proto.serialize_length_prefixed(message, stream)
    return stream.getvalue()


PING: Final = _prefixed(pb.Reply())


def commands(data: bytes) -> list[Command]:
    """The commands in one frame. Raises HangUp 3501 for anything that is not a list of commands."""
    found: list[Command] = []
    stream = BytesIO(data)
    try:
        while stream.tell() < len(data):
            if len(found) == COMMANDS_MAX:
                raise HangUp(3501)
            message = proto.parse_length_prefixed(pb.Command, stream)
            found.append(msgspec.convert(_as_dict(message), Command))
    except (DecodeError, ValueError, msgspec.ValidationError) as malformed:
        raise HangUp(3501) from malformed
    if not found:
        raise HangUp(3501)
    return found


def bundle(messages: Sequence[bytes]) -> bytes:
    """Several messages as one; each has its length in front already."""
    return b"".join(messages)


def reply(command_id: int, name: str, result: msgspec.Struct | None = None) -> bytes:
    """The answer to a command; the name stands there even where there is nothing to say."""
    message = pb.Reply(id=command_id)
    _fill(getattr(message, name), result)
    return _prefixed(message)


def push(channel: str, kind: str, body: msgspec.Struct) -> bytes:
    """Something that no command asked for; `channel` is empty for what concerns the whole connection."""
    message = pb.Reply(push=pb.Push(channel=channel))
    _fill(getattr(message.push, kind), body)
    return _prefixed(message)


def forward(channel: str, pushed: bytes) -> bytes:
    """A push as it came over the bus, in this format."""
    said = json_format.pushed_in(pushed)
    kind = next(name for name in ("pub", "join", "leave") if getattr(said, name) is not None)
    return push(channel, kind, getattr(said, kind))


def text(data: bytes) -> Raw:
    """The `data` of a publication to somebody who takes differences: as it is."""
    return Raw(data)


def _as_dict(message: Any) -> dict[str, Any]:
    """The fields that are set; `bytes` become Raw, since they hold JSON."""
    fields: dict[str, Any] = {}
    for field, value in message.ListFields():
        if field.is_repeated and not _is_map(field):
            fields[field.name] = [_as_dict(one) if field.type == _MESSAGE else one for one in value]
        elif field.type == _BYTES:
            fields[field.name] = Raw(value)
        elif field.type != _MESSAGE:
            fields[field.name] = value
        elif _is_map(field):
            fields[field.name] = {
                key: _as_dict(entry) if hasattr(entry, "ListFields") else entry
                for key, entry in value.items()
            }
        else:
            fields[field.name] = _as_dict(value)
    return fields


def _is_map(field: Any) -> bool:
    return field.type == _MESSAGE and bool(field.message_type.GetOptions().map_entry)


def _fill(message: Any, body: msgspec.Struct | None) -> None:
    """Write a Struct into the message of the same fields; an empty one is there all the same."""
    message.SetInParent()
    for name in body.__struct_fields__ if body is not None else ():
        value = getattr(body, name)
        if isinstance(value, Raw):
            setattr(message, name, bytes(value))
        elif isinstance(value, msgspec.Struct):
            _fill(getattr(message, name), value)
        elif isinstance(value, dict):
            for key, entry in value.items():
                _fill(getattr(message, name)[key], entry)
        elif isinstance(value, list):
            for entry in value:
                listed = _publication.decode(entry) if isinstance(entry, Raw) else entry
                _fill(getattr(message, name).add(), listed)
        elif value:
            setattr(message, name, value)
