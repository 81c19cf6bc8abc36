"""What a client may ask, one function a command; one after another on each connection.

A command is answered, refused with an error (Refused), or ends the connection (HangUp). Whatever bytes a
client sends end in one of the three.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from importlib.metadata import version as package_version
from typing import Any, Final

from msgspec import Raw, Struct

from channels import json_format, protocol, rpc
from channels.bus import GONE
from channels.connection import Connection
from channels.protocol import ANSWER_BYTES_MAX, Command, Error, HangUp, Refused, Since
from channels.pulse import PING_EVERY_S
from domain import db, streams

log = logging.getLogger("maycole.commands")

VERSION: Final = f"maycole {package_version('maycole')}"
COMMANDS_AT_ONCE: Final = 32  # then the other connections have their turn


async def received(connection: Connection, data: bytes) -> None:
    """Carry out one frame. Closes the connection for what breaks the protocol; raises nothing foreseen."""
    connection.under_way.busy = True
    connection.standing.ask_again()
    connection.standing.allowance.begin()
    try:
        commands = connection.encoding.format.commands(data)
        for number, command in enumerate(commands, 1):
            # A client that does not read is not answered either.
            await connection.pace.drained.wait()
            if number % COMMANDS_AT_ONCE == 0:
                await asyncio.sleep(0)
            if connection.gone:
                return
            with connection.under_way.command():
                await _carry_out(connection, command, commands[number:])
    except HangUp as close:
        connection.hang_up(close.code)
    finally:
        connection.under_way.busy = False


class Asked(Struct):
    """One command: its request, what comes after it in the same frame, and how it is answered."""

    connection: Connection
    id: int
    name: str
    body: Any
    rest: Sequence[Command]

    def reply(self, result: Struct | None = None) -> bytes:
        return self.connection.encoding.format.reply(self.id, self.name, result)

    def answer(self, result: Struct | None = None) -> None:
        self.connection.say(self.reply(result))

    def refuse(self, code: int) -> None:
        error = Error.of(code)
        self.connection.say(self.connection.encoding.format.reply(self.id, "error", error))


async def _carry_out(connection: Connection, command: Command, rest: Sequence[Command]) -> None:
    request = command.request()
    if command.id == 0:
        _without_id(connection, request)
        return
    if request is None or (connection.standing.rights is None) != (request[0] == "connect"):
        raise HangUp(3501)
    asked = Asked(connection, command.id, *request, rest)
    standing = connection.standing
    try:
        if standing.is_expired and asked.name not in ("refresh", "unsubscribe"):
            await standing.pay()
            raise Refused(109)
        if standing.claims is not None:
            await standing.allowance.spend(standing.claims, asked.name, rest)
        await COMMANDS.get(asked.name, _unavailable)(connection, asked)
    except Refused as refused:
        asked.refuse(refused.code)
    except (*db.UNREACHABLE, *GONE) as error:
        log.warning("cannot carry out %s: %s: %s", asked.name, type(error).__name__, error)
        asked.refuse(100)


def _without_id(connection: Connection, request: tuple[str, Any] | None) -> None:
    if request is None:
        connection.pulse.pong()
    elif request[0] == "send" and connection.standing.rights is not None:
        raise HangUp(3508)
    else:
        raise HangUp(3501)


async def _connect(connection: Connection, asked: Asked) -> None:
    body: protocol.Connect = asked.body
    connection.pulse.hello()

    def answer(subs: dict[str, protocol.Subscribed]) -> bytes:
        lasts = connection.standing.lasts_s
        pings = connection.encoding.announces_pings
        uplink = connection.uplink
        return asked.reply(
            protocol.Connected(
                connection.id,
                VERSION,
                subs,
                ping=PING_EVERY_S if pings else 0,
                pong=pings,
                expires=lasts is not None,
                ttl=lasts or 0,
                session=uplink.session if uplink else "",
                node=uplink.node if uplink else "",
            )
        )

    before = {channel: Since(sub.offset, sub.epoch) for channel, sub in body.subs.items() if sub.recover}
    await connection.welcome(body.token, before, answer)


async def _refresh(connection: Connection, asked: Asked) -> None:
    await connection.refresh(asked.body.token)
    lasts = connection.standing.lasts_s
    asked.answer(protocol.Refreshed(connection.id, VERSION, lasts is not None, lasts or 0))


async def _subscribe(connection: Connection, asked: Asked) -> None:
    body: protocol.Subscribe = asked.body
    if len(body.channel.encode()) > protocol.CHANNEL_BYTES_MAX:
        raise Refused(107)
    if body.delta not in ("", "fossil"):
        raise HangUp(3501)
    if body.type:
        raise Refused(108)
    rest = asked.rest[: protocol.CHANNELS_MAX]
    soon = {command.subscribe.channel for command in rest if command.subscribe is not None}
    await connection.subscribe(body, asked.reply, soon=soon)


async def _unsubscribe(connection: Connection, asked: Asked) -> None:
    subscription = connection.subscriptions.get(asked.body.channel)
    if subscription is None or subscription.by_server:
        await connection.standing.pay()  # there is nothing to leave
    if subscription is not None and subscription.by_server:
        # What the server joined it may leave; among it is the channel on which rights are taken away.
        raise Refused(103)
    connection.leave(asked.body.channel)
    asked.answer()


async def _publish(connection: Connection, asked: Asked) -> None:
    body: protocol.Publish = asked.body
    await connection.may_see(body.channel)
    standing = connection.standing
    assert standing.rights is not None, "may_see asked for them"
    await connection.live.gate.publish(standing.rights, body.channel, body.data, standing.info(connection.id))
    asked.answer()


async def _presence(connection: Connection, asked: Asked) -> None:
    reply = asked.reply(protocol.Present(await _present(connection, asked.body.channel)))
    if len(reply) > ANSWER_BYTES_MAX:
        raise Refused(106)
    connection.say(reply)


async def _present(connection: Connection, channel: str) -> dict[str, protocol.ClientInfo]:
    if not (await connection.may_see(channel)).presence:
        raise Refused(108)
    return await connection.live.relay.presence.of(channel)


async def _presence_stats(connection: Connection, asked: Asked) -> None:
    here = await _present(connection, asked.body.channel)
    users = {info.user for info in here.values()}
    asked.answer(protocol.PresenceStats(num_clients=len(here), num_users=len(users)))


async def _history(connection: Connection, asked: Asked) -> None:
    body: protocol.History = asked.body
    kind = await connection.may_see(body.channel)
    if kind.kept == "nothing":
        raise Refused(108)
    head = await streams.open_head(body.channel)
    if body.since is not None and body.since.epoch and body.since.epoch != head.epoch:
        raise Refused(112)
    entries: list[streams.Entry] = []
    limit = protocol.HISTORY_MAX if body.limit < 0 else min(body.limit, protocol.HISTORY_MAX)
    # Nothing beyond the head that is answered: who subscribes from there would get it twice.
    since = body.since.offset if body.since is not None else None
    oldest = head.offset - kind.size + 1 if kind.size is not None else 1
    if limit and body.reverse:
        before = head.offset + 1 if since is None else min(since, head.offset + 1)
        entries = await streams.read_back(body.channel, before, limit=limit)
    elif limit:
        after = max(since or 0, oldest - 1)
        entries = await streams.read(body.channel, after, limit=limit, until=head.offset)
    kept = [entry for entry in entries if entry.offset >= oldest]
    publications = [Raw(publication) for publication in _at_most(ANSWER_BYTES_MAX, kept)]
    asked.answer(protocol.Position(publications, head.epoch, head.offset))


def _at_most(size: int, entries: Sequence[streams.Entry]) -> Iterator[bytes]:
    """As many publications as fit, but at least one, so that paging always gets on."""
    for number, entry in enumerate(entries):
        publication = json_format.publication(entry)
        size -= len(publication)
        if size < 0 and number:
            return
        yield publication


async def _rpc(connection: Connection, asked: Asked) -> None:
    body: protocol.Rpc = asked.body
    standing = connection.standing
    assert standing.claims is not None, "asked only of a client that said who it is"
    answer = await rpc.call(
        connection.live.rest,
        connection.via,
        standing.claims,
        body.method,
        body.data,
        under_way=connection.under_way,
        pay=standing.pay,
    )
    asked.answer(protocol.Answer(answer))


async def _unavailable(connection: Connection, asked: Asked) -> None:
    raise Refused(108)


COMMANDS: Final[dict[str, Callable[[Connection, Asked], Awaitable[None]]]] = {
    "connect": _connect,
    "refresh": _refresh,
    "subscribe": _subscribe,
    "unsubscribe": _unsubscribe,
    "publish": _publish,
    "presence": _presence,
    "presence_stats": _presence_stats,
    "history": _history,
    "rpc": _rpc,
}
