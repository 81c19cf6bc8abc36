"""However many connect, there is room: for requests beside sockets, and for what the server itself needs."""

import asyncio
import resource
from urllib.parse import urlsplit

import httpx
import pytest
import websockets

from channels import live_http, room
from tests.conftest import Served


async def _left(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(20):
        return await reader.read()


async def _connect(url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    where = urlsplit(url)
    return await asyncio.open_connection(where.hostname, where.port)


async def test_one_connection_too_many_is_told_to_come_back(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = len(served.server.server_state.connections)
    monkeypatch.setattr(room, "connections_max", lambda: here)
    reader, writer = await _connect(served.url)
    answer = await _left(reader)
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"retry-after: 1\r\n" in answer
    writer.close()


async def test_sockets_leave_room_for_requests(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "sockets_max", lambda: 0)
    with pytest.raises(websockets.InvalidStatus) as refused:
        await websockets.connect(f"{served.url.replace('http', 'ws')}/connection/websocket")
    assert refused.value.response.status_code == 503
    async with httpx.AsyncClient() as client:
        assert (await client.get(f"{served.url}/api/health/live")).status_code == 200


async def test_who_says_nothing_is_cut_off(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_http, "SILENT_FOR_S", 0.2)
    reader, writer = await _connect(served.url)
    assert await _left(reader) == b""
    writer.close()


async def test_who_never_ends_is_told_so_and_cut_off(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_http, "HEAD_WITHIN_S", 0.2)
    reader, writer = await _connect(served.url)
    writer.write(b"GET /api/version HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
    assert (await _left(reader)).startswith(b"HTTP/1.1 408 ")
    writer.close()


async def test_a_connection_that_says_everything_in_time_is_kept(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_http, "HEAD_WITHIN_S", 0.3)
    monkeypatch.setattr(live_http, "SILENT_FOR_S", 0.3)
    reader, writer = await _connect(served.url)
    for _ in range(3):
        writer.write(b"GET /api/version HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b" 200 " in await reader.readuntil(b"}}")
        await asyncio.sleep(0.2)
    writer.close()


def test_there_is_a_descriptor_for_each_connection() -> None:
    most = room.connections_max()
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] >= most + room.OWN
    assert most // 2 <= room.sockets_max() < most
