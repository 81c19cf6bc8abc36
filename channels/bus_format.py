"""What is said on the bus, and under which names.

`maycole:<channel>` carries `<epoch> <offset>\\n<push>`, with a traceparent behind the offset if it is traced,
or a bare push of what is no entry; `maycole:tops` carries heads as JSON, `maycole:rights` the ids of users
whose rights may have changed; `maycole:node:<node>` what is meant for one process. Some names are not
published to: they stand for all channels of a pattern (EVERY), whoever publishes there.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

import msgspec

from channels import json_format
from domain import channels
from domain.streams import Entry, Head

T = TypeVar("T")

log = logging.getLogger("maycole.bus")

PREFIX: Final = b"maycole:"
TOPS: Final = b"maycole:tops"
RIGHTS: Final = b"maycole:rights"
EVERY: Final = {PREFIX + channels.EVERY_AUDIT.encode(): PREFIX + channels.audit("team_*").encode()}
STANDS_FOR: Final = {pattern: name for name, pattern in EVERY.items()}
OFFSET_DIGITS_MAX: Final = 18


class Listener(msgspec.Struct):
    """Who hears the bus: every publication, other push and announced head, the link going down and up, and
    whose rights may have changed.

    What comes because of a pattern is a push on the channel that stands for it.
    """

    on_publication: Callable[[str, str, int, bytes], None]
    on_push: Callable[[str, bytes], None]
    on_head: Callable[[Head], None]
    on_link: Callable[[bool], None]
    on_rights: Callable[[str], None] = lambda user_id: None


def publishing(name: bytes, body: bytes) -> bytes:
    """The command that publishes it, as Redis reads it (RESP)."""
    return b"*3\r\n$7\r\nPUBLISH\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n" % (len(name), name, len(body), body)


def asked_as(names: Sequence[bytes], plain: bytes, by_pattern: bytes) -> list[tuple[bytes, list[bytes]]]:
    """The commands that these names take: those that stand for a pattern are asked for as that."""
    asked = {
        plain: [name for name in names if name not in EVERY],
        by_pattern: [EVERY[name] for name in names if name in EVERY],
    }
    return [(command, of) for command, of in asked.items() if of]


def decoded(body: bytes, kind: type[list[T]]) -> list[T]:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        # Not one of ours, or from a version to come: it says nothing to us, and the log says everything.
        log.warning("cannot read what is announced: %r", body[:100])
        return []


def announcement(entry: Entry, traced: str | None) -> bytes:
    """An entry, and which trace it belongs to, if any."""
    pushed = json_format.published(entry.channel, json_format.publication(entry))
    epoch = entry.epoch.encode()
    if traced is None:
        return b"%s %d\n%s" % (epoch, entry.offset, pushed)
    return b"%s %d %s\n%s" % (epoch, entry.offset, traced.encode(), pushed)


def publication(body: bytes) -> tuple[str, int, bytes, bytes]:
    """Epoch, offset, the push, and the traceparent (empty for what is not traced)."""
    position, _, pushed = body.partition(b"\n")
    epoch, _, offset = position.partition(b" ")
    traced = b""
    if not offset.isdigit():
        offset, _, traced = offset.partition(b" ")
    if not offset.isdigit() or len(offset) > OFFSET_DIGITS_MAX:
        # As above. An offset that nothing follows on makes the relay look into the log.
        log.warning("cannot read a publication: %r", body[:100])
        return "", 0, b"", b""
    return epoch.decode("ascii", "replace"), int(offset), pushed, traced
