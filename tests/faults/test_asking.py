"""The harness's own client: a connection that is cut is a lost one, whenever that is."""

import asyncio
from typing import Any

import anyio
import httpx
import pytest

from tests.faults.asking import client


async def test_a_socket_that_is_cut_before_its_first_use_is_a_refused_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    connect = anyio.connect_tcp
    ended = asyncio.Event()

    async def and_cut(**where: Any) -> Any:
        stream: Any = await connect(**where)
        stream._transport.abort()
        await ended.wait()
        return stream

    async def until_cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        ended.set()

    served = await asyncio.start_server(until_cut, "127.0.0.1", 0)
    host, port = served.sockets[0].getsockname()
    monkeypatch.setattr(anyio, "connect_tcp", and_cut)
    async with served, client(timeout=60) as http:
        with pytest.raises(httpx.ConnectError, match="cut as soon as"):
            await http.get(f"http://{host}:{port}/")
