"""A server that stops: each client is told at its own moment, on every transport, and served until then."""

import asyncio
import contextlib
from typing import Any

import httpx
import pytest
import websockets

from app.config import Config
from channels import drain
from channels.under_way import UnderWay
from tests.nodes import KindsGate, node, until
from tests.raw import raw
from tests.streaming import streaming

MANY = 10_000


def test_many_are_spread_over_the_drain_and_few_are_not_kept_waiting() -> None:
    moments = sorted(drain.moment(MANY) for _ in range(MANY))
    assert moments[0] >= 0
    assert moments[-1] <= drain.DRAIN_S
    for tenth in range(10):
        within = [at for at in moments if tenth <= 10 * at / drain.DRAIN_S < tenth + 1]
        assert len(within) < MANY / 5, "no tenth of the time has more than twice its share"
    assert drain.moment(1) <= drain.EACH_S


async def test_a_websocket_is_closed_with_shutdown(config: Config, url: str) -> None:
    async with node(config.redis_url or "", KindsGate()) as served:
        socket = await websockets.connect(f"{served.url.replace('http', 'ws')}/connection/websocket")
    await socket.wait_closed()
    assert (socket.close_code, socket.close_reason) == (3001, "shutdown")


async def test_streams_end_with_a_push_that_says_so(config: Config, url: str) -> None:
    begun = asyncio.Semaphore(0)

    async def listen(client: httpx.AsyncClient, path: str, **query: str) -> str:
        said = ""
        async with client.stream("GET", path, params=query) as answer:
            async for text in answer.aiter_text():
                if text.strip():
                    said += text
                    begun.release()
        return said

    connect = '{"id":1,"connect":{"token":"42"}}'
    async with httpx.AsyncClient(timeout=20) as client:
        async with node(config.redis_url or "", KindsGate()) as served:
            sse = asyncio.create_task(listen(client, f"{served.url}/connection/sse", cf_connect=connect))
            uni = asyncio.create_task(
                listen(client, f"{served.url}/connection/uni_sse", channel="plain:1", token="42")
            )
            for _ in range(2):
                await begun.acquire()
        assert '"disconnect":{"code":3001,"reason":"shutdown","reconnect":true}' in await sse
        assert "event: disconnected" in await uni


async def test_until_its_moment_a_client_is_served(
    config: Config, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drain, "moment", lambda connections: 1.0)
    async with contextlib.AsyncExitStack() as clients:
        async with node(config.redis_url or "", KindsGate()) as served:
            client = await clients.enter_async_context(raw(served.url, token="42"))
            await client.ask(subscribe={"channel": "plain:2"})
            served.server.should_exit = True
            await until(lambda: not served.server.servers[0].is_serving())
            await served.append("plain:2", '"late"')
        assert await client.closed() == 3001
    assert [push["pub"]["data"] for push in client.pushes if "pub" in push] == ["late"]


@pytest.mark.parametrize("transport", ["websocket", "http_stream"])
async def test_what_is_under_way_is_answered_before_its_connection_is_closed_and_no_more_is_begun(
    config: Config, url: str, monkeypatch: pytest.MonkeyPatch, transport: str
) -> None:
    begun, go_on, told = asyncio.Event(), asyncio.Event(), asyncio.Event()
    asked: list[str] = []
    drained = UnderWay.drain

    async def rest(scope: Any, receive: Any, send: Any) -> None:
        asked.append(scope["path"])
        begun.set()
        await go_on.wait()
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    def noted(self: UnderWay) -> None:
        drained(self)
        told.set()

    monkeypatch.setattr(UnderWay, "drain", noted)
    calls = [{"id": number, "rpc": {"method": f"GET /api/{number}"}} for number in (2, 3)]
    async with contextlib.AsyncExitStack() as clients:
        async with node(config.redis_url or "", KindsGate(), rest=rest) as served:
            if transport == "websocket":
                client = await clients.enter_async_context(raw(served.url, token="42"))
                await client.send(*calls)
            else:
                stream = await clients.enter_async_context(streaming(served.url, "42"))
                assert await stream.post(*calls) == 204
            await begun.wait()
            served.server.should_exit = True
            await told.wait()
            go_on.set()
        if transport == "websocket":
            assert (await client.reply(2))["rpc"]["data"]["status"] == 204
            assert await client.closed() == 3001
        else:
            *_, answer, last = await stream.end()
            assert (answer["id"], answer["rpc"]["data"]["status"]) == (2, 204)
            assert last["push"]["disconnect"]["code"] == 3001
    assert asked == ["/api/2"]
