"""What every answer carries: headers, request ids, the framework's own problems, CORS, HEAD and OPTIONS."""

import re
from typing import Any

import pytest

from tests.app.company import problem
from tests.conftest import ORIGIN
from tests.factories import Api

SECURITY = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}
READS = (
    "/version",
    "/health",
    "/health/live",
    "/health/ready",
    "/docs/openapi.json",
    "/users/me",
    "/inventory",
)


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nope", 404, "no_such_route"),
        ("GET", "/inventory/a/b/c", 404, "no_such_route"),
        ("POST", "/nope", 404, "no_such_route"),
        ("GET", "/docs/files/nope.js", 404, "no_such_route"),
        ("GET", "/docs/files/..%2f..%2fdocs.py", 404, "no_such_route"),
        ("PUT", "/version", 405, "method_not_allowed"),
        ("PATCH", "/inventory", 405, "method_not_allowed"),
        ("TRACE", "/version", 405, "method_not_allowed"),
        ("GET", "/auth/login", 405, "method_not_allowed"),
        ("GET", "/users/me", 401, "no_token"),
        ("POST", "/inventory", 401, "no_token"),
        ("GET", "/inventory?limit=0", 401, "no_token"),
    ],
)
async def test_what_the_framework_refuses_is_a_problem_too(
    api: Api, method: str, path: str, status: int, code: str
) -> None:
    answer = await api.call(method, path)
    refused = problem(answer, status, code)
    assert refused["type"] == "about:blank"
    assert refused["title"]
    assert refused["instance"] == "/api" + path.split("?")[0]
    assert ("Allow" in answer.headers) == (status == 405)
    assert answer.headers.items() >= {(name.lower(), value) for name, value in SECURITY.items()}


async def test_nobody_is_told_so_before_what_they_sent_is_looked_at(api: Api) -> None:
    for body in (b"", b"{", b"[" * 100_000, b"a" * 2_000_000):
        answer = await api.call("POST", "/inventory", content=body, headers={"Content-Type": "x/y"})
        problem(answer, 401, "no_token")


async def test_a_parameter_is_named_as_clients_know_it(api: Api) -> None:
    ann = await api.person()
    for query, pointer in (("belowThreshold=maybe", "/belowThreshold"), (f"query={'x' * 101}", "/query")):
        refused = problem(await ann.get(f"/inventory?{query}"), 422, "invalid")
        assert [error["pointer"] for error in refused["errors"]] == [pointer]


@pytest.mark.parametrize("path", READS)
async def test_every_answer_has_its_headers(api: Api, path: str) -> None:
    ann = await api.person()
    answer = await ann.get(path)
    assert answer.status_code == 200
    assert answer.headers.items() >= {(name.lower(), value) for name, value in SECURITY.items()}
    assert re.fullmatch(r"req_[0-9a-f]{24}", answer.headers["X-Request-Id"])
    assert "Server" not in answer.headers


@pytest.mark.parametrize("sane", ["abcdefgh", "0af7651916cd43dd-8448eb211c80319c", "A" * 64, "a.b_c-d8"])
async def test_a_sane_request_id_is_kept(api: Api, sane: str) -> None:
    for path in ("/version", "/nope"):
        answer = await api.call("GET", path, headers={"X-Request-Id": sane})
        assert answer.headers.get_list("X-Request-Id") == [sane]


@pytest.mark.parametrize(
    "insane",
    ["", "short", "x" * 65, "has space", "a;b=c;d=e", "<script>8", "ä" * 8, "a/b/c/d/e", "mxt_abcdefghijklmn",
     "mk_live_hidden1", "a-mrt_abcdefgh.i", "eyJhbGciOiJI.eyJzdWIi.c2lnbmF0dXJl", "mk_test_1"],
)  # fmt: skip
async def test_any_other_request_id_is_replaced(api: Api, insane: str) -> None:
    answer = await api.call("GET", "/nope", headers={"X-Request-Id": insane.encode()})  # type: ignore[dict-item]
    [made] = answer.headers.get_list("X-Request-Id")
    assert re.fullmatch(r"req_[0-9a-f]{24}", made)
    assert answer.json()["requestId"] == made


@pytest.mark.parametrize("path", [*READS, "/docs", "/docs/files/swagger-ui.css"])
async def test_head_is_get_without_its_body(api: Api, path: str) -> None:
    ann = await api.person()
    got, head = await ann.get(path), await api.call("HEAD", path, token=ann.token)
    assert (head.status_code, head.content) == (200, b"")
    varies = {"date", "x-request-id", "ratelimit"}
    assert {k: v for k, v in head.headers.items() if k not in varies} == {
        k: v for k, v in got.headers.items() if k not in varies
    }
    assert (await api.call("HEAD", "/auth/login")).status_code == 405


async def test_options_says_what_may_be_asked(api: Api) -> None:
    answer = await api.call("OPTIONS", "/version")
    assert (answer.status_code, answer.content) == (204, b"")
    assert set(answer.headers["Allow"].split(", ")) == {"GET", "HEAD", "OPTIONS"}


PREFLIGHT = {
    "Access-Control-Request-Method": "PUT",
    "Access-Control-Request-Headers": "authorization,if-match",
}


async def test_a_page_from_the_list_may_read_answers_and_their_headers(api: Api) -> None:
    asked = await api.call("OPTIONS", "/inventory/x", headers={"Origin": ORIGIN, **PREFLIGHT})
    assert asked.status_code == 204
    assert asked.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert "PUT" in asked.headers["Access-Control-Allow-Methods"]
    assert {"authorization", "if-match"} <= set(
        asked.headers["Access-Control-Allow-Headers"].lower().split(", ")
    )
    for path in ("/version", "/nope"):
        got = await api.call("GET", path, headers={"Origin": ORIGIN})
        assert got.headers["Access-Control-Allow-Origin"] == ORIGIN, path
        assert "Origin" in got.headers["Vary"]
        assert {"ETag", "X-Stream-Position", "X-Request-Id", "Location", "Retry-After"} <= set(
            got.headers["Access-Control-Expose-Headers"].split(", ")
        )


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example", "null", "http://app.example", f"{ORIGIN}.evil.example", f"{ORIGIN}:8443",
        f"{ORIGIN}/", "https://evil.example#https://app.example", ORIGIN.upper(),
        "https://sub.app.example", "*",
    ],
)  # fmt: skip
async def test_a_page_from_anywhere_else_may_not(api: Api, origin: str) -> None:
    asked = await api.call("OPTIONS", "/inventory/x", headers={"Origin": origin, **PREFLIGHT})
    problem(asked, 403, "origin_not_allowed")
    for answer in (asked, await api.call("GET", "/version", headers={"Origin": origin})):
        assert "Access-Control-Allow-Origin" not in answer.headers


async def test_health_says_how_everything_is_and_version_which_it_is(api: Api) -> None:
    health: dict[str, Any] = (await api.call("GET", "/health")).json()
    assert health["success"] is True
    assert health["data"]["status"] == "ok"
    assert {name for name in health["data"]["checks"] if not name.startswith("outgoing.")} == {
        "database", "pool", "load", "redis.subscribe", "redis.publish", "limiter", "tasks",
    }  # fmt: skip
    assert all(check["ok"] for check in health["data"]["checks"].values())
    ready = await api.call("GET", "/health/ready")
    assert (ready.status_code, ready.json()["data"]["status"]) == (200, "ok")
    assert (await api.call("GET", "/health/live")).json()["data"]["status"] == "ok"
    version = (await api.call("GET", "/version")).json()["data"]
    assert set(version) == {
        "version", "commit", "apiVersion", "apiVersions", "schema", "databaseSchema",
    }  # fmt: skip
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", version["apiVersion"])
