"""Idempotency-Key: the first answer again, and nothing done twice."""

import asyncio
from typing import Any

import httpx
import pytest
from litestar.routes import HTTPRoute

from app.pipeline import idempotency as pipeline
from domain import db, idempotency
from domain.errors import Unavailable
from tests.app.company import Company, problem
from tests.app.inviting import address, invited, token_for
from tests.app.keyed import expire, new_key, replayed, rows, told, with_key
from tests.conftest import Served
from tests.factories import Api, Person, item
from tests.mailbox import Mailbox
from tests.raw import raw

TEA = {"name": "Tea", "quantity": 3}


@pytest.fixture
async def ann(api: Api) -> Person:
    return await api.person("Ann")


async def create(person: Person, key: str, body: Any = None, path: str = "/inventory") -> httpx.Response:
    return await person.post(path, body or TEA, headers=with_key(key))


async def count(person: Person) -> int:
    """How many items they have."""
    return len((await person.get("/inventory?limit=100")).json()["data"])


async def trail(person: Person, action: str) -> int:
    sql = "SELECT count(*) FROM audit_logs WHERE user_id = $1 AND action = $2"
    found: int = await db.fetchval(sql, person.id, action)
    return found


async def test_who_asks_again_gets_the_first_answer_again(ann: Person) -> None:
    key = new_key()
    first = await create(ann, key)
    again = await create(ann, key)
    assert first.status_code == 201
    assert {"location", "etag", "x-stream-position"} <= first.headers.keys()
    assert told(again) == told(first)
    assert (replayed(first), replayed(again)) == (False, True)
    assert first.headers["x-request-id"] != again.headers["x-request-id"], "it is another request"
    assert (await count(ann), await trail(ann, "inventory.created")) == (1, 1)


async def test_what_a_page_may_read_of_an_answer_has_the_header_that_says_so(ann: Person) -> None:
    origin = {"Origin": "https://app.example"}
    answer = await ann.post("/inventory", TEA, headers=with_key(new_key()) | origin)
    assert "idempotent-replayed" in answer.headers["access-control-expose-headers"].lower()


async def test_every_kind_of_change_takes_a_key(ann: Person) -> None:
    thing = await item(ann)
    path = f"/inventory/{thing['id']}"
    for method, where, body in [
        ("PATCH", path, {"name": "Coffee"}),
        ("PUT", path, {"name": "Cocoa", "quantity": 9}),
        ("POST", f"{path}/adjust", {"delta": -4, "reason": "sold"}),
        ("DELETE", path, None),
    ]:
        more = {"json": body} if body else {}
        key = with_key(new_key())
        answers = [await ann.api.call(method, where, token=ann.token, headers=key, **more) for _ in range(3)]
        assert answers[0].is_success, answers[0].text
        assert told(answers[0]) == told(answers[1]) == told(answers[2]), method
        assert [replayed(answer) for answer in answers] == [False, True, True]


async def test_a_key_that_was_used_for_another_request_is_refused(ann: Person) -> None:
    key = new_key()
    first = await create(ann, key)
    where = f"/inventory/{first.json()['data']['id']}"
    headers = with_key(key)
    for other in (
        await create(ann, key, {**TEA, "quantity": 4}),
        await create(ann, key, {"name": "T"}, "/teams"),
        await create(ann, key, path="/inventory?explain=true"),
        await ann.patch(where, {"name": "Coffee"}, headers=headers),
        await ann.delete(where, headers=headers),
    ):
        problem(other, 422, "idempotency_key_reused")
    assert told(await create(ann, key)) == told(first), "and the first one is still there"
    assert await count(ann) == 1


async def test_another_version_asked_for_is_another_request(ann: Person) -> None:
    where, key = f"/inventory/{(await item(ann))['id']}", new_key()
    stale = await ann.patch(where, {"name": "A"}, headers=with_key(key) | {"If-Match": '"7"'})
    problem(stale, 412, "stale_version")
    now = await ann.patch(where, {"name": "A"}, headers=with_key(key) | {"If-Match": '"1"'})
    problem(now, 422, "idempotency_key_reused")


async def test_the_same_json_spelled_otherwise_is_the_same_request(ann: Person) -> None:
    key = new_key()
    headers = with_key(key) | {"Content-Type": "application/json"}
    first = await create(ann, key, {"name": "Tea", "quantity": 3})
    respelled = await ann.post(
        "/inventory/", content=b'{ "quantity":3,\n"name": "Te\\u0061"}', headers=headers
    )
    assert replayed(respelled)
    assert told(respelled) == told(first)


async def test_keys_belong_to_their_caller(ann: Person, api: Api) -> None:
    key = new_key()
    made = await ann.post("/auth/api-keys", {"name": "Till", "scopes": ["inventory:write"]})
    by_key, bob = made.json()["data"]["key"], await api.person("Bob")
    mine, bobs = await create(ann, key), await create(bob, key)
    machine = await api.call("POST", "/inventory", token=by_key, json=TEA, headers=with_key(key))
    answers = (mine, bobs, machine)
    assert [answer.status_code for answer in answers] == [201, 201, 201]
    assert not any(map(replayed, answers))
    assert len({answer.json()["data"]["id"] for answer in answers}) == 3
    session = await api.call("POST", "/auth/login", json={"email": ann.email, "password": ann.password})
    token = session.json()["data"]["accessToken"]
    again = await api.call("POST", "/inventory", token=token, json=TEA, headers=with_key(key))
    assert told(again) == told(mine), "a user is the same caller in every session"


async def test_of_many_at_once_one_goes_on(ann: Person) -> None:
    key = new_key()
    answers = await asyncio.gather(*(create(ann, key) for _ in range(50)))
    done = [answer for answer in answers if answer.status_code == 201]
    assert done, "one of them must have got through"
    assert len({answer.content for answer in done}) == 1
    assert sum(not replayed(answer) for answer in done) == 1
    for answer in answers:
        if answer.status_code != 201:
            problem(answer, 409, "idempotency_key_in_use")
            assert int(answer.headers["Retry-After"]) == answer.json()["retryAfter"] == 1
    assert told(await create(ann, key)) == told(done[0])
    assert await count(ann) == 1


async def test_a_refusal_is_an_answer_and_has_done_nothing(ann: Person) -> None:
    thing, key = await item(ann, quantity=3), new_key()
    path = f"/inventory/{thing['id']}/adjust"
    first = await create(ann, key, {"delta": -5, "reason": "sold"}, path)
    problem(first, 409, "insufficient_stock")
    await ann.post(path, {"delta": 5, "reason": "bought"})
    again = await create(ann, key, {"delta": -5, "reason": "sold"}, path)
    assert replayed(again)
    assert told(again) == told(first)
    assert (await ann.get(f"/inventory/{thing['id']}")).json()["data"]["quantity"] == 8


async def test_what_was_refused_at_the_door_is_not_remembered(ann: Person) -> None:
    key = new_key()
    assert (await create(ann, key, {"name": ""})).status_code == 422
    malformed = await ann.post("/inventory", content=b"{", headers=with_key(key))
    assert malformed.status_code == 400
    forged = await ann.api.call("POST", "/inventory", token="x", json=TEA, headers=with_key(key))
    assert forged.status_code == 401
    assert await rows(key) == []
    assert (await create(ann, key)).status_code == 201


@pytest.mark.parametrize(
    ("failure", "status"), [(RuntimeError("a bug"), 500), (Unavailable("later"), 503), (OSError("cut"), 503)]
)
async def test_a_failure_of_ours_is_never_kept(
    ann: Person, monkeypatch: pytest.MonkeyPatch, failure: Exception, status: int
) -> None:
    key = new_key()

    async def fails(*args: object) -> None:
        raise failure

    with monkeypatch.context() as broken:
        broken.setattr("domain.record.record", fails)
        assert (await create(ann, key)).status_code == status
    assert (await rows(key), await count(ann)) == ([], 0)
    now = await create(ann, key)
    assert (now.status_code, replayed(now)) == (201, False)


async def test_an_effect_whose_answer_cannot_be_kept_does_not_happen(
    ann: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = new_key()

    async def fails(*args: object) -> None:
        raise RuntimeError("killed between the two")

    with monkeypatch.context() as broken:
        broken.setattr(idempotency, "keep", fails)
        assert (await create(ann, key)).status_code == 500
    assert (await count(ann), await trail(ann, "inventory.created")) == (0, 0)
    assert (await create(ann, key)).status_code == 201


async def test_a_key_is_kept_for_three_days_and_is_new_again_after_that(ann: Person) -> None:
    key = new_key()
    first = await create(ann, key)
    [row] = await rows(key)
    assert row["expires_at"] - row["created_at"] == idempotency.KEPT_FOR
    await expire(key)
    second = await create(ann, key, {**TEA, "name": "Another"})
    assert (second.status_code, replayed(second)) == (201, False)
    assert second.json()["data"]["id"] != first.json()["data"]["id"]
    assert replayed(await create(ann, key, {**TEA, "name": "Another"}))


async def test_what_has_expired_is_swept_away_and_nothing_else(
    ann: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idempotency, "AT_ONCE", 2)
    old, young = [new_key() for _ in range(5)], new_key()
    for key in (*old, young):
        assert (await create(ann, key)).status_code == 201
    for key in old:
        await expire(key)
    await idempotency.sweep()
    assert [await rows(key) for key in old] == [[]] * 5
    assert replayed(await create(ann, young))


async def test_whoever_lost_their_role_is_told_again_what_they_were_told(team: Company, api: Api) -> None:
    bob, key = await api.person("Bob"), new_key()
    members = f"/teams/{team.team}/members"
    await team["owner"].post(members, {"userId": bob.id, "role": "member"})
    body = {**TEA, "teamId": team.team}
    first = await create(bob, key, body)
    assert first.status_code == 201
    await team["owner"].delete(f"{members}/{bob.id}")
    assert told(await create(bob, key, body)) == told(first)
    assert (await create(bob, new_key(), body)).status_code == 404, "for anything new they are a stranger"


async def test_whoever_is_signed_out_is_told_nothing(ann: Person) -> None:
    key = new_key()
    assert (await create(ann, key)).status_code == 201
    assert (await ann.post("/auth/logout", headers=with_key(key))).status_code == 422, "used for another"
    assert (await ann.post("/auth/logout")).status_code == 204
    answer = await create(ann, key)
    assert (answer.status_code, replayed(answer)) == (401, False)


@pytest.mark.parametrize(
    "key", ["", "x" * 256, "tab\there", "ünïcode".encode(), b"\xff", ["one", "two"]], ids=repr
)
async def test_what_is_no_key_is_refused(ann: Person, key: str | bytes | list[str]) -> None:
    headers = [("Idempotency-Key", one) for one in (key if isinstance(key, list) else [key])]
    sent = [("Authorization", f"Bearer {ann.token}"), *headers]
    answer = await ann.api.http.post("/api/inventory", json=TEA, headers=sent)  # type: ignore[arg-type]  # bytes do
    problem(answer, 400, "invalid_idempotency_key")
    assert await count(ann) == 0


@pytest.mark.parametrize(
    "key", ["1", "x" * 255, "'; DROP TABLE users; --", '"8e03978e-40d5"', "a b", "%00", "{}[]\\/~`"]
)
async def test_any_printable_characters_are_a_key(ann: Person, key: str) -> None:
    first, again = await create(ann, key), await create(ann, key)
    assert first.status_code == 201
    assert told(again) == told(first)


async def test_reading_takes_no_key(ann: Person) -> None:
    for key in ("k", "x" * 300):
        for _ in range(2):
            answer = await ann.get("/inventory", headers=with_key(key))
            assert (answer.status_code, replayed(answer)) == (200, False)
    assert await rows("k") == []


async def test_a_key_means_the_same_over_the_live_connection(url: str, ann: Person) -> None:
    key = new_key()
    first = await create(ann, key)
    async with raw(url, token=ann.token, agent="a till") as line:
        data = {"body": TEA, "headers": with_key(key)}
        answer = await line.ask(rpc={"method": "POST /api/inventory", "data": data})
        called = answer["rpc"]["data"]
        assert (called["status"], called["body"]) == (201, first.json())
        assert called["headers"]["idempotent-replayed"] == "true"
        assert called["headers"]["x-stream-position"] == first.headers["x-stream-position"]
        data = {"body": {**TEA, "name": "Other"}, "headers": with_key(key)}
        answer = await line.ask(rpc={"method": "POST /api/inventory", "data": data})
        assert answer["rpc"]["data"]["body"]["code"] == "idempotency_key_reused"
    assert await count(ann) == 1


async def test_who_may_not_know_how_far_a_channel_is_is_not_told_again_either(
    ann: Person, api: Api, mailbox: Mailbox
) -> None:
    team, email, key = await api.team(ann), address(), new_key()
    await invited(ann, team, email)
    body = {"token": await token_for(mailbox, email)}
    for _ in range(2):
        answer = await api.call("POST", "/invites/decline", json=body, headers=with_key(key))
        assert answer.status_code == 204
        assert "x-stream-position" not in answer.headers
    assert replayed(answer)


async def test_every_change_takes_a_key_and_says_so_but_for_those_that_are_named(
    ann: Person, served: Served
) -> None:
    """A route that is renamed would silently be taken for an ordinary one."""
    document = (await ann.api.call("GET", "/docs/openapi.json")).json()
    operations = [one for methods in document["paths"].values() for one in methods.items()]
    changes = {one["operationId"] for method, one in operations if method.upper() in pipeline.CHANGING}
    takes = {one["operationId"] for _, one in operations if _takes_key(one)}
    assert {name.partition(".")[2] for name in changes - takes} == {"refresh", "export"}
    assert takes < changes
    routes = [route for route in served.app.routes if isinstance(route, HTTPRoute)]
    names = {handler.fn.__qualname__ for route in routes for handler in route.route_handlers}
    assert {*pipeline.KEYLESS, *pipeline.IN_PARTS} <= names


def _takes_key(operation: dict[str, Any]) -> bool:
    return any(parameter["name"] == "Idempotency-Key" for parameter in operation["parameters"])
