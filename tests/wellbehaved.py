"""What becomes of strange clients, and of those beside them.

Promise  any byte sequence that a client sends ends in a right answer or in a right close code, and the next
         one's client notices nothing.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any, Final

from channels.protocol import CLOSES, ERRORS
from tests.bare import CLOSE, PING, PONG, Close, Frame, bare, closed_with
from tests.factories import Api, Person, item
from tests.raw import Raw, raw
from tests.strange import Conversation, Dialect, Wire

WITHIN_S: Final = 15
# What strange bytes may not be answered with: those are our own faults, and our clients' network's.
OUR_FAULTS: Final = {3000, 3001, 3004, 3008, 3010, 3012}
WEBSOCKET_CLOSES: Final = {1002, 1007, 1009}  # broken frames, broken UTF-8, more than FRAME_BYTES_MAX
PROBE_ID: Final = 4_000_000_001


async def converse(url: str, token: str, dialect: Dialect, conversation: Conversation) -> None:
    """Say all of it, then ask something harmless. Raises AssertionError unless that is answered, or refused
    with a right close code.
    """
    probe = dialect.write([{"id": PROBE_ID, "unsubscribe": {"channel": "nobody"}}])
    async with bare(url, subprotocol=dialect.subprotocol) as socket:
        if conversation.is_connected:
            await socket.message(dialect.opcode, dialect.write([{"id": 1, "connect": {"token": token}}]))
        for opcode, payload in [*conversation.messages, (dialect.opcode, probe)]:
            await socket.message(opcode, payload)
        while (frame := await socket.frame()) is not None and frame.opcode != CLOSE:
            if _answers_probe(dialect, frame):
                return
        close = closed_with(frame)
        assert close.code in CLOSES.keys() - OUR_FAULTS | WEBSOCKET_CLOSES, close
        assert close.reason == CLOSES.get(close.code, close.reason), close


def _answers_probe(dialect: Dialect, frame: Frame) -> bool:
    """Whether the answer is among these messages, each of which must be a right one."""
    if frame.opcode in (PING, PONG):
        return False
    assert frame.opcode == dialect.opcode, frame
    messages = dialect.read(frame.payload)
    for message in messages:
        _must_be_right(message)
    return any(message.get("id") == PROBE_ID for message in messages)


def _must_be_right(message: dict[str, Any]) -> None:
    if not message or set(message) == {"push"}:
        return
    assert message.get("id", 0) > 0, message
    assert len(message) == 2, message
    error = message.get("error")
    if error is not None:
        assert error["code"] in ERRORS.keys() - {100}, message
        assert error["message"] == ERRORS[error["code"]][0], message


async def wired(url: str, dialect: Dialect, wires: list[Wire]) -> None:
    """Send each over a connection of its own, all at once, and end it on our side.

    Raises AssertionError unless the server ends each, with a right close code or with one that it was told.
    """
    await asyncio.gather(*(_wired(url, dialect, wire) for wire in wires))


async def _wired(url: str, dialect: Dialect, wire: Wire) -> None:
    async with bare(url, subprotocol=dialect.subprotocol) as socket:
        await socket.raw(wire.data)
        socket.finish()
        while (frame := await socket.frame()) is not None and frame.opcode != CLOSE:
            pass
        close: Close = closed_with(frame)
        right = CLOSES.keys() - OUR_FAULTS | WEBSOCKET_CLOSES | wire.closes | {None}
        assert close.code in right, close


class Bystander:
    """A client that does nothing wrong, and must be served all the while."""

    def __init__(self, ann: Person, item_id: str, screen: Raw) -> None:
        self._ann = ann
        self._item_id = item_id
        self._screen = screen
        self._heard = 0

    async def still_served(self) -> None:
        """A change is made, and heard at the next offset."""
        body = {"delta": 1, "reason": "delivered"}
        answer = await self._ann.post(f"/inventory/{self._item_id}/adjust", body)
        assert answer.status_code == 200, answer.text
        channel = f"inventory:{self._ann.personal_team_id}"
        async with asyncio.timeout(WITHIN_S):
            while len(heard := self._heard_on(channel)) <= self._heard:
                if {} in await self._screen.frame():
                    await self._screen.send("{}")
        self._heard += 1
        assert heard == list(range(2, self._heard + 2))

    def _heard_on(self, channel: str) -> list[int]:
        return [push["pub"]["offset"] for push in self._screen.pushes if push["channel"] == channel]


@contextlib.asynccontextmanager
async def bystander(url: str, api: Api) -> AsyncIterator[Bystander]:
    """One who follows their own stock."""
    ann = await api.person("Ann")
    beans = await item(ann)
    async with raw(url, token=ann.token) as screen:
        answer = await screen.ask(subscribe={"channel": f"inventory:{ann.personal_team_id}"})
        assert "subscribe" in answer, answer
        yield Bystander(ann, beans["id"], screen)
