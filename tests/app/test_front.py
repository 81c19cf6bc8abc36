"""The front: which hosts we are, what OPTIONS says, which pages may read, and what is said over TLS."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import msgspec
import pytest
import websockets
from litestar.routes import HTTPRoute

from app import config as configuration
from app.config import Config, ConfigError
from app.config_front import Front
from app.main import create_app
from app.pipeline.methods import allow
from tests.app.company import problem
from tests.conftest import ORIGIN, Served
from tests.factories import Api

PUBLIC = "https://app.example"


@asynccontextmanager
async def front(config: Config, **changed: Any) -> AsyncIterator[httpx.AsyncClient]:
    """An app that is set up otherwise, without what it would run in the background."""
    app: Any = create_app(msgspec.structs.replace(config, **changed))
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        yield client


async def told(client: httpx.AsyncClient, host: str, path: str = "/api/nope") -> str:
    """The code of a route that is not there, or why it was not even looked for."""
    code: str = (await client.get(path, headers={"Host": host})).json()["code"]
    return code


OURS = ("app.example", "APP.EXAMPLE", "app.example:443", "localhost", "127.0.0.1:8000", "[::1]:8000")
OTHERS = (
    "evil.example",
    "app.example.evil.example",
    "sub.app.example",
    "app.example.",
    "203.0.113.7",
    "",
    "[::2]",
    "app.example:x",
    "app.example evil.example",
    "app.example@evil.example",
    "127.0.0.1.nip.io",
)


@pytest.mark.parametrize("host", OURS)
async def test_whoever_names_us_is_let_in(config: Config, host: str) -> None:
    async with front(config, public_url=PUBLIC) as client:
        assert await told(client, host) == "no_such_route"


@pytest.mark.parametrize("host", OTHERS)
async def test_whoever_names_somebody_else_is_turned_away(config: Config, host: str) -> None:
    async with front(config, public_url=PUBLIC) as client:
        refused = problem(await client.get("/api/version", headers={"Host": host}), 400, "unknown_host")
        assert host not in refused["detail"] or not host


async def test_hosts_are_named_by_the_operator_and_probes_ask_by_any(config: Config) -> None:
    more = Front(allowed_hosts=("internal.example", "203.0.113.7"))
    async with front(config, public_url=PUBLIC, front=more) as client:
        for host in ("internal.example", "203.0.113.7:8000", "app.example"):
            assert await told(client, host) == "no_such_route"
        assert await told(client, "other.example") == "unknown_host"
        for host in ("10.1.2.3:8000", "other.example"):
            live = await client.get("/api/health/live", headers={"Host": host})
            assert live.status_code == 200
    async with front(config, public_url=PUBLIC, front=Front(allowed_hosts=("*",))) as client:
        assert await told(client, "other.example") == "no_such_route"


async def test_a_server_of_ones_own_machine_goes_by_its_names_only(config: Config) -> None:
    async with front(config, host="127.0.0.1") as client:
        assert await told(client, "localhost:8000") == "no_such_route"
        assert await told(client, "rebound.example") == "unknown_host"
    async with front(config, host="0.0.0.0") as client:
        assert await told(client, "any.example") == "no_such_route", "nobody has said who we are"


async def test_one_host_is_named_and_not_two(config: Config) -> None:
    async with front(config, public_url=PUBLIC) as client:
        twice = [("Host", "app.example"), ("Host", "app.example")]
        problem(await client.get("/api/version", headers=twice), 400, "unknown_host")


async def test_websockets_are_asked_for_by_our_name_too(served: Served) -> None:
    where = served.url.replace("http", "ws", 1) + "/connection/websocket"
    async with websockets.connect(where):
        pass
    # The library names in Host what stands in the address, wherever it is told to connect.
    elsewhere, port = where.replace("127.0.0.1", "evil.example"), int(served.url.rpartition(":")[2])
    with pytest.raises(websockets.InvalidStatus) as refused:
        async with websockets.connect(elsewhere, host="127.0.0.1", port=port):
            pass
    response = refused.value.response
    assert response.status_code == 400
    assert response.headers["Content-Type"] == "application/problem+json"
    assert msgspec.json.decode(response.body or b"")["code"] == "unknown_host"


@pytest.mark.parametrize(
    "path", ["/inventory", "/inventory/x", "/teams/x/members/y", "/auth/api-keys", "/version", "/users/me"]
)
async def test_options_and_a_refusal_name_all_that_may_be_asked(api: Api, served: Served, path: str) -> None:
    told: dict[tuple[str, ...], set[str]] = {}
    for route in served.app.routes:
        if isinstance(route, HTTPRoute):
            parts = tuple(
                "*" if part.startswith("{") else part for part in route.path_format.strip("/").split("/")
            )
            told.setdefault(parts, set()).update(route.route_handler_map)
    asked = f"/api{path}".strip("/").split("/")
    # What is written out goes before what is filled in.
    [methods] = [told[parts] for parts in _most_exact(told, asked)]
    expected = allow(methods, f"/api{path}")
    answer = await api.call("OPTIONS", path)
    assert (answer.status_code, answer.headers["Allow"], answer.content) == (204, expected, b"")
    refused = await api.call("TRACE", path)
    problem(refused, 405, "method_not_allowed")
    assert refused.headers["Allow"] == expected
    for method in expected.split(", "):
        assert (await api.call(method, path)).status_code != 405, method


def _most_exact(told: Any, asked: list[str]) -> list[tuple[str, ...]]:
    fitting = [
        parts
        for parts in told
        if len(parts) == len(asked) and all(a in ("*", b) for a, b in zip(parts, asked, strict=True))
    ]
    return sorted(fitting, key=lambda parts: parts.count("*"))[:1]


async def test_options_of_what_is_not_there_is_a_problem(api: Api) -> None:
    problem(await api.call("OPTIONS", "/nope"), 404, "no_such_route")


async def test_a_page_learns_beforehand_what_it_may_send_and_read(api: Api) -> None:
    asked = await api.call(
        "OPTIONS", "/inventory", headers={"Origin": ORIGIN, "Access-Control-Request-Method": "POST"}
    )
    assert (asked.status_code, asked.content) == (204, b"")
    assert asked.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert asked.headers["Access-Control-Allow-Credentials"] == "true"
    assert int(asked.headers["Access-Control-Max-Age"]) > 0
    assert {
        "Idempotency-Key",
        "If-Match",
        "API-Version",
        "X-Request-Id",
        "Authorization",
        "Content-Type",
    } <= set(asked.headers["Access-Control-Allow-Headers"].split(", "))
    assert "*" not in str(asked.headers)
    got = await api.call("GET", "/version", headers={"Origin": ORIGIN})
    assert {
        "RateLimit", "RateLimit-Policy", "Retry-After", "Idempotent-Replayed", "API-Version", "Deprecation",
        "Sunset",
    } <= set(got.headers["Access-Control-Expose-Headers"].split(", "))  # fmt: skip
    assert got.headers["Access-Control-Allow-Credentials"] == "true"


async def test_caches_are_told_that_answers_depend_on_who_asks(api: Api) -> None:
    for headers in ({}, {"Origin": ORIGIN}, {"Origin": "https://evil.example"}):
        for path in ("/version", "/nope"):
            got = await api.call("GET", path, headers=headers)
            assert got.headers.get_list("Vary") == ["Origin"]


@pytest.mark.parametrize("path", ["/connection/sse", "/connection/uni_sse"])
async def test_streams_refuse_as_everything_does(http: httpx.AsyncClient, path: str) -> None:
    refused = await http.get(path, headers={"Origin": "https://evil.example"})
    problem(refused, 403, "origin_not_allowed")
    problem(await http.get("/connection/uni_sse?channel=x&token=y"), 401, "invalid_token")
    problem(await http.post("/emulation", content=b"x"), 400, "malformed_frame")
    nobody = {"node": "n", "session": "s", "data": ""}
    problem(await http.post("/emulation", json=nobody), 404, "not_found")


async def test_browsers_are_held_to_tls_where_we_have_it(config: Config) -> None:
    async with front(config, public_url=PUBLIC) as client:
        for path in ("/api/nope", "/api/health/live", "/auth/verify-email"):
            assert (await client.get(path)).headers["Strict-Transport-Security"] == "max-age=31536000"
    async with front(config, public_url="http://app.example") as client:
        assert "Strict-Transport-Security" not in (await client.get("/api/nope")).headers


@pytest.mark.parametrize(
    "named", ["app.example:443", "https://app.example", "a b", "app.example/", "*.app.example"]
)
def test_a_host_that_is_none_is_refused_at_the_start(named: str) -> None:
    with pytest.raises(ConfigError, match="ALLOWED_HOSTS"):
        configuration.read({"ALLOWED_HOSTS": f"ok.example,{named}"})


def test_what_the_front_is_set_up_with_is_read_and_its_secret_not_shown() -> None:
    dsn = "https://abcdef0123456789@sentry.example/42"
    read = configuration.read(
        {"ALLOWED_HOSTS": "App.Example, [::1] ,10.0.0.1", "SENTRY_DSN": dsn, "MAYCOLE_COMMIT": "abc"}
    )
    assert read.front == Front(allowed_hosts=("app.example", "::1", "10.0.0.1"), sentry_dsn=dsn, commit="abc")
    assert "abcdef" not in repr(read)
    with pytest.raises(ConfigError, match="SENTRY_DSN"):
        configuration.read({"SENTRY_DSN": "https://sentry.example/42"})
