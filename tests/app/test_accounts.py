"""Accounts as a whole: profiles, a copy of all that is kept, closing one's own, staff."""

import asyncio
import json
import secrets
from typing import Any

import asyncpg
import pytest

from domain import db
from tests.app.company import bare, company, problem
from tests.app.mailing import kinds, mail_of, settled
from tests.app.signing_in import login, refresh, signed_in
from tests.app.under_way import verified
from tests.factories import PASSWORD, Api, Person, item
from tests.mailbox import Mailbox, text


async def staff(api: Api) -> Person:
    person = await api.person("Staff")
    await db.execute("UPDATE users SET is_staff = true WHERE id = $1", person.id)
    return person


async def test_a_profile_comes_with_the_account_and_is_replaced_as_a_whole(api: Api) -> None:
    ann = await api.person()
    empty = await ann.get("/users/me/profile")
    assert empty.json()["data"]["bio"] == ""
    assert empty.json()["data"]["preferences"] == {}
    body = {"bio": "Counts beans", "avatarUrl": "https://cdn.example/a.png", "preferences": {"theme": "dark"}}
    put = await ann.put("/users/me/profile", body)
    assert put.json()["data"] == {**put.json()["data"], **body, "version": 2}
    again = await ann.put("/users/me/profile", body)
    assert again.json()["data"] == put.json()["data"]
    assert "X-Stream-Position" not in again.headers, "what changes nothing says nothing"
    assert put.headers["X-Stream-Position"].startswith(f"user:{ann.id}@")
    stale = await ann.put("/users/me/profile", {"bio": "x"}, headers={"If-Match": empty.headers["ETag"]})
    problem(stale, 412, "stale_version")
    assert (await ann.put("/users/me/profile", {})).json()["data"]["avatarUrl"] is None


@pytest.mark.parametrize(
    "body",
    [
        {"bio": "x" * 2001},
        {"avatarUrl": "javascript:alert(1)"},
        {"avatarUrl": "https://a.example/\n"},
        {"preferences": []},
        {"preferences": {"x": "y" * 17_000}},
        {"userId": "user_1"},
        {"isStaff": True},
    ],
)
async def test_a_profile_takes_nothing_else(api: Api, body: dict[str, Any]) -> None:
    problem(await (await api.person()).put("/users/me/profile", body), 422, "invalid")


async def test_a_copy_has_all_that_is_kept_and_nothing_secret(api: Api) -> None:
    ann = await api.person()
    team = await api.team(ann)
    await login(api, ann.email)
    copy = await ann.post("/users/me/export")
    data = copy.json()["data"]
    assert data["user"]["email"] == ann.email
    assert {each["id"] for each in data["teams"]} == {ann.personal_team_id, team}
    assert len(data["sessions"]) == 2
    assert {"auth.registered", "teams.created", "users.exported"} <= {row["action"] for row in data["trail"]}
    for secret in ("argon2", ann.refresh_token, "mrt_"):
        assert secret not in copy.text


async def test_closing_an_account_signs_out_everywhere_and_forgets_the_person(api: Api) -> None:
    people = await company(api)
    ann = people["member"]
    made = await item(ann, people.team, name="Made by Ann")
    elsewhere = (await login(api, ann.email)).json()["data"]
    alone = await api.team(ann)

    assert (await ann.delete("/users/me")).status_code == 204

    assert [await signed_in(api, token) for token in (ann.token, elsewhere["accessToken"])] == [False, False]
    problem(await refresh(api, ann.refresh_token), 401, "invalid_refresh_token")
    problem(await login(api, ann.email), 401, "wrong_credentials")
    kept = await people["owner"].get(f"/inventory/{made['id']}")
    assert kept.json()["data"]["name"] == "Made by Ann"
    members = (await people["owner"].get(f"/teams/{people.team}/members")).json()["data"]
    assert ann.id not in {member["userId"] for member in members}
    trail = (await people["owner"].get(f"/audit-logs?teamId={people.team}&limit=100")).json()["data"]
    assert any(row["userId"] == ann.id for row in trail), "what was done stays done"
    row = await db.fetchrow("SELECT * FROM users WHERE id = $1", ann.id)
    assert row is not None
    assert (row["name"], row["password_hash"]) == ("Deleted user", None)
    assert ann.email not in json.dumps(dict(row), default=str)
    assert await db.fetchval("SELECT deleted_at FROM teams WHERE id = $1", alone) is not None
    again = await api.call(
        "POST", "/auth/register", json={"email": ann.email, "password": PASSWORD, "name": "Ann"}
    )
    assert again.status_code == 201, "the address is free again"
    assert again.json()["data"]["user"]["id"] != ann.id


async def test_the_address_of_an_account_that_is_closed_is_told(api: Api, mailbox: Mailbox) -> None:
    ann = await verified(await api.person())
    agent = {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0"}
    assert (await ann.delete("/users/me", headers=agent)).status_code == 204
    said = text(await mail_of(mailbox, ann.email, "closed"))
    assert "with Firefox on Linux, from 127.0.0.1" in said


async def test_who_closes_accounts_with_an_address_that_is_not_theirs_floods_nobody(
    api: Api, mailbox: Mailbox
) -> None:
    email = f"{secrets.token_hex(6)}@example.org"
    for _ in range(3):
        body = {"email": email, "password": PASSWORD, "name": "Eve"}
        made = await api.call("POST", "/auth/register", json=body)
        token = made.json()["data"]["accessToken"]
        assert (await api.call("DELETE", "/users/me", token=token)).status_code == 204
    await settled()
    assert kinds(mailbox, email).count("closed") == 1


async def test_the_trail_of_a_closed_account_keeps_what_it_said(api: Api) -> None:
    """Its rows are append only, so docs/identity/sessions.md has to say it."""
    ann = await api.person("Before")
    assert (await ann.patch("/users/me", {"name": "After"})).status_code == 200
    assert (await ann.delete("/users/me")).status_code == 204
    changes = await db.fetch("SELECT changes FROM audit_logs WHERE user_id = $1", ann.id)
    assert {"name": {"before": "Before", "after": "After"}} in [row["changes"] for row in changes]
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await db.execute("UPDATE audit_logs SET changes = '{}' WHERE user_id = $1", ann.id)


async def test_teams_that_would_have_no_owner_are_named_and_nothing_is_closed(api: Api) -> None:
    ann, ben = await api.person(), await api.person("Ben")
    team = await api.team(ann, member=ben)
    refused = problem(await ann.delete("/users/me"), 409, "sole_owner")
    assert [each["id"] for each in refused["teams"]] == [team]
    assert await signed_in(api, ann.token)
    await ann.put(f"/teams/{team}/members/{ben.id}", {"role": "owner"})
    assert (await ann.delete("/users/me")).status_code == 204
    assert (await ben.get(f"/teams/{team}")).json()["data"]["ownerId"] == ben.id


async def test_owners_who_all_leave_at_once_leave_one(api: Api) -> None:
    ann, ben, guest = [await api.person(name) for name in ("Ann", "Ben", "Guest")]
    team = await api.team(ann, admin=ben, member=guest)
    assert (await ann.put(f"/teams/{team}/members/{ben.id}", {"role": "owner"})).status_code == 200
    answers = await asyncio.gather(ann.delete("/users/me"), ben.delete("/users/me"))
    assert sorted(answer.status_code for answer in answers) == [204, 409]
    owners = await db.fetchval(
        "SELECT count(*) FROM team_members WHERE team_id = $1 AND role = 'owner'", team
    )
    assert owners == 1


async def test_nobody_joins_a_team_while_their_account_is_being_closed(api: Api) -> None:
    ann, ben = await api.person(), await api.person("Ben")
    teams = [await api.team(ann) for _ in range(6)]
    body = {"userId": ben.id, "role": "member"}
    await asyncio.gather(
        *(ann.post(f"/teams/{team}/members", body) for team in teams), ben.delete("/users/me")
    )
    if not await signed_in(api, ben.token):
        left = await db.fetchval("SELECT count(*) FROM team_members WHERE user_id = $1", ben.id)
        assert left == 0


async def test_staff_sees_searches_and_shuts_accounts(api: Api) -> None:
    boss, ann = await staff(api), await api.person("Needle-in-hay%stack")
    found = (await boss.get("/users?query=hay%25st")).json()["data"]
    assert [user["id"] for user in found] == [ann.id]
    assert (await boss.get("/users?query=h_y")).json()["data"] == []
    assert [user["id"] for user in (await boss.get(f"/users?query={ann.email[:-3]}")).json()["data"]] == [
        ann.id
    ]
    page = (await boss.get("/users?limit=1")).json()
    assert page["nextCursor"] is not None

    shut = await boss.patch(f"/users/{ann.id}", {"disabled": True})
    assert shut.json()["data"]["disabledAt"] is not None
    assert not await signed_in(api, ann.token)
    assert bare(await login(api, ann.email)) == bare(await login(api, "x" + ann.email))
    again = await boss.patch(f"/users/{ann.id}", {"disabled": True})
    assert again.json()["data"] == shut.json()["data"]
    assert (await boss.patch(f"/users/{ann.id}", {"disabled": False})).json()["data"]["disabledAt"] is None
    assert (await login(api, ann.email)).status_code == 200
    late = await boss.patch(
        f"/users/{ann.id}", {"disabled": True}, headers={"If-Match": shut.headers["ETag"]}
    )
    assert problem(late, 412, "stale_version")["current"]["disabledAt"] is None
    problem(await boss.patch(f"/users/{boss.id}", {"disabled": True}), 409, "own_account")
    problem(await boss.patch("/users/user_00000000000000000000000000", {"disabled": True}), 404, "not_found")


async def test_nobody_else_does(api: Api) -> None:
    ann, ben = await api.person(), await api.person("Ben")
    problem(await ann.get("/users"), 403, "staff_only")
    problem(await ann.patch(f"/users/{ben.id}", {"disabled": True}), 403, "staff_only")
    assert bare(await ann.patch("/users/user_x", {"disabled": True})) == bare(
        await ann.patch(f"/users/{ben.id}", {"disabled": True})
    )
