"""How often one may ask, with the limits that production has."""

import asyncio
import contextlib
import re
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import httpx
import msgspec
import pytest
import websockets

from app.config import Config
from tests.app.reading_metrics import Scraper, staff_scraper
from tests.conftest import ORIGIN
from tests.factories import Api, Person
from tests.generous import GENEROUS
from tests.processes import MAYCOLE, running
from tests.raw import Raw

PROXY = "127.0.0.1/32"
Headers = dict[str, str]


@pytest.fixture(scope="module")
async def limited(config: Config, url: str) -> AsyncIterator[str]:
    """Where it answers. It believes us where we say that others come from."""
    real = msgspec.structs.replace(config, trusted_proxies=(PROXY,), runs_jobs=False)
    async with running(real, command=(MAYCOLE,)) as process:
        yield process.url


@pytest.fixture(scope="module")
async def ours(limited: str) -> AsyncIterator[Api]:
    """Its API, over as many connections as ask at once."""
    bounds = httpx.Limits(max_connections=200, max_keepalive_connections=20)
    async with httpx.AsyncClient(base_url=limited, timeout=60, limits=bounds) as http:
        yield Api(http)


@pytest.fixture
async def scrape(ours: Api, api: Api) -> Scraper:
    """What it counts."""
    return (await staff_scraper(api)).at(ours.http)


def of(address: str) -> Headers:
    return {"X-Forwarded-For": address}


def here(person: Person, ours: Api) -> Person:
    """The same person on the servers with limits: registering there would count."""
    person.api = ours
    return person


def left(answer: httpx.Response, policy: str) -> int:
    found = re.search(rf'"{policy}";r=(\d+)', answer.headers["RateLimit"])
    assert found is not None, answer.headers
    return int(found[1])


def of_limits(answer: httpx.Response) -> tuple[str, str]:
    """What the headers say, but for the time, which passes."""
    return answer.headers["RateLimit-Policy"], answer.headers["RateLimit"].rpartition(";t=")[0]


async def statuses(ours: Api, count: int, *where: Any, **more: Any) -> Counter[int]:
    answers = await asyncio.gather(*(ours.call(*where, **more) for _ in range(count)))
    return Counter(answer.status_code for answer in answers)


async def refused_by(scrape: Scraper) -> Counter[str]:
    """How often each policy has refused so far."""
    names = ("public", "authenticated", "teams", "create_team")
    counted = await scrape.values("rate_limited_total", *({"policy": name} for name in names))
    return Counter(dict(zip(names, map(int, counted), strict=True)))


async def test_a_hundred_of_two_hundred_at_once_are_answered_to_one_address(
    ours: Api, scrape: Scraper
) -> None:
    before = await refused_by(scrape)
    assert await statuses(ours, 200, "GET", "/_router", headers=of("203.0.113.1")) == {200: 100, 429: 100}
    assert await refused_by(scrape) - before == {"public": 100}

    refused = await ours.call("GET", "/_router", headers={"Origin": ORIGIN, **of("203.0.113.1")})
    problem = refused.json()
    assert (refused.status_code, problem["code"]) == (429, "rate_limited")
    assert 1 <= problem["retryAfter"] <= 60
    assert refused.headers["Retry-After"] == str(problem["retryAfter"])
    assert refused.headers["RateLimit-Policy"] == '"public";q=100;w=60'
    assert refused.headers["RateLimit"] == f'"public";r=0;t={problem["retryAfter"]}'
    exposed = refused.headers["Access-Control-Expose-Headers"]
    assert {"RateLimit", "RateLimit-Policy", "Retry-After"} <= set(re.split(", *", exposed))

    # Others are not concerned, and probes are asked without end.
    assert left(await ours.call("GET", "/_router", headers=of("203.0.113.2")), "public") == 99
    healthy = await ours.call("GET", "/health/live", headers=of("203.0.113.1"))
    assert healthy.status_code == 200
    assert "RateLimit" not in healthy.headers


async def test_what_one_customer_has_of_ipv6_is_one_address(ours: Api) -> None:
    answers = [
        await ours.call("GET", "/_router", headers=of(address))
        for address in (
            "2001:db8:5::1",
            "2001:db8:5::ffff:2",
            "2001:db8:5:1::1",
            "::ffff:203.0.113.3",
            "203.0.113.3",
        )
    ]
    assert [left(answer, "public") for answer in answers] == [99, 98, 99, 99, 98]


async def test_what_a_stranger_says_of_their_address_counts_for_nothing(
    config: Config, http: httpx.AsyncClient
) -> None:
    """The app under test trusts nobody."""
    answers = [await http.get("/api/_router", headers=of(f"203.0.113.{host}")) for host in range(4, 9)]
    most = GENEROUS.policies["public"].limit
    assert left(answers[-1], "public") <= most - len(answers), "all of them are one's"


async def test_a_token_that_is_no_good_costs_its_address_and_a_good_one_costs_its_user(
    ours: Api, api: Api
) -> None:
    ann, address = here(await api.person("Ann"), ours), of("203.0.113.6")
    wrong = {"token": "x.y.z", "headers": address}
    assert await statuses(ours, 105, "GET", "/users/me", **wrong) == {401: 100, 429: 5}
    assert (await ours.call("GET", "/_router", headers=address)).status_code == 429
    known = await ann.get("/users/me", headers=address)
    assert known.status_code == 200
    assert known.headers["RateLimit-Policy"] == '"authenticated";q=1000;w=60'
    assert left(known, "authenticated") == 999


async def test_ten_teams_a_minute_beside_what_else_is_asked_of_teams(
    ours: Api, api: Api, scrape: Scraper
) -> None:
    ann, before = here(await api.person("Ann"), ours), await refused_by(scrape)
    made = [await ann.post("/teams", {"name": f"Team {number}"}) for number in range(12)]
    assert Counter(answer.status_code for answer in made) == {201: 10, 429: 2}
    assert await refused_by(scrape) - before == {"create_team": 2}
    assert made[0].headers["RateLimit-Policy"] == '"teams";q=500;w=60, "create_team";q=10;w=60'
    assert left(made[-1], "create_team") == 0
    # What was refused has cost nothing of the other.
    assert left(made[-1], "teams") == 490
    assert left(await ann.get("/teams"), "teams") == 489
    assert left(await ann.get("/users/me"), "authenticated") == 999


@contextlib.asynccontextmanager
async def socket(url: str, address: str) -> AsyncIterator[Raw]:
    where = f"{url.replace('http', 'ws', 1)}/connection/websocket"
    async with websockets.connect(where, additional_headers=of(address)) as opened:
        yield Raw(opened)


async def test_commands_draw_on_the_budget_of_their_user(
    limited: str, ours: Api, api: Api, scrape: Scraper
) -> None:
    ann, before = here(await api.person("Ann"), ours), await refused_by(scrape)
    channel = f"inventory:{ann.personal_team_id}"
    async with socket(limited, "203.0.113.7") as client:
        assert "connect" in await client.ask(connect={"token": ann.token})
        assert left(await ann.get("/users/me"), "authenticated") == 998
        await client.ask(subscribe={"channel": channel})
        await client.ask(unsubscribe={"channel": channel})
        called = (await client.ask(rpc={"method": "GET /api/users/me"}))["rpc"]["data"]
        # The subscribe and the rpc once each, and leaving not at all.
        assert called["headers"]["ratelimit"].startswith('"authenticated";r=996;')

        for start in range(100, 1100, 100):
            await client.send(
                *({"id": start + n, "publish": {"channel": channel, "data": {}}} for n in range(100))
            )
        await client.reply(1099)
        codes = [message["error"]["code"] for message in client.in_order if message.get("id", 0) >= 100]
        # 996 were left.
        assert codes == [103] * 996 + [111] * 4
    assert await refused_by(scrape) - before == {"authenticated": 4}
    refused = await ann.get("/users/me")
    assert refused.status_code == 429
    # There is no way around it by coming again; SDKs wait, and try later.
    async with socket(limited, "203.0.113.7") as client:
        error = (await client.ask(connect={"token": ann.token}))["error"]
        assert (error["code"], error["temporary"]) == (111, True)
    follows = {"token": ann.token, "channel": channel}
    stream = await ours.http.get("/connection/uni_sse", params=follows)
    assert stream.status_code == 429
    told, wait_s = of_limits(stream), int(refused.headers["Retry-After"])
    assert told == of_limits(refused)
    assert wait_s > 30, "else they would agree by chance"
    assert wait_s - 30 < int(stream.headers["Retry-After"]) <= wait_s
    assert stream.json()["retryAfter"] == int(stream.headers["Retry-After"])
    assert await refused_by(scrape) - before == {"authenticated": 4 + 3}


async def test_an_address_that_shows_bad_tokens_is_told_to_come_later_and_good_ones_come_in(
    limited: str, ours: Api, api: Api, scrape: Scraper
) -> None:
    ann, address = here(await api.person("Ann"), ours), "203.0.113.8"
    await statuses(ours, 99, "GET", "/_router", headers=of(address))
    before = await refused_by(scrape)
    codes = []
    for _ in range(3):
        async with socket(limited, address) as client:
            await client.send({"id": 1, "connect": {"token": "x.y.z"}})
            codes.append(await client.closed())
    assert codes == [3500, 3013, 3013]
    assert await refused_by(scrape) - before == {"public": 2}
    for _ in range(3):
        async with socket(limited, address) as client:
            assert "connect" in await client.ask(connect={"token": ann.token})
    uplink = {"session": "no such", "node": "here", "data": "{}"}
    lost = await ours.http.post("/emulation", json=uplink, headers=of(address))
    bad = await ours.http.get("/connection/uni_sse", params={"token": "x"}, headers=of(address))
    rest = await ours.call("GET", "/_router", headers=of(address))
    for refused in (lost, bad, rest):
        assert refused.status_code == 429
        assert of_limits(refused) == of_limits(rest)
        assert 30 < int(refused.headers["Retry-After"]) <= 61
    assert await refused_by(scrape) - before == {"public": 5}


async def test_the_address_that_a_proxy_tells_of_is_the_one_that_is_kept(ours: Api, api: Api) -> None:
    ann = here(await api.person("Ann"), ours)
    signed_in = await ours.call(
        "POST",
        "/auth/login",
        json={"email": ann.email, "password": ann.password},
        headers=of("6.6.6.6, 203.0.113.9"),
    )
    assert signed_in.status_code == 200, signed_in.text
    [newest, *_] = (await ann.get("/auth/sessions")).json()["data"]
    assert newest["ip"] == "203.0.113.9"
