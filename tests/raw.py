"""A client that speaks the protocol by hand: for exact answers, and for what no SDK would ever send."""

import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import websockets
from websockets.asyncio.client import ClientConnection


class Raw:
    """One websocket; commands get ids by themselves. Pushes that come in between are kept in `pushes`."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.pushes: list[dict[str, Any]] = []
        self.in_order: list[dict[str, Any]] = []
        self._id = 0

    async def send(self, *messages: dict[str, Any] | str | bytes) -> None:
        """One frame, as it is or with the messages one a line."""
        first = messages[0]
        if isinstance(first, dict):
            await self.socket.send("\n".join(json.dumps(message) for message in messages))
        else:
            await self.socket.send(first)

    async def ask(self, **request: Any) -> dict[str, Any]:
        """Send one command and return its reply."""
        self._id += 1
        await self.send({"id": self._id, **request})
        return await self.reply(self._id)

    async def reply(self, command_id: int) -> dict[str, Any]:
        while True:
            for message in await self.frame():
                if message.get("id") == command_id:
                    return message

    async def frame(self) -> list[dict[str, Any]]:
        """The messages of the next frame."""
        text = await self.socket.recv()
        messages = [json.loads(line) for line in str(text).split("\n")]
        self.in_order += messages
        self.pushes += [message["push"] for message in messages if "push" in message]
        return messages

    async def closed(self) -> int:
        """Read on until the server closes; the code."""
        return await closed(self.socket, self.frame)


async def closed(socket: ClientConnection, read: Callable[[], Awaitable[Any]]) -> int:
    """Read on until the server closes; the code."""
    with contextlib.suppress(websockets.ConnectionClosed):
        while True:
            await read()
    code = socket.close_code
    assert code is not None
    return code


@contextlib.asynccontextmanager
async def raw(
    url: str,
    *,
    token: str | None = None,
    origin: str | None = None,
    agent: str | None = None,
    request_id: str | None = None,
    query: str = "",
) -> AsyncIterator[Raw]:
    """An open websocket; connected as the token's user if there is one. `agent` is its user agent."""
    where = f"{url.replace('http', 'ws', 1)}/connection/websocket{query}"
    given = {"Origin": origin, "X-Request-Id": request_id}
    headers = {name: value for name, value in given.items() if value is not None}
    async with websockets.connect(where, additional_headers=headers, user_agent_header=agent) as socket:
        client = Raw(socket)
        if token is not None:
            answer = await client.ask(connect={"token": token})
            assert "connect" in answer, answer
        yield client
