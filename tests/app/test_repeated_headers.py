"""A header that says one thing is sent once: of two lines one reads the first, and another the last."""

from typing import Any

import httpx
import pytest

from app.pipeline.limiter import Verdict
from domain.versions import NEWEST
from tests.app.company import problem
from tests.app.keyed import new_key
from tests.conftest import Served
from tests.factories import Api, Person, item

Lines = list[tuple[str, str]]


@pytest.fixture
async def ann(api: Api) -> Person:
    return await api.person("Ann")


async def ask(http: httpx.AsyncClient, method: str, path: str, lines: Lines, **more: Any) -> httpx.Response:
    return await http.request(method, path, headers=lines, **more)


def bearer(person: Person) -> tuple[str, str]:
    return "Authorization", f"Bearer {person.token}"


async def test_a_list_of_versions_is_read_whole_in_however_many_lines(
    http: httpx.AsyncClient, ann: Person
) -> None:
    """RFC 9110, 5.3: lines of a list are one list."""
    path = f"/api/inventory/{(await item(ann))['id']}"

    async def asked_for(*versions: str) -> httpx.Response:
        lines = [bearer(ann), *(("If-Match", each) for each in versions)]
        return await ask(http, "PATCH", path, lines, json={"unit": "kg"})

    problem(await asked_for('"8"', '"9"'), 412, "stale_version")
    problem(await asked_for("*", '"9"'), 422, "invalid_if_match")
    assert (await asked_for('"9"', '"1"')).status_code == 200


async def test_where_nobody_reads_it_two_lines_are_another_request_than_one(
    http: httpx.AsyncClient, ann: Person
) -> None:
    key = ("Idempotency-Key", new_key())
    made, body = [bearer(ann), key, ("If-Match", '"1"')], {"name": "Tea", "quantity": 1}
    assert (await ask(http, "POST", "/api/inventory", made, json=body)).status_code == 201
    again = await ask(http, "POST", "/api/inventory", [*made, ("If-Match", '"2"')], json=body)
    problem(again, 422, "idempotency_key_reused")


@pytest.mark.parametrize("path", ["/api/users/me", "/connection/uni_sse?channel=inventory:x"])
async def test_nobody_is_two_people_at_once(
    http: httpx.AsyncClient, ann: Person, api: Api, path: str
) -> None:
    bob = await api.person("Bob")
    for both in (
        [bearer(ann), bearer(bob)],
        [bearer(ann), bearer(ann)],
        [bearer(ann), ("authorization", "")],
    ):
        problem(await ask(http, "GET", path, both), 400, "repeated_header")


async def test_who_says_twice_who_they_are_pays_as_who_cannot_say_it(
    http: httpx.AsyncClient, served: Served, ann: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    leases, drawn = served.app.state.process.leases, []
    real = leases.take

    async def take(draws: Any, wanted: int = 1) -> Verdict:
        drawn.extend(key.partition(":")[0] for key, _ in draws)
        return await real(draws, wanted)  # type: ignore[no-any-return]

    monkeypatch.setattr(leases, "take", take)
    refused = await ask(http, "GET", "/api/users/me", [bearer(ann), bearer(ann)])
    problem(refused, 400, "repeated_header")
    assert drawn == ["public"]


async def test_nor_is_a_request_for_two_versions_of_the_api(http: httpx.AsyncClient) -> None:
    once = [("API-Version", NEWEST)]
    assert (await ask(http, "GET", "/api/version", once)).status_code == 200
    problem(await ask(http, "GET", "/api/version", once * 2), 400, "repeated_header")
