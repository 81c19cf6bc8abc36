"""The profile that the official Python SDK's own tests expect: open channels, a known secret, port 8000.

A gate of its own, which production cannot reach: there `create_app()` makes the gate. Everything else is the
product: its log, hub, presence, formats and transports.

    channels without a colon   presence, join and leave, 100 entries, differences; for who has a token for it
    smallhistory:              the same, 2 entries
    #<user>                    the user's own, joined by the server at connect

python -m tests.conformance.profile    serves until it is stopped, set up by the variables of `maycole serve`
"""

import warnings
from collections.abc import Collection
from typing import Any, Final

import jwt
import msgspec
from jwt.warnings import InsecureKeyLengthWarning
from msgspec import Raw

from app import config as configuration
from app.config import NEEDED
from app.main import create_app
from app.server import Server, address, listening
from channels.gate import Gate, Rights
from channels.protocol import ClientInfo, HangUp, Refused
from domain import db, ids, streams
from domain.auth.credentials import Identity
from domain.auth.tokens import Claims
from domain.channels import Kind
from domain.streams import Draft
from tests.generous import GENEROUS

SECRET: Final = "secret"
OPEN: Final = Kind("open", owner="anyone", size=100, presence=True, delta=True)
SMALL: Final = Kind("smallhistory", owner="anyone", size=2, presence=True, delta=True)
UNKNOWN: Final = Kind("unknown", owner="nobody")


class OpenGate(Gate):
    """Whoever has a token may come in; whoever has one for a channel may follow it, and publish there."""

    async def claims(self, token: str, via: Any) -> Claims:
        if not token:
            raise HangUp(3501)
        said = _verified(token)
        if said is None or "channel" in said:
            raise HangUp(3500)
        return Claims(str(said.get("sub", "")), "", int(said.get("exp", 0)))

    async def rights(self, claims: Claims) -> Rights | None:
        return Rights(Identity(claims.sub, claims.sid, "", is_staff=False, name=claims.sub), {})

    async def rights_of(self, known: Collection[Claims]) -> dict[Claims, Rights]:
        return {
            claims: Rights(Identity(claims.sub, claims.sid, "", is_staff=False, name=claims.sub), {})
            for claims in known
        }

    def kind_of(self, channel: str) -> Kind:
        namespace, colon, _ = channel.partition(":")
        return OPEN if not colon else SMALL if namespace == "smallhistory" else UNKNOWN

    def own_channel(self, user_id: str) -> str:
        return f"#{user_id}"

    def may_follow(self, rights: Rights, channel: str, token: str | None = None) -> None:
        if self.kind_of(channel) is UNKNOWN or not channel.isascii() or '"' in channel or "\\" in channel:
            raise Refused(102)
        if channel.startswith("#"):
            if channel != self.own_channel(rights.identity.user_id):
                raise Refused(103)
        elif token is not None:
            said = _verified(token)
            if said is None:
                raise Refused(103)
            if (said.get("sub"), said.get("channel")) != (rights.identity.user_id, channel):
                raise HangUp(3500)

    def joined_by_server(self, rights: Rights) -> list[str]:
        return [self.own_channel(rights.identity.user_id)]

    async def publish(self, rights: Rights, channel: str, data: Raw, by: ClientInfo) -> None:
        self.may_follow(rights, channel)
        text = _json_line(data)
        async with db.transaction() as unit:
            entries = await streams.append(
                unit.connection, [Draft(channel, ids.new("evt"), "published", text)]
            )
        streams.announce(entries)


def _json_line(data: Raw) -> str:
    """The data, byte by byte, as an entry holds it. Raises Refused for what is no JSON in one line."""
    try:
        msgspec.json.decode(bytes(data))
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise Refused(107) from None
    if b"\n" in bytes(data):
        raise Refused(107)
    return bytes(data).decode()


def _verified(token: str) -> dict[str, Any] | None:
    try:
        said: dict[str, Any] = jwt.decode(token, SECRET, algorithms=["HS256"])
    except jwt.InvalidTokenError:
        return None
    return said


def main() -> None:
    """Serve until stopped."""
    warnings.filterwarnings("ignore", category=InsecureKeyLengthWarning)  # the suite's secret is what it is
    config = configuration.read(need=NEEDED)
    with listening(config.host, config.port) as listener:
        print(f"listening on {address(listener)}", flush=True)
        Server(create_app(config, gate=OpenGate(), limits=GENEROUS)).run(sockets=[listener])


if __name__ == "__main__":
    main()
