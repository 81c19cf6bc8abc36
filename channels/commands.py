"""What a client may ask, one function a command; one after another on each connection.

A command is answered, refused with an error (Refused), or ends the connection (HangUp). Whatever bytes a
client sends end in one of the three.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from importlib.metadata import version as package_version
from typing import Any, Final

import msgspec

from channels import gate, protocol
from channels.connection import ANSWER_BYTES_MAX, Connection
from channels.protocol import Command, HangUp, Refused, Result, Since
from channels.pulse import PING_EVERY_S
from domain import db, ids, streams
from domain.auth import service as auth
from domain.errors import Unauthenticated

log = logging.getLogger("maycole.commands")

VERSION: Final = f"maycole {package_version('maycole')}"
COMMANDS_AT_ONCE: Final = 32  # then the other connections have their turn
WANTS_ERROR_INSTEAD: Final = 2  # `flag` of subscribe: 112 rather than recovered: false


async def received(connection: Connection, data: bytes) -> None:
    """Carry out one frame. Closes the connection for what breaks the protocol; raises nothing foreseen."""
    connection.busy = True
    try:
        for number, command in enumerate(protocol.commands(data), 1):
            # A client that does not read is not answered either.
            await connection.drained.wait()
            if number % COMMANDS_AT_ONCE == 0:
                await asyncio.sleep(0)
            if connection.gone:
                return
            await _carry_out(connection, command)
    except HangUp as close:
        connection.hang_up(close.code)
    finally:
        connection.busy = False


async def _carry_out(connection: Connection, command: Command) -> None:
    request = command.request()
    if command.id == 0:
        _without_id(connection, request)
        return
    if request is None or (connection.identity is None) != (request[0] == "connect"):
        raise HangUp(3501)
    name, body = request
    try:
        await COMMANDS.get(name, _unavailable)(connection, command.id, body)
    except Refused as refused:
        connection.say(protocol.error(command.id, refused.code))
    except db.UNREACHABLE as error:
        log.warning("cannot carry out %s: %s: %s", name, type(error).__name__, error)
        connection.say(protocol.error(command.id, 100))


def _without_id(connection: Connection, request: tuple[str, Any] | None) -> None:
    if request is None:
        connection.pulse.pong()
    elif request[0] == "send" and connection.identity is not None:
        raise HangUp(3508)
    else:
        raise HangUp(3501)


async def _connect(connection: Connection, command_id: int, body: protocol.Connect) -> None:
    if not body.token:
        raise HangUp(3501)
    connection.pulse.hello()
    try:
        identity = await auth.identify(body.token)
    except Unauthenticated as unknown:
        if unknown.problem == "token_expired":
            raise Refused(109) from unknown
        raise HangUp(3500) from unknown

    def answer(subs: dict[str, Result]) -> bytes:
        result = protocol.ConnectResult(ids.new("client"), VERSION, subs, PING_EVERY_S)
        return protocol.reply(command_id, "connect", result)

    before = {channel: Since(sub.offset, sub.epoch) for channel, sub in body.subs.items() if sub.recover}
    await connection.welcome(identity, before, answer)


async def _subscribe(connection: Connection, command_id: int, body: protocol.Subscribe) -> None:
    if len(body.channel.encode()) > protocol.CHANNEL_BYTES_MAX:
        raise Refused(107)
    if body.type:
        raise Refused(108)
    await connection.subscribe(
        body.channel,
        Since(body.offset, body.epoch) if body.recover else None,
        lambda result: protocol.reply(command_id, "subscribe", result),
        or_refuse=bool(body.flag & WANTS_ERROR_INSTEAD),
    )


async def _unsubscribe(connection: Connection, command_id: int, body: protocol.Unsubscribe) -> None:
    subscription = connection.subscriptions.get(body.channel)
    if subscription is not None and subscription.by_server:
        # What the server joined it may leave; among it is the channel on which rights are taken away.
        raise Refused(103)
    connection.leave(body.channel)
    connection.say(protocol.reply(command_id, "unsubscribe"))


async def _history(connection: Connection, command_id: int, body: protocol.History) -> None:
    gate.may_follow(connection.user_id, await gate.roles_of(connection.user_id), body.channel)
    head = await streams.open_head(body.channel)
    if body.since is not None and body.since.epoch and body.since.epoch != head.epoch:
        raise Refused(112)
    entries: list[streams.Entry] = []
    limit = protocol.HISTORY_MAX if body.limit < 0 else min(body.limit, protocol.HISTORY_MAX)
    # Nothing beyond the head that is answered: who subscribes from there would get it twice.
    since = body.since.offset if body.since is not None else None
    if limit and body.reverse:
        before = head.offset + 1 if since is None else min(since, head.offset + 1)
        entries = await streams.read_back(body.channel, before, limit=limit)
    elif limit:
        entries = await streams.read(body.channel, since or 0, limit=limit, until=head.offset)
    publications = [msgspec.Raw(publication) for publication in _at_most(ANSWER_BYTES_MAX, entries)]
    result = protocol.HistoryResult(publications, head.epoch, head.offset)
    connection.say(protocol.reply(command_id, "history", result))


def _at_most(size: int, entries: Sequence[streams.Entry]) -> Iterator[bytes]:
    """As many publications as fit, but at least one, so that paging always gets on."""
    for number, entry in enumerate(entries):
        publication = protocol.publication(entry)
        size -= len(publication)
        if size < 0 and number:
            return
        yield publication


async def _unavailable(connection: Connection, command_id: int, body: Any) -> None:
    raise Refused(108)


COMMANDS: Final[dict[str, Callable[[Connection, int, Any], Awaitable[None]]]] = {
    "connect": _connect,
    "subscribe": _subscribe,
    "unsubscribe": _unsubscribe,
    "history": _history,
}
