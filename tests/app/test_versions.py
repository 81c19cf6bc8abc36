"""Versions of the API by date: asked for, pinned to a key, and how they and routes end."""

import re
import subprocess
from collections.abc import Iterable
from datetime import date
from pathlib import Path

import httpx
import pytest

from app import commit as commits
from app.api.openapi import Json, document
from app.pipeline import deprecation, versions
from app.pipeline.deprecation import Deprecated
from domain import db
from domain.versions import NEWEST, SUPPORTED
from tests.app.company import problem
from tests.authz.test_the_matrix_is_whole import handlers
from tests.conftest import Served
from tests.factories import Api, item
from tests.keys import by, new_key

LATER = "2030-01-01"


async def test_an_answer_says_its_version_and_a_request_may_name_it(api: Api) -> None:
    ann = await api.person()
    for headers in ({}, {"API-Version": NEWEST}, {"api-version": NEWEST}):
        for path in ("/version", "/users/me", "/nope"):
            answer = await ann.get(path, headers=headers)
            assert answer.headers.get_list("API-Version") == [NEWEST], path


@pytest.mark.parametrize("named", ["2020-01-01", "v1", "", "latest", NEWEST + "x", "2026-11-22, 2026-11-22"])
async def test_a_version_that_is_not_there_is_refused_and_those_there_are_are_said(
    api: Api, named: str
) -> None:
    refused = problem(
        await api.call("GET", "/version", headers={"API-Version": named}), 400, "unknown_api_version"
    )
    assert refused["supported"] == list(SUPPORTED)


async def test_a_key_stays_with_the_version_it_was_made_under_unless_it_asks(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = await api.person()
    key = await new_key(ann, "inventory:read")
    assert key["apiVersion"] == NEWEST
    monkeypatch.setattr(versions, "SUPPORTED", (*SUPPORTED, LATER))
    monkeypatch.setattr(versions, "NEWEST", LATER)
    monkeypatch.setattr("domain.versions.NEWEST", LATER)

    assert (await by(key, ann, "GET", "/inventory")).headers["API-Version"] == NEWEST
    assert (await ann.get("/inventory")).headers["API-Version"] == LATER, "a session has the newest"
    other = await new_key(ann, "inventory:read")
    assert other["apiVersion"] == LATER
    asked = await by(other, ann, "GET", "/inventory", headers={"API-Version": NEWEST})
    assert (asked.status_code, asked.headers["API-Version"]) == (200, NEWEST)
    assert (await by(other, ann, "GET", "/inventory")).headers["API-Version"] == LATER


async def test_a_key_of_a_version_that_is_gone_is_told_so(api: Api) -> None:
    ann = await api.person()
    key = await new_key(ann, "inventory:read")
    await db.execute("UPDATE api_keys SET api_version = '2020-01-01' WHERE id = $1", key["id"])
    refused = await by(key, ann, "GET", "/inventory")
    problem(refused, 400, "unknown_api_version")
    assert refused.headers["API-Version"] == NEWEST
    again = await by(key, ann, "GET", "/inventory")
    assert left(again) == left(refused) - 1, "it counts as any other request does"
    asked = await by(key, ann, "GET", "/inventory", headers={"API-Version": NEWEST})
    assert asked.status_code == 200


def left(answer: httpx.Response) -> int:
    """How many requests more the limit has room for."""
    found = re.search(r'"authenticated";r=(\d+)', answer.headers["RateLimit"])
    assert found is not None
    return int(found[1])


def outgoing(answer: httpx.Response) -> dict[str, list[str]]:
    return {name: answer.headers.get_list(name) for name in ("Deprecation", "Sunset", "Link")}


async def test_what_is_on_its_way_out_says_so_and_nothing_else_does(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = await api.person()
    thing = await item(ann)
    going = Deprecated(since=date(2027, 1, 1), sunset=date(2027, 7, 1), link="https://maycole.example/go")
    route = ("GET", "/api/inventory/{item_id}")
    monkeypatch.setitem(deprecation.ROUTES, route, going)
    said = {
        "Deprecation": ["@1798761600"],
        "Sunset": ["Thu, 01 Jul 2027 00:00:00 GMT"],
        "Link": [
            '<https://maycole.example/go>; rel="deprecation"; type="text/html"',
            '<https://maycole.example/go>; rel="sunset"; type="text/html"',
        ],
    }
    nothing: dict[str, list[str]] = {"Deprecation": [], "Sunset": [], "Link": []}
    assert outgoing(await ann.get(f"/inventory/{thing['id']}")) == said
    assert outgoing(await ann.get("/inventory/item_00000000000000000000000000")) == said
    assert outgoing(await ann.delete(f"/inventory/{thing['id']}")) == nothing
    assert outgoing(await ann.get("/inventory")) == nothing
    monkeypatch.setitem(
        deprecation.VERSIONS, NEWEST, Deprecated(since=date(2027, 1, 1), link="https://x.example")
    )
    assert outgoing(await ann.get("/inventory"))["Deprecation"] == ["@1798761600"]


async def test_what_is_marked_is_a_route_and_a_version() -> None:
    """Both tables are empty today; this holds whoever fills them."""
    assert deprecation.VERSIONS.keys() <= set(SUPPORTED)
    assert sorted(SUPPORTED) == list(SUPPORTED)
    assert no_routes(deprecation.ROUTES) == []
    mistyped = ("GET", "/api/inventory/{itemId}"), ("POST", "/api/inventory/{item_id}")
    assert no_routes([*mistyped, ("GET", "/api/inventory/{item_id}")]) == list(mistyped)


def no_routes(marked: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Those that would never be looked up: no route has them."""
    there = handlers()
    return [(method, path) for method, path in marked if f"{method} {path}" not in there]


async def test_the_document_says_which_operations_are_on_their_way_out(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    drafted = served.app.openapi_schema.to_schema()
    assert not any("deprecated" in one for one in operations(document(served.app, drafted)))
    route = ("GET", "/api/inventory/{item_id}")
    monkeypatch.setitem(
        deprecation.ROUTES, route, Deprecated(since=date(2027, 1, 1), link="https://x.example")
    )
    [marked] = [one for one in operations(document(served.app, drafted)) if one.get("deprecated")]
    assert marked["operationId"] == "inventory.read"


def operations(whole: Json) -> list[Json]:
    return [one for methods in whole["paths"].values() for one in methods.values()]


async def test_which_server_it_is_can_be_told(api: Api) -> None:
    version = (await api.call("GET", "/version")).json()["data"]
    assert version["apiVersions"] == list(SUPPORTED)
    assert version["apiVersion"] == SUPPORTED[-1]
    assert version["databaseSchema"] == version["schema"], "the tests' database is migrated"
    assert version["commit"] == commits.commit(None)


def test_the_commit_is_that_of_the_checkout_or_what_the_builder_said(tmp_path: Path) -> None:
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@example.org", "-C", str(tmp_path / "main")]
    assert commits.commit("from the builder", root=tmp_path) == "from the builder"
    assert commits.commit(None, root=tmp_path) == "unknown"
    subprocess.run(["git", "init", "-q", str(tmp_path / "main")], check=True)
    assert commits.commit(None, root=tmp_path / "main") == "unknown", "nothing is committed yet"
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "x"], check=True)
    head = subprocess.run(
        [*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True
    ).stdout.strip()
    subprocess.run([*git, "worktree", "add", "-q", "-b", "other", str(tmp_path / "other")], check=True)
    assert commits.commit(None, root=tmp_path / "main") == head
    assert commits.commit(None, root=tmp_path / "other") == head
    subprocess.run([*git, "pack-refs", "--all"], check=True)
    assert commits.commit(None, root=tmp_path / "other") == head
    subprocess.run([*git, "checkout", "-q", "--detach"], check=True)
    assert commits.commit(None, root=tmp_path / "main") == head
