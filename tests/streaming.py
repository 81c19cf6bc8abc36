"""A client of the transports that only go down: what comes as a stream, and what goes up by POST."""

import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any
from urllib.parse import quote

import httpx

from channels import client_pb2 as pb
from tests.raw_protobuf import packed, replies

PROTOBUF = "application/octet-stream"


class Stream:
    """One response that does not end. `messages` are those that have come, as JSON."""

    def __init__(self, http: httpx.AsyncClient, response: httpx.Response) -> None:
        self.response = response
        self.messages: list[dict[str, Any]] = []
        self.session = self.node = ""
        self._http = http
        self._lines = response.aiter_lines() if response.headers.get("content-type") != PROTOBUF else None
        self._id = 1

    async def read(self) -> dict[str, Any]:
        """The next message."""
        assert self._lines is not None, "Protobuf has no lines"
        async for line in self._lines:
            text = line.removeprefix("data: ").strip()
            if text:
                self.messages.append(json.loads(text))
                return self.messages[-1]
        raise EOFError("the stream has ended")

    async def until(self, key: str) -> dict[str, Any]:
        """Read up to the first message that says this; what it says."""
        while not any(key in message for message in self.messages):
            await self.read()
        said: dict[str, Any] = next(message[key] for message in self.messages if key in message)
        return said

    async def push(self, kind: str) -> dict[str, Any]:
        """Read up to the first push of this kind."""
        while not (found := [m["push"] for m in self.messages if kind in m.get("push", {})]):
            await self.read()
        return found[0]

    async def end(self) -> list[dict[str, Any]]:
        """Read to the end; everything that came."""
        with contextlib.suppress(EOFError):
            while True:
                await self.read()
        return self.messages

    async def connected(self) -> dict[str, Any]:
        result = await self.until("connect")
        self.session, self.node = result["session"], result["node"]
        return result

    async def post(self, *messages: dict[str, Any], url: str = "", **other: str) -> int:
        """Send up a frame; the status of the answer."""
        frame = "\n".join(json.dumps(message) for message in messages)
        body = {"session": self.session, "node": self.node, "data": frame, **other}
        answer = await self._http.post(f"{url}/emulation", content=json.dumps(body))
        return answer.status_code

    async def ask(self, *, url: str = "", **request: Any) -> dict[str, Any]:
        """Send up one command, and read its reply."""
        self._id += 1
        assert await self.post({"id": self._id, **request}, url=url) == 204
        while not (found := [message for message in self.messages if message.get("id") == self._id]):
            await self.read()
        return found[0]


@contextlib.asynccontextmanager
async def streaming(
    url: str,
    token: str | None,
    *,
    transport: str = "http_stream",
    headers: Mapping[str, str] | None = None,
    more: tuple[dict[str, Any], ...] = (),
) -> AsyncIterator[Stream]:
    """An open stream; connected if there is a token. `more` commands come in the first frame."""
    commands = [{"id": 1, "connect": {"token": token}}, *more]
    frame = "\n".join(json.dumps(command) for command in commands)
    async with httpx.AsyncClient(base_url=url, timeout=15) as http:
        request = (
            http.stream("GET", f"/connection/sse?cf_connect={quote(frame)}", headers=headers)
            if transport == "sse"
            else http.stream("POST", f"/connection/{transport}", content=frame, headers=headers)
        )
        async with request as response:
            stream = Stream(http, response)
            if token is not None and response.status_code == 200:
                await stream.connected()
            yield stream


async def protobuf_messages(response: httpx.Response) -> AsyncIterator[Any]:
    """The replies of a Protobuf stream, as they come."""
    held = b""
    async for part in response.aiter_bytes():
        held += part
        with contextlib.suppress(Exception):
            found, held = replies(held), b""
            for message in found:
                yield message


def protobuf_uplink(session: str, node: str, *commands: Any) -> bytes:
    message: bytes = pb.EmulationRequest(
        session=session, node=node, data=packed(*commands)
    ).SerializeToString()
    return message
