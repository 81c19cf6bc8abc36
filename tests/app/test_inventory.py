"""Inventory: things counted, over HTTP."""

import asyncio
from typing import Any

import pytest

from tests.app.company import Company, problem
from tests.factories import Api, Person, item

FIELDS = {
    "id", "teamId", "name", "sku", "category", "quantity", "reserved", "unit", "lowStockThreshold",
    "attributes", "version", "createdAt", "updatedAt",
}  # fmt: skip


async def names(person: Person, query: str) -> list[str]:
    answer = await person.get(f"/inventory?limit=100&{query}")
    assert answer.status_code == 200, answer.text
    return [thing["name"] for thing in answer.json()["data"]]


async def test_a_new_item_is_what_was_sent_with_its_defaults_filled_in(api: Api) -> None:
    ann = await api.person()
    answer = await ann.post("/inventory", {"name": "Tea", "quantity": 3})
    made = answer.json()["data"]
    assert answer.status_code == 201
    assert (answer.headers["Location"], answer.headers["ETag"]) == (f"/api/inventory/{made['id']}", '"1"')
    assert set(made) == FIELDS
    assert made["id"].startswith("item_")
    assert made.items() >= {"quantity": 3, "reserved": 0, "unit": "piece", "sku": None, "version": 1}.items()
    assert made["createdAt"].endswith("Z")
    read = await ann.get(f"/inventory/{made['id']}")
    assert (read.json()["data"], read.headers["ETag"]) == (made, '"1"')


async def test_every_field_comes_back_as_it_was_sent(api: Api) -> None:
    ann = await api.person()
    body = {
        "name": "Ärger 茶 🍵 \\ % _ ' \" {} %s",
        "sku": "T-1",
        "category": "hot drinks",
        "quantity": 10**12,
        "unit": "kg",
        "lowStockThreshold": 0,
        "attributes": {"größe": [1, 2.5, None, True, {"deep": ["er"]}], "": "empty", "n": 10**20, "f": 0.1},
    }
    made = await item(ann, None, **body)
    read = (await ann.get(f"/inventory/{made['id']}")).json()["data"]
    assert read.items() >= body.items()


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"name": ""}, "/name"),
        ({"name": "  "}, "/name"),
        ({"name": "x" * 201}, "/name"),
        ({"name": None}, "/name"),
        ({"quantity": -1}, "/quantity"),
        ({"quantity": 10**12 + 1}, "/quantity"),
        ({"quantity": 10**30}, "/quantity"),
        ({"quantity": 1.5}, "/quantity"),
        ({"quantity": "1"}, "/quantity"),
        ({"quantity": True}, "/quantity"),
        ({"sku": ""}, "/sku"),
        ({"sku": "x" * 65}, "/sku"),
        ({"category": ["a"]}, "/category"),
        ({"unit": None}, "/unit"),
        ({"lowStockThreshold": -1}, "/lowStockThreshold"),
        ({"attributes": {f"a{n}": n for n in range(51)}}, "/attributes"),
        ({"attributes": {"words": "many " * 4000}}, "/attributes"),
        ({"attributes": "a"}, "/attributes"),
        ({"reserved": 1}, "/reserved"),
        ({"version": 7}, "/version"),
        ({"id": "item_x"}, "/id"),
    ],
)
async def test_what_cannot_be_counted_is_refused_wherever_it_is_sent(
    team: Company, change: dict[str, Any], pointer: str
) -> None:
    owner, good = team["owner"], {"name": "Tea", "quantity": 1}
    made = await item(owner, team.team, **good)
    answers = [
        await owner.post("/inventory", {**good, **change, "teamId": team.team}),
        await owner.put(f"/inventory/{made['id']}", {**good, **change}),
        await owner.patch(f"/inventory/{made['id']}", change),
    ]
    for answer in answers:
        [error] = problem(answer, 422, "invalid")["errors"]
        assert error["pointer"] == pointer
    assert (await owner.get(f"/inventory/{made['id']}")).json()["data"] == made


async def test_put_replaces_the_whole_and_patch_only_what_it_names(api: Api) -> None:
    ann = await api.person()
    made = await item(ann, None, sku="T-1", category="hot", lowStockThreshold=5, attributes={"a": 1})
    path = f"/inventory/{made['id']}"
    patched = (await ann.patch(path, {"category": None, "attributes": {"b": 2}})).json()["data"]
    varies = ("updatedAt", "version")
    same = {name: value for name, value in made.items() if name not in varies}
    expected = {**same, "category": None, "attributes": {"b": 2}}
    assert {name: value for name, value in patched.items() if name not in varies} == expected
    put = (await ann.put(path, {"name": "Tea", "quantity": 1})).json()["data"]
    assert put.items() >= {
        "name": "Tea", "quantity": 1, "sku": None, "lowStockThreshold": None, "attributes": {},
    }.items()  # fmt: skip
    assert (made["version"], patched["version"], put["version"]) == (1, 2, 3)
    assert put["createdAt"] == made["createdAt"]


async def test_a_change_that_changes_nothing_says_nothing(api: Api) -> None:
    ann = await api.person()
    made = await item(ann, sku="T-1")
    path = f"/inventory/{made['id']}"
    for answer in (
        await ann.patch(path, {"name": made["name"]}),
        await ann.patch(path, {}),
        await ann.post(f"{path}/adjust", {"delta": 0, "reason": "counted"}),
    ):
        assert (answer.status_code, answer.json()["data"], answer.headers["ETag"]) == (200, made, '"1"')
        assert "X-Stream-Position" not in answer.headers
    assert "X-Stream-Position" in (await ann.patch(path, {"name": "Other"})).headers


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
async def test_whoever_changed_first_wins_and_the_other_is_shown_how_it_is_now(
    team: Company, method: str
) -> None:
    made = await item(team["owner"], team.team)
    path = f"/inventory/{made['id']}"
    now = (await team["member"].patch(path, {"name": "First"}, headers={"If-Match": '"1"'})).json()["data"]
    body = None if method == "DELETE" else {"name": "Second", "quantity": 1}
    late = await team.call("owner", method, path, json=body, headers={"If-Match": '"1"'})
    refused = problem(late, 412, "stale_version")
    assert refused["current"] == now
    assert late.headers["ETag"] == '"2"'
    assert (await team["owner"].get(path)).json()["data"] == now
    again = await team.call("owner", method, path, json=body, headers={"If-Match": late.headers["ETag"]})
    assert again.status_code in (200, 204)


async def test_stock_is_not_moved_of_an_older_version_either(team: Company) -> None:
    made = await item(team["owner"], team.team)
    path, sold = f"/inventory/{made['id']}/adjust", {"delta": -1, "reason": "sold"}
    now = (await team["member"].post(path, sold, headers={"If-Match": '"1"'})).json()["data"]
    late = await team["owner"].post(path, sold, headers={"If-Match": '"1"'})
    assert problem(late, 412, "stale_version")["current"] == now
    assert (await team["owner"].get(f"/inventory/{made['id']}")).json()["data"] == now
    again = await team["owner"].post(path, sold, headers={"If-Match": late.headers["ETag"]})
    assert again.json()["data"]["quantity"] == now["quantity"] - 1


@pytest.mark.parametrize(
    ("given", "matches"),
    [
        ('"2", "1"', True),
        ('"7" ,, "1",', True),
        ('W/"1", "1"', True),
        ("*", True),
        ('W/"1"', False),
        ('"2", "3"', False),
        ('"x"', False),
        ('""', False),
        ('"01"', False),
        ('"a,b"', False),
        ('"-1"', False),
        ('"9999999999999999999999"', False),
    ],
)
async def test_if_match_takes_any_list_of_etags_and_compares_strongly(
    team: Company, given: str, matches: bool
) -> None:
    made = await item(team["owner"], team.team)
    headers = {"If-Match": given}
    answer = await team["owner"].patch(f"/inventory/{made['id']}", {"name": "x"}, headers=headers)
    if matches:
        assert answer.status_code == 200, answer.text
    else:
        assert problem(answer, 412, "stale_version")["current"] == made


async def test_a_list_may_come_in_several_headers(api: Api, team: Company) -> None:
    made, owner = await item(team["owner"], team.team), team["owner"]
    for tags, status in ((('"3"', '"2"'), 412), (('"2"', '"1"'), 200)):
        given = [("If-Match", tag) for tag in tags] + [("Authorization", f"Bearer {owner.token}")]
        path = f"/api/inventory/{made['id']}"
        answer = await api.http.patch(path, json={"name": "x"}, headers=given)
        assert answer.status_code == status, answer.text


@pytest.mark.parametrize("given", ["1", "ä", '"', '"1" "2"', '"1"x', '*, "1"', 'w/"1"', '"a b"', ""])
async def test_if_match_takes_nothing_else(team: Company, given: str) -> None:
    made = await item(team["owner"], team.team)
    headers = {"If-Match": given.encode()}
    answer = await team["owner"].patch(f"/inventory/{made['id']}", {"name": "x"}, headers=headers)
    problem(answer, 422, "invalid_if_match")
    headers = {"If-Match": b"*"}
    answer = await team["owner"].patch(f"/inventory/{made['id']}", {"name": "x"}, headers=headers)
    assert answer.status_code == 200


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("given", ['"1"', 'W/"1"', '"7", W/"1"', "*"])
async def test_who_has_it_as_it_is_is_not_sent_it_again(
    api: Api, team: Company, method: str, given: str
) -> None:
    path = f"/inventory/{(await item(team['owner'], team.team))['id']}"
    whole = await team["owner"].get(path)
    same = await team.call("owner", method, path, headers={"If-None-Match": given})
    assert (same.status_code, same.content) == (304, b"")
    kept = {"etag", "cache-control", "vary", "api-version", "ratelimit-policy", "x-content-type-options"}
    assert {name: same.headers[name] for name in kept} == {name: whole.headers[name] for name in kept}
    assert not {"content-type", "content-length", "transfer-encoding"} & set(same.headers)
    # The connection is still good for another request, and who had an older one is sent this one.
    await team["owner"].patch(path, {"name": "Other"})
    if given != "*":
        fresh = await team.call("owner", "GET", path, headers={"If-None-Match": given})
        assert (fresh.status_code, fresh.json()["data"]["name"]) == (200, "Other")


@pytest.mark.parametrize("given", ["1", '"2"', '"1', "ä", ""])
async def test_whoever_has_another_one_is_sent_it(team: Company, given: str) -> None:
    path = f"/inventory/{(await item(team['owner'], team.team))['id']}"
    answer = await team["owner"].get(path, headers={"If-None-Match": given.encode()})
    assert (answer.status_code, answer.json()["data"]["version"]) == (200, 1)
    # It is for reading: a change is not held up by it, and what is refused is refused as ever.
    changed = await team["owner"].patch(path, {"name": "x"}, headers={"If-None-Match": '"2"'})
    assert changed.status_code == 200
    missing = "/inventory/item_00000000000000000000000000"
    problem(await team["owner"].get(missing, headers={"If-None-Match": "*"}), 404, "not_found")


async def test_an_sku_is_unique_among_a_teams_present_items(team: Company) -> None:
    owner = team["owner"]
    first = await item(owner, team.team, sku="UNIQUE")
    other = await item(owner, team.team, sku="OTHER")
    body = {"name": "Tea", "quantity": 1, "sku": "UNIQUE"}
    problem(await owner.post("/inventory", {**body, "teamId": team.team}), 409, "sku_taken")
    problem(await owner.put(f"/inventory/{other['id']}", body), 409, "sku_taken")
    problem(await owner.patch(f"/inventory/{other['id']}", {"sku": "UNIQUE"}), 409, "sku_taken")
    assert (await owner.post("/inventory", body)).status_code == 201, "another team has its own"
    await owner.delete(f"/inventory/{first['id']}")
    assert (await owner.patch(f"/inventory/{other['id']}", {"sku": "UNIQUE"})).status_code == 200


async def test_stock_is_never_below_zero_however_it_is_asked_for(team: Company) -> None:
    made = await item(team["owner"], team.team, quantity=3)
    path = f"/inventory/{made['id']}"
    refused = problem(
        await team["member"].post(f"{path}/adjust", {"delta": -4, "reason": "sold"}),
        409,
        "insufficient_stock",
    )
    assert refused["available"] == 3
    assert refused["detail"] == "Only 3 left."
    sells = [team["member"].post(f"{path}/adjust", {"delta": -1, "reason": "sold"}) for _ in range(5)]
    answers = await asyncio.gather(*sells)
    assert sorted(answer.status_code for answer in answers) == [200, 200, 200, 409, 409]
    assert (await team["owner"].get(path)).json()["data"]["quantity"] == 0
    most = {"delta": 10**12, "reason": "found"}
    assert (await team["member"].post(f"{path}/adjust", most)).status_code == 200
    problem(await team["member"].post(f"{path}/adjust", most), 409, "quantity_too_large")


async def test_an_adjustment_may_insist_on_the_quantity_before(team: Company) -> None:
    made = await item(team["owner"], team.team, quantity=3)
    path = f"/inventory/{made['id']}/adjust"
    body = {"delta": 2, "reason": "delivery", "expectedQuantity": 3}
    done = await team["member"].post(path, body)
    assert (done.json()["data"]["quantity"], done.headers["ETag"]) == (5, '"2"')
    refused = problem(await team["member"].post(path, body), 409, "unexpected_quantity")
    assert refused["quantity"] == 5


async def test_the_movements_of_an_item_add_up_to_its_quantity(team: Company) -> None:
    owner = team["owner"]
    made = await item(owner, team.team, quantity=10)
    path = f"/inventory/{made['id']}"
    await team["member"].post(f"{path}/adjust", {"delta": -3, "reason": "sold", "reference": "order 7"})
    await owner.patch(path, {"quantity": 20})
    await owner.patch(path, {"name": "Renamed"})
    seen: list[dict[str, Any]] = []
    cursor = ""
    while True:
        page = (await owner.get(f"{path}/movements?limit=1{cursor}")).json()
        seen += page["data"]
        if page["nextCursor"] is None:
            break
        cursor = f"&cursor={page['nextCursor']}"
    assert [(move["delta"], move["quantityAfter"], move["reason"]) for move in seen] == [
        (13, 20, "set"), (-3, 7, "sold"), (10, 10, "created"),
    ]  # fmt: skip
    assert seen[1]["reference"] == "order 7"
    assert [move["actor"] for move in seen] == [owner.id, team["member"].id, owner.id]


async def test_a_deleted_item_is_gone_for_everyone(team: Company) -> None:
    made = await item(team["owner"], team.team)
    path = f"/inventory/{made['id']}"
    gone = await team["member"].delete(path)
    assert (gone.status_code, gone.content) == (204, b"")
    for answer in (
        await team["owner"].get(path),
        await team["owner"].patch(path, {"name": "x"}),
        await team["owner"].delete(path),
        await team["owner"].get(f"{path}/movements"),
    ):
        problem(answer, 404, "not_found")
    listed = (await team["owner"].get(f"/inventory?teamId={team.team}&limit=100")).json()["data"]
    assert listed, "others are still there"
    assert made["id"] not in [thing["id"] for thing in listed]


async def test_filters_take_every_character_literally(api: Api) -> None:
    ann = await api.person()
    for name, sku, category in (
        ("100% wool", "A_1", "soft"), ("100 wool", "A11", "soft"),
        ("a_b", "B\\1", None), ("axb", "b%", "hard"),
    ):  # fmt: skip
        await item(ann, None, name=name, sku=sku, category=category)
    assert await names(ann, "query=0%25") == ["100% wool"]
    assert await names(ann, "query=a_b") == ["a_b"]
    assert await names(ann, "query=A_1") == ["100% wool"], "an SKU from its beginning"
    assert await names(ann, "query=%5C") == [], "a backslash is no escape"
    assert await names(ann, "query=B%5C") == ["a_b"]
    assert sorted(await names(ann, "query=WOOL")) == ["100 wool", "100% wool"]
    assert await names(ann, "query=wool&category=hard") == []
    assert sorted(await names(ann, "category=soft")) == ["100 wool", "100% wool"]
    assert len(await names(ann, "query=")) == 4


async def test_below_threshold_shows_what_runs_low(api: Api) -> None:
    ann = await api.person()
    for name, quantity, threshold in (
        ("low", 2, 5),
        ("at it", 5, 5),
        ("plenty", 6, 5),
        ("no threshold", 0, None),
    ):
        await item(ann, None, name=name, quantity=quantity, lowStockThreshold=threshold)
    assert sorted(await names(ann, "belowThreshold=true")) == ["at it", "low"]
    assert len(await names(ann, "belowThreshold=false")) == 4
