"""Teams that go and come back: absent for everything at once, restored as they were, purged in the end."""

from datetime import timedelta
from typing import Any

import pytest

from domain import db, ids
from domain.clock import now
from domain.teams import deletion, membership
from tests.app.company import Company, bare, company, problem
from tests.factories import Api, Person, item
from tests.keys import by, new_key, opens


async def listed(person: Person, query: str = "") -> list[str]:
    """The ids of the teams in their list."""
    return [team["id"] for team in (await person.get(f"/teams?limit=100{query}")).json()["data"]]


async def delete(owner: Person, team: str) -> None:
    answer = await owner.delete(f"/teams/{team}")
    assert answer.status_code == 204, answer.text


async def age(team: str, **ago: float) -> None:
    """As if it had been deleted so long ago."""
    await db.execute("UPDATE teams SET deleted_at = $2 WHERE id = $1", team, now() - timedelta(**ago))


async def test_a_deleted_team_is_absent_for_everything(api: Api) -> None:
    team = await company(api)
    owner, place = team["owner"], f"/teams/{team.team}"
    beans = await item(owner, team.team)
    absent = ids.new("team")
    await delete(owner, team.team)
    asked: list[tuple[str, str, Any]] = [
        ("GET", "/teams/{team}", None),
        ("PUT", "/teams/{team}", {"name": "Mine"}),
        ("DELETE", "/teams/{team}", None),
        ("GET", "/teams/{team}/members", None),
        ("POST", "/teams/{team}/members", {"userId": team["stranger"].id, "role": "viewer"}),
        ("PUT", f"/teams/{{team}}/members/{team['viewer'].id}", {"role": "member"}),
        ("DELETE", f"/teams/{{team}}/members/{team['viewer'].id}", None),
        ("POST", "/teams/{team}/transfer", {"userId": team["admin"].id}),
        ("GET", "/teams/{team}/transfer", None),
        ("GET", "/inventory?teamId={team}", None),
        ("POST", "/inventory", {"name": "Tea", "quantity": 1, "teamId": "{team}"}),
        ("GET", "/audit-logs?teamId={team}", None),
    ]
    for method, path, body in asked:
        answers = [
            await api.call(
                method,
                path.format(team=which),
                token=owner.token,
                json={name: which if value == "{team}" else value for name, value in body.items()}
                if body
                else None,
            )
            for which in (team.team, absent)
        ]
        problem(answers[0], 404, "not_found")
        assert bare(answers[0]) == bare(answers[1]), f"{method} {path}"
    problem(await owner.get(f"/inventory/{beans['id']}"), 404, "not_found")
    problem(await owner.get(f"/users/{team['viewer'].id}"), 404, "not_found")
    for role in ("viewer", "member", "admin"):
        problem(await team[role].get(place), 404, "not_found")
        assert await listed(team[role], "&deleted=true") == [], "it is not theirs to restore"
    assert team.team not in await listed(owner)
    assert await listed(owner, "&deleted=true") == [team.team]


async def test_what_is_restored_is_as_it_was(api: Api) -> None:
    team = await company(api)
    owner, place = team["owner"], f"/teams/{team.team}"
    beans = await item(owner, team.team)
    key = await new_key(owner, "inventory:read", teamId=team.team)
    before = (await owner.get(place)).json()["data"]
    people = (await owner.get(f"{place}/members")).json()["data"]
    await delete(owner, team.team)
    assert not await opens(api, key["key"]), "its keys are dead"
    late = await owner.post(f"{place}/restore", headers={"If-Match": f'"{before["version"]}"'})
    [deleted] = (await owner.get("/teams?deleted=true")).json()["data"]
    assert problem(late, 412, "stale_version")["current"] == deleted
    assert late.headers["ETag"] == f'"{deleted["version"]}"'
    restored = await owner.post(f"{place}/restore", headers={"If-Match": late.headers["ETag"]})
    assert restored.status_code == 200, restored.text
    after = restored.json()["data"]
    assert restored.headers["ETag"] == f'"{after["version"]}"'
    same = {"version", "updatedAt"}
    assert {k: v for k, v in after.items() if k not in same} == {
        k: v for k, v in before.items() if k not in same
    }
    assert after["version"] == before["version"] + 2
    assert (await owner.get(f"{place}/members")).json()["data"] == people
    assert (await team["viewer"].get(f"/inventory/{beans['id']}")).json()["data"]["quantity"] == 10
    assert (await by(key, owner, "GET", f"/inventory/{beans['id']}")).status_code == 200
    acts = [row["action"] for row in (await owner.get(f"/audit-logs?teamId={team.team}")).json()["data"]]
    assert acts[:3] == ["teams.restored", "auth.api_key_refused", "teams.deleted"]


async def test_only_an_owner_deletes_and_restores(api: Api) -> None:
    team = await company(api)
    place = f"/teams/{team.team}"
    for role in ("viewer", "member", "admin"):
        problem(await team[role].delete(place), 403, "forbidden")
    problem(await team["owner"].post(f"{place}/restore"), 409, "not_deleted")
    await delete(team["owner"], team.team)
    for role in ("viewer", "member", "admin", "stranger"):
        problem(await team[role].post(f"{place}/restore"), 404, "not_found")
    assert (await team["owner"].post(f"{place}/restore")).status_code == 200


async def test_a_personal_team_is_not_deleted(api: Api) -> None:
    ann, bob = await api.person(), await api.person("Bob")
    await ann.post(f"/teams/{ann.personal_team_id}/members", {"userId": bob.id, "role": "owner"})
    for who in (ann, bob):
        problem(await who.delete(f"/teams/{ann.personal_team_id}"), 409, "personal_team")


async def test_restoring_is_possible_for_thirty_days_and_then_the_team_is_purged(api: Api) -> None:
    ann, bob = await api.person(), await api.person("Bob")
    team, other = await api.team(ann, member=bob), await api.team(ann)
    slug = f"slug-{team[-8:]}"
    await ann.put(f"/teams/{team}", {"name": "Secret", "slug": slug, "metadata": {"a": "secret"}})
    for one in (team, other):
        await delete(ann, one)
    await age(other, days=29, hours=23)
    await age(team, days=30, seconds=1)
    await deletion.purge()
    problem(await ann.post(f"/teams/{team}/restore"), 404, "not_found")
    assert await listed(ann, "&deleted=true") == [other]
    row = await db.fetchrow("SELECT * FROM teams WHERE id = $1", team)
    assert row is not None
    assert (row["name"], row["slug"], row["metadata"]) == (deletion.PURGED_NAME, team, {})
    assert await db.fetchval("SELECT count(*) FROM team_members WHERE team_id = $1", team) == 0
    reused = await bob.put(f"/teams/{await api.team(bob)}", {"name": "Bob's", "slug": slug})
    assert reused.status_code == 200, "the slug is free now"
    trail = await db.fetch("SELECT action, user_id FROM audit_logs WHERE team_id = $1 ORDER BY seq", team)
    assert [tuple(row) for row in trail[-2:]] == [("teams.deleted", ann.id), ("teams.purged", None)]
    await deletion.purge()
    assert await db.fetchval("SELECT count(*) FROM audit_logs WHERE team_id = $1", team) == len(trail)
    assert (await ann.post(f"/teams/{other}/restore")).status_code == 200


async def test_the_slug_of_a_deleted_team_is_kept_for_it(api: Api) -> None:
    ann, bob = await api.person(), await api.person("Bob")
    team = await api.team(ann)
    slug = (await ann.get(f"/teams/{team}")).json()["data"]["slug"]
    await delete(ann, team)
    problem(await bob.post("/teams", {"name": "Mine", "slug": slug}), 409, "slug_taken")


async def test_too_late_is_too_late_also_before_the_purge(api: Api) -> None:
    ann = await api.person()
    team = await api.team(ann)
    await delete(ann, team)
    await age(team, days=30, seconds=1)
    problem(await ann.post(f"/teams/{team}/restore"), 404, "not_found")
    assert await listed(ann, "&deleted=true") == []


async def test_who_is_in_as_many_teams_as_one_may_restores_none(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = await api.person()
    team = await api.team(ann)
    await delete(ann, team)
    monkeypatch.setattr(membership, "TEAMS_MAX", 1)
    problem(await ann.post(f"/teams/{team}/restore"), 409, "too_many_teams")
    monkeypatch.setattr(membership, "TEAMS_MAX", 2)
    assert (await ann.post(f"/teams/{team}/restore")).status_code == 200


async def test_an_account_that_is_closed_leaves_deleted_teams_too(api: Api) -> None:
    ann, bob, cid = await api.person(), await api.person("Bob"), await api.person("Cid")
    shared, sole = await api.team(ann, admin=bob, member=cid), await api.team(ann, member=cid)
    await ann.put(f"/teams/{shared}/members/{bob.id}", {"role": "owner"})
    for team in (shared, sole):
        await delete(ann, team)
    assert (await ann.delete("/users/me")).status_code == 204
    restored = await bob.post(f"/teams/{shared}/restore")
    assert restored.json()["data"]["ownerId"] == bob.id, "the owner of record is somebody who is there"
    members = (await bob.get(f"/teams/{shared}/members")).json()["data"]
    assert {member["userId"] for member in members} == {bob.id, cid.id}
    problem(await cid.post(f"/teams/{sole}/restore"), 404, "not_found")


async def test_deleted_is_deleted_once(team: Company) -> None:
    mine = await team.api.team(team["owner"])
    await delete(team["owner"], mine)
    problem(await team["owner"].delete(f"/teams/{mine}"), 404, "not_found")
