"""Beside the authorization matrix (tests/authz/): fields, removals, and keys without scopes."""

from tests.app.company import Company, problem
from tests.factories import item
from tests.keys import new_key


async def test_a_thing_is_not_moved_into_another_team_by_a_field(team: Company) -> None:
    mine = await item(team["owner"], team.team)
    for method in ("PUT", "PATCH"):
        body = {"name": "Tea", "quantity": 1, "teamId": team["stranger"].personal_team_id}
        answer = await team.call("owner", method, f"/inventory/{mine['id']}", json=body)
        refused = problem(answer, 422, "invalid")
        assert refused["errors"][0]["pointer"] == "/teamId"
        assert refused["errors"][0]["code"] == "unknown_field"


async def test_a_removed_member_may_nothing_from_that_moment_on(team: Company) -> None:
    joiner = await team.api.person("Joiner")
    await team["owner"].post(f"/teams/{team.team}/members", {"userId": joiner.id, "role": "member"})
    thing = await item(joiner, team.team)
    assert (await joiner.get(f"/inventory/{thing['id']}")).status_code == 200
    assert (await team["owner"].delete(f"/teams/{team.team}/members/{joiner.id}")).status_code == 204
    problem(await joiner.get(f"/inventory/{thing['id']}"), 404, "not_found")
    problem(await joiner.patch(f"/inventory/{thing['id']}", {"name": "x"}), 404, "not_found")
    problem(await joiner.get(f"/users/{team['owner'].id}"), 404, "not_found")


async def test_a_key_without_scopes_knows_who_it_is_and_nothing_else(team: Company) -> None:
    key = await new_key(team["owner"])
    thing = await item(team["owner"], team.team)
    assert (await team.api.call("GET", "/users/me", token=key["key"])).status_code == 200
    for path in ("/teams", "/inventory", f"/inventory/{thing['id']}", f"/users/{team['owner'].id}"):
        problem(await team.api.call("GET", path, token=key["key"]), 403, "missing_scope")
