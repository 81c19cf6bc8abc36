"""What was shown and was not good is counted once, by what was wrong with it, whichever way it came."""

import contextlib
import json
from collections import Counter

import pytest
import websockets

from tests.app.reading_metrics import Scraper, staff_scraper
from tests.factories import Api
from tests.keys import new_key
from tests.raw import raw

WAYS = ("rest", "websocket", "http_stream", "sse", "uni_sse")


@pytest.fixture(scope="module")
async def scrape(api: Api) -> Scraper:
    return await staff_scraper(api)


async def counted(scrape: Scraper) -> Counter[str]:
    """By kind."""
    samples = (await scrape.read()).samples
    found = {s.labels["kind"]: int(s.value) for s in samples if s.name == "maycole_auth_failures_total"}
    return Counter(found)


async def shown(api: Api, url: str, way: str, token: str) -> None:
    """Come with this token, until it is refused."""
    if way == "rest":
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        refused = await api.http.get("/api/users/me", headers=headers)
        assert refused.status_code in (401, 403)
    elif way == "uni_sse":
        query = {"token": token, "channel": "inventory:x"}
        refused = await api.http.get("/connection/uni_sse", params=query)
        assert refused.status_code in (401, 403)
    elif way == "websocket":
        async with raw(url) as client:
            await client.send({"id": 1, "connect": {"token": token}})
            with contextlib.suppress(websockets.ConnectionClosed):
                await client.frame()
    else:
        frame = json.dumps({"id": 1, "connect": {"token": token}})
        asked = (
            api.http.stream("POST", "/connection/http_stream", content=frame)
            if way == "http_stream"
            else api.http.stream("GET", "/connection/sse", params={"cf_connect": frame})
        )
        async with asked as response:
            async for line in response.aiter_lines():
                if line:
                    return  # it has been answered


@pytest.mark.parametrize("way", WAYS)
async def test_it_is_counted_once(api: Api, url: str, scrape: Scraper, way: str) -> None:
    ann = await api.person("Ann")
    elsewhere = await new_key(ann, addresses=["192.0.2.1"])
    over = await api.person("Ann")
    await over.post("/auth/logout")
    for kind, token in (
        ("invalid_token", "a.b.c"),
        ("invalid_api_key", "mk_live_x"),
        ("address_not_allowed", elsewhere["key"]),
        ("session_over", over.token),
        ("no_token", ""),
    ):
        before = await counted(scrape)
        await shown(api, url, way, token)
        assert await counted(scrape) - before == Counter({kind: 1}), (way, kind)
