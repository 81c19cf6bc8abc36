"""The audit trail: who did what, read back with filters."""

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest

from tests.app.company import Company, problem
from tests.factories import PASSWORD, Api, Person, item

FIELDS = {
    "id", "seq", "teamId", "userId", "action", "resourceType", "resource", "timestamp", "metadata", "changes",
    "outcome", "requestId", "sessionId", "keyId", "ip", "userAgent",
}  # fmt: skip


async def rows(reader: Person, team: str, query: str = "") -> list[dict[str, Any]]:
    """What the trail has, but for what reading it here has left there."""
    answer = await reader.get(f"/audit-logs?limit=100&teamId={team}&{query}")
    assert answer.status_code == 200, answer.text
    data: list[dict[str, Any]] = answer.json()["data"]
    return [row for row in data if row["action"] != "audit_logs.read"]


@pytest.fixture(scope="module")
async def busy(team: Company) -> dict[str, Any]:
    """A team in which a few things happened: the item it happened to, and the moment in between."""
    beans = await item(team["owner"], team.team, name="Beans", quantity=10)
    between = datetime.now(UTC)
    await team["member"].post(
        f"/inventory/{beans['id']}/adjust",
        {"delta": -3, "reason": "sold walnuts", "reference": "order 7"},
        headers={"X-Request-Id": "request-of-a-sale", "User-Agent": "a till"},
    )
    await team["admin"].patch(f"/inventory/{beans['id']}", {"name": "Green beans"})
    return {"item": beans["id"], "between": between}


async def test_a_row_tells_who_did_what_to_which_thing_from_where(
    team: Company, busy: dict[str, Any]
) -> None:
    [row] = await rows(team["owner"], team.team, "action=inventory.adjusted")
    assert set(row) == FIELDS
    expected = {
        "teamId": team.team,
        "userId": team["member"].id,
        "sessionId": team["member"].session_id,
        "keyId": None,
        "resourceType": "item",
        "resource": busy["item"],
        "outcome": "success",
        "requestId": "request-of-a-sale",
        "ip": "127.0.0.1",
        "userAgent": "a till",
        "metadata": {"reason": "sold walnuts", "reference": "order 7"},
        "changes": {"quantity": {"before": 10, "after": 7}},
    }
    assert {name: row[name] for name in expected} == expected


async def test_a_trail_is_dense_and_newest_first(team: Company, busy: dict[str, Any]) -> None:
    trail = await rows(team["owner"], team.team)
    everything = await team["owner"].get(f"/audit-logs?limit=100&teamId={team.team}")
    seqs = [row["seq"] for row in everything.json()["data"]]
    assert seqs == list(range(len(seqs), 0, -1))
    times = [row["timestamp"] for row in trail]
    assert times == sorted(times, reverse=True)
    assert {"teams.created", "teams.member_added", "inventory.created"} <= {row["action"] for row in trail}


async def test_each_filter_lets_through_what_matches_and_nothing_else(
    team: Company, busy: dict[str, Any]
) -> None:
    trail = await rows(team["owner"], team.team)
    member = team["member"].id
    between = quote(busy["between"].isoformat())
    filters = {
        f"actor={member}": lambda row: row["userId"] == member,
        "actor=me": lambda row: row["userId"] == team["owner"].id,
        "action=inventory.changed": lambda row: row["action"] == "inventory.changed",
        f"resource={busy['item']}": lambda row: row["resource"] == busy["item"],
        "resource=item": lambda row: row["resourceType"] == "item",
        "query=walnuts": lambda row: row["metadata"].get("reason") == "sold walnuts",
        "query=adjusted": lambda row: row["action"] == "inventory.adjusted",
        f"from={between}": lambda row: row["action"] in ("inventory.adjusted", "inventory.changed"),
        f"to={between}": lambda row: row["action"] not in ("inventory.adjusted", "inventory.changed"),
        f"resource=item&actor={member}": lambda row: row["action"] == "inventory.adjusted",
    }
    for query, matches in filters.items():
        expected = [row for row in trail if matches(row)]
        assert expected, query
        assert len(expected) < len(trail), f"{query} must leave something out for this to mean anything"
        assert await rows(team["owner"], team.team, query) == expected, query
    for everything in ("outcome=success", "ip=127.0.0.1", "from=0001-01-01T00:00:00Z", "query="):
        matched = await rows(team["owner"], team.team, everything)
        assert matched == (trail if everything != "query=" else []), everything
    for nothing in ("outcome=denied", "ip=127.0.0.2", "from=9999-12-31T23:59:59Z", "action=x", "actor=x"):
        assert await rows(team["owner"], team.team, nothing) == [], nothing


async def test_a_walk_through_a_filtered_trail_has_every_row_once(
    team: Company, busy: dict[str, Any]
) -> None:
    path = f"/audit-logs?teamId={team.team}&action=teams.member_added&limit=1"
    seen: list[str] = []
    cursor = ""
    while True:
        page = (await team["owner"].get(f"{path}{cursor}")).json()
        seen += [row["id"] for row in page["data"]]
        await item(team["owner"], team.team)
        if page["nextCursor"] is None:
            break
        cursor = f"&cursor={page['nextCursor']}"
    assert seen == [row["id"] for row in await rows(team["owner"], team.team, "action=teams.member_added")]
    assert len(seen) == 3


@pytest.mark.parametrize(
    "time",
    [
        "2026-01-01", "2026-01-01T00:00:00", "123", "1e400", "nan", "2026-02-30T00:00:00Z", "yesterday", "",
        "2026-01-01T00:00:00%2B25:00", "0001-01-01T00:00:00%2B14:00", "9999-12-31T23:59:59-14:00",
        "2026-01-01T00:00:00+01:00", "10000-01-01T00:00:00Z", "-0001-01-01T00:00:00Z",
    ],
)  # fmt: skip
@pytest.mark.parametrize("side", ["from", "to"])
async def test_a_time_has_its_offset_and_is_in_the_calendar(team: Company, side: str, time: str) -> None:
    answer = await team["owner"].get(f"/audit-logs?teamId={team.team}&{side}={time}")
    assert problem(answer, 422, "invalid")["errors"][0]["pointer"] == f"/{side}"


async def test_a_time_may_be_in_any_zone(team: Company, busy: dict[str, Any]) -> None:
    after = await rows(team["owner"], team.team, f"from={quote(busy['between'].isoformat())}")
    assert after
    for hours in (-12, 5, 14):
        local = (busy["between"] + timedelta(hours=hours)).strftime("%Y-%m-%dT%H:%M:%S.%f")
        offset = f"{'-' if hours < 0 else '%2B'}{abs(hours):02}:00"
        assert await rows(team["owner"], team.team, f"from={local}{offset}") == after


async def test_signing_in_and_failing_to_is_in_the_trail_of_ones_own_team(api: Api) -> None:
    ann, bob = await api.person(), await api.person("Bob")
    assert await rows(ann, ann.personal_team_id, "outcome=denied") == []
    login = {"email": ann.email.upper(), "password": "wrong"}
    refused = await api.call("POST", "/auth/login", json=login)
    problem(refused, 401, "wrong_credentials")
    [denied] = await rows(ann, ann.personal_team_id, "outcome=denied")
    assert (
        denied.items()
        >= {
            "action": "auth.login_failed",
            "resource": ann.id,
            "userId": None,
            "ip": "127.0.0.1",
            "requestId": refused.headers["X-Request-Id"],
        }.items()
    )
    await api.call("POST", "/auth/login", json={**login, "password": PASSWORD})
    renewed = await ann.post("/auth/refresh", {"refreshToken": ann.refresh_token})
    await ann.post("/auth/refresh", {"refreshToken": renewed.json()["data"]["refreshToken"]})
    await ann.post("/auth/refresh", {"refreshToken": ann.refresh_token})
    again = await api.call("POST", "/auth/login", json={**login, "password": PASSWORD})
    ann.token = again.json()["data"]["accessToken"]
    trail = await rows(ann, ann.personal_team_id)
    assert [row["action"] for row in trail] == [
        "auth.logged_in", "auth.session_revoked", "auth.logged_in", "auth.login_failed", "auth.registered",
        "teams.created",
    ]  # fmt: skip
    assert trail[1]["metadata"] == {"reason": "refresh_token_reused"}
    assert "denied" not in {row["outcome"] for row in await rows(bob, bob.personal_team_id)}
