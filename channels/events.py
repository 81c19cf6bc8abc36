"""Server-sent events for a plain EventSource: one channel, each entry an event, its position the event's id.

A browser that lost its connection asks again by itself, with the last id that it has seen, and goes on from
there; nothing of any protocol is to be known. `event: subscribed` comes first and tells in `recovered`
whether nothing was missed; `event: disconnected` comes last, with `code` and `reason`.

    GET /connection/uni_sse?channel=inventory:team_…&token=…[&since=<id>]

    id: <epoch>:<offset>
    data: <the entry>
"""

import random
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

import msgspec
from litestar import Request, get
from litestar.types import ASGIApp, Receive, Scope, Send
from msgspec import Raw

from channels import json_format
from channels.budget import NothingLeft, introduced, told, too_many
from channels.connection import Connection
from channels.emulation import LIMITED_BY_COMMAND, as_it_is
from channels.encoding import Encoding
from channels.endpoint import require_allowed
from channels.headers import only
from channels.http_stream import begin_stream, gone, stream_wire
from channels.live import Live
from channels.protocol import Command, HangUp, Refused, Subscribe, Subscribed
from channels.tasks import until_any
from domain import db, measures
from domain.errors import Forbidden, NotFound, Unauthenticated

EPOCHS_KEPT: Final = 1024
NO_EPOCH: Final = "_"  # who comes from where we do not know is told to look again
UNKNOWN_CHANNEL: Final = 102  # channels/protocol.py: ERRORS
TOKEN_EXPIRED: Final = 109
RETRY_MS: Final = (500, 3000)


class EventsFormat:
    """What an EventSource reads: entries with their positions, and a few words besides."""

    PING = b":\n\n"

    def __init__(self, epoch: str) -> None:
        self._epoch = epoch.encode()

    def commands(self, data: bytes) -> list[Command]:
        """It only listens."""
        raise HangUp(3501)

    def bundle(self, messages: Sequence[bytes]) -> bytes:
        return b"".join(messages)

    def reply(self, command_id: int, name: str, result: msgspec.Struct | None = None) -> bytes:
        """There is nothing to answer: whatever it might have asked is refused by `commands`."""
        raise HangUp(3501)

    def push(self, channel: str, kind: str, body: msgspec.Struct) -> bytes:
        return _event({"disconnect": "disconnected"}.get(kind, kind), body)

    def forward(self, channel: str, pushed: bytes) -> bytes:
        said = json_format.pushed_in(pushed)
        if said.pub is not None:
            return self.entry(said.pub.offset, said.pub.data)
        return _event("join", said.join) if said.join is not None else _event("leave", said.leave)

    def entry(self, offset: int, data: Raw) -> bytes:
        return b"id: %b:%d\ndata: %b\n\n" % (self._epoch, offset, bytes(data))

    def text(self, data: bytes) -> Raw:
        return json_format.text(data)


class Events(Encoding):
    """Followers of channels with the same epoch share one; it goes by `at`."""

    def __init__(self, epoch: str) -> None:
        super().__init__(EventsFormat(epoch), lambda events: events)

    def at(self, epoch: str) -> Encoding:
        return _events(epoch)


@lru_cache(EPOCHS_KEPT)
def _events(epoch: str) -> Events:
    return Events(epoch)


class Begun(msgspec.Struct):
    """What `event: subscribed` tells: `recovered` false means: look again."""

    channel: str
    recovering: bool
    recovered: bool


@get("/connection/uni_sse", before_request=as_it_is, opt=LIMITED_BY_COMMAND, include_in_schema=False)
async def connection_uni_sse(request: Request[Any, Any, Any]) -> ASGIApp:
    """One channel, for a plain EventSource.

    401 and 403 end it for good; whatever else happens, it comes back by itself.
    """
    live: Live = request.app.state.live
    query = request.query_params
    token = query.get("token") or _shown(request)
    since = request.headers.get("last-event-id", query.get("since") or "")
    require_allowed(request.scope)
    await _require(live, token, query.get("channel", ""), dict(request.scope))
    return _follow(live, token, _asked(query.get("channel", ""), since))


def _shown(request: Request[Any, Any, Any]) -> str:
    """The token in its head. Raises Malformed."""
    shown = only(request.scope, b"authorization") or b""
    return shown.decode("latin-1").removeprefix("Bearer ")


async def _require(live: Live, token: str, channel: str, via: dict[str, Any]) -> None:
    """It may follow: once the stream has begun there is no saying any more that it may not.

    Raises RateLimited, Unauthenticated, Forbidden, NotFound, and what is in db.UNREACHABLE.
    """
    try:
        claims = await introduced(live.gate, live.budget, token, via)
        taken = await live.budget.take(claims, 1)  # for its subscribe
        if not taken.granted:
            raise too_many("authenticated", taken, via["state"])
        told(taken, via["state"])
        rights = await live.gate.rights(claims)
        if rights is None:
            measures.count("auth_failures", "session_over")
            raise _unknown()
        live.gate.require(rights, channel, via)
    except NothingLeft as over:
        raise too_many("public", over.taken, via["state"]) from over
    except HangUp as over:
        raise _unknown() from over
    except Refused as refused:
        if refused.code == UNKNOWN_CHANNEL:
            raise NotFound.of("channel") from refused
        if refused.code == TOKEN_EXPIRED:
            raise _unknown() from refused
        raise Forbidden("You may not follow this channel.") from refused
    if channel == live.gate.own_channel(claims.sub):
        raise Forbidden("This one is followed over the bidirectional transports only.")  # for news of rights


def _unknown() -> Unauthenticated:
    return Unauthenticated("The token is not good, or not any more.", code="invalid_token")


def _asked(channel: str, since: str) -> Subscribe:
    if not since:
        return Subscribe(channel=channel)
    epoch, _, offset = since.rpartition(":")
    if not epoch or not offset.isascii() or not offset.isdigit() or len(offset) > 15:
        return Subscribe(channel=channel, recover=True, epoch=NO_EPOCH)
    return Subscribe(channel=channel, recover=True, epoch=epoch, offset=int(offset))


def _follow(live: Live, token: str, asked: Subscribe) -> ASGIApp:
    async def respond(scope: Scope, receive: Receive, send: Send) -> None:
        await begin_stream(send, "text/event-stream")
        async with stream_wire(scope, send, _events("")) as wire:
            connection = Connection(wire, _events(""), live, dict(scope), joins=False)
            with live.knowing(connection):
                retry = random.randint(*RETRY_MS)  # noqa: S311 - no secret
                wire.write(b"retry: %d\n\n" % retry)
                try:
                    await connection.welcome(token, {}, lambda results: b"")
                    await connection.subscribe(asked, lambda result: _begun(asked, result), soon=())
                except HangUp as close:
                    connection.hang_up(close.code)
                except Refused as refused:
                    connection.hang_up(3013 if refused.code == 111 else 3507)
                except db.UNREACHABLE:
                    connection.hang_up(3004)
                await until_any(gone(receive), wire.hung_up.wait())

    return respond


def _begun(asked: Subscribe, result: Subscribed) -> bytes:
    events = EventsFormat(result.epoch)
    begun = Begun(asked.channel, result.was_recovering, result.recovered)
    missed = [msgspec.json.decode(entry, type=_Entry) for entry in result.publications]
    first = b"id: %b:%d\n%b" % (result.epoch.encode(), result.offset, _event("subscribed", begun))
    return first + b"".join(events.entry(entry.offset, entry.data) for entry in missed)


class _Entry(msgspec.Struct):
    data: Raw
    offset: int


def _event(name: str, body: msgspec.Struct | None) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), msgspec.json.encode(body))
