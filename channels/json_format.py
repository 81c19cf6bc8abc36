"""The client protocol as JSON: one message a line, 64-bit numbers as numbers, `data` embedded as it is.

A publication is made here, once, by the process that announces it; every other process and every follower
that reads JSON gets those bytes.

Source: PROTOCOL.md section 2.
"""

from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec import Raw

from channels.protocol import COMMANDS_MAX, Command, HangUp, Info, Publication
from domain.streams import Entry

PING: Final = b"{}"
_decoder = msgspec.json.Decoder(Command)


def commands(data: bytes) -> list[Command]:
    """The commands in one frame. Raises HangUp 3501 for anything that is not a list of commands."""
    lines = data.removesuffix(b"\n").split(b"\n")
    if len(lines) > COMMANDS_MAX:
        raise HangUp(3501)
    try:
        return [_decoder.decode(line) for line in lines]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as malformed:
        raise HangUp(3501) from malformed


def bundle(messages: Sequence[bytes]) -> bytes:
    """Several messages as one text."""
    return b"\n".join(messages)


def reply(command_id: int, name: str, result: msgspec.Struct | None = None) -> bytes:
    """The answer to a command; the name stands there even where there is nothing to say."""
    body = msgspec.json.encode(result) if result is not None else b"{}"
    return b'{"id":%d,"%s":%s}' % (command_id, name.encode(), body)


def push(channel: str, kind: str, body: msgspec.Struct) -> bytes:
    """Something that no command asked for; `channel` is empty for what concerns the whole connection."""
    about = {"channel": channel} if channel else {}
    return msgspec.json.encode({"push": {**about, kind: body}})


def forward(channel: str, pushed: bytes) -> bytes:
    """A push as it came over the bus, in this format."""
    return pushed


def text(data: bytes) -> Raw:
    """The `data` of a publication to somebody who takes differences: a string."""
    return Raw(msgspec.json.encode(data.decode()))


# Publications


class Pushed(msgspec.Struct):
    """What comes over the bus for a channel: one of these."""

    channel: str
    pub: Publication | None = None
    join: Info | None = None
    leave: Info | None = None


class _Push(msgspec.Struct):
    push: Pushed


_pushed = msgspec.json.Decoder(_Push)


def pushed_in(body: bytes) -> Pushed:
    """A push that was made by `published` or `push`. Raises what msgspec raises for anything else."""
    return _pushed.decode(body).push


def is_push(channel: str, body: bytes) -> bool:
    """Whether these bytes are a push on this channel that may be passed on."""
    try:
        said = pushed_in(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return said.channel == channel and (said.pub or said.join or said.leave) is not None


def publication(entry: Entry) -> bytes:
    """An entry as a publication, for a reply; its data is forwarded as it was encoded."""
    return b'{"data":%s,"offset":%d}' % (entry.data.encode(), entry.offset)


def published(channel: str, pub: bytes) -> bytes:
    """A publication on its way to whoever follows the channel.

    Channel names hold nothing that JSON escapes.
    """
    return b'{"push":{"channel":"%s","pub":%s}}' % (channel.encode(), pub)


def publication_in(channel: str, pushed: bytes) -> bytes:
    """The publication, as bytes, inside a push made by `published`."""
    return pushed[len(channel) + 28 : -2]


def retold(channel: str, of: str, said: bytes) -> bytes:
    """What was announced of an entry of another channel (channels/bus.py), as a push on this one.

    It has no offset, since it is no entry here. For what is no announcement it is nothing that can be pushed.
    """
    pub = publication_in(of, said.partition(b"\n")[2])
    return published(channel, pub.rpartition(b',"offset":')[0] + b"}")


def publication_of(pushed: bytes) -> Publication:
    """The publication inside a push made by `published`."""
    publication = pushed_in(pushed).pub
    assert publication is not None, "it was made by published()"
    return publication
