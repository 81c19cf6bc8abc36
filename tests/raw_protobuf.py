"""A client that speaks Protobuf by hand, over the schema that the product is made from."""

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from io import BytesIO
from typing import Any

import websockets
from google.protobuf import proto
from websockets.asyncio.client import ClientConnection

from channels import client_pb2 as pb
from tests.raw import closed

SUBPROTOCOL = "centrifuge-protobuf"


def packed(*messages: Any) -> bytes:
    """Messages, each after its length."""
    stream = BytesIO()
    for message in messages:
        proto.serialize_length_prefixed(message, stream)
    return stream.getvalue()


def replies(data: bytes) -> list[Any]:
    """The replies in a frame."""
    stream = BytesIO(data)
    found = []
    while stream.tell() < len(data):
        found.append(proto.parse_length_prefixed(pb.Reply, stream))
    return found


class RawProtobuf:
    """One websocket; commands get ids by themselves. Pushes that come in between are kept in `pushes`."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.pushes: list[Any] = []
        self._id = 0

    async def send(self, *commands: Any) -> None:
        await self.socket.send(packed(*commands))

    async def ask(self, **request: Any) -> Any:
        """Send one command and return its reply."""
        self._id += 1
        await self.send(pb.Command(id=self._id, **request))
        while True:
            for message in await self.frame():
                if message.id == self._id:
                    return message

    async def frame(self) -> list[Any]:
        data = await self.socket.recv()
        assert isinstance(data, bytes), "Protobuf goes in binary frames"
        messages = replies(data)
        self.pushes += [message.push for message in messages if message.HasField("push")]
        return messages

    async def closed(self) -> int:
        return await closed(self.socket, self.frame)


@contextlib.asynccontextmanager
async def raw_protobuf(
    url: str,
    *,
    token: str | None = None,
    query: str = "",
    subprotocols: Sequence[str] | None = (SUBPROTOCOL,),
    headers: Mapping[str, str] | None = None,
) -> AsyncIterator[RawProtobuf]:
    """An open websocket; connected as the token's user if there is one."""
    where = f"{url.replace('http', 'ws', 1)}/connection/websocket{query}"
    offered: Any = list(subprotocols) if subprotocols else None
    async with websockets.connect(where, subprotocols=offered, additional_headers=headers) as socket:
        client = RawProtobuf(socket)
        if token is not None:
            answer = await client.ask(connect=pb.ConnectRequest(token=token))
            assert answer.HasField("connect"), answer
        yield client
