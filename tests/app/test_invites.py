"""Invitations, as those see them who manage them: made, listed, mailed again, taken back."""

import asyncio
from datetime import datetime, timedelta
from typing import Any

import pytest

from domain import db
from domain.teams import invite_mails, invites
from tests.app.company import Company, bare, company, problem
from tests.app.inviting import address, confirmed, invitations, invited, token_for, too_late
from tests.app.mailing import settled
from tests.factories import Api, Person
from tests.keys import by, new_key, trail
from tests.listener import Listeners
from tests.mailbox import Mailbox, text
from tests.statements import Statements


async def listed(person: Person, team: str, query: str = "") -> dict[str, str]:
    """The team's invitations: what became of each."""
    answer = await person.get(f"/teams/{team}/invites?limit=100{query}")
    assert answer.status_code == 200, answer.text
    assert answer.json()["position"]["channel"] == f"team:{team}"
    return {invite["id"]: invite["status"] for invite in answer.json()["data"]}


async def test_an_invitation_is_made_listed_and_mailed(api: Api, mailbox: Mailbox, url: str) -> None:
    ann, email = await api.person(), address()
    team = await api.team(ann)
    answer = await ann.post(f"/teams/{team}/invites", {"email": email, "role": "admin"})
    assert answer.status_code == 201
    made = answer.json()["data"]
    assert answer.headers["Location"] == f"/api/teams/{team}/invites/{made['id']}"
    assert made["id"].startswith("inv_")
    wanted = {"teamId": team, "email": email, "role": "admin", "status": "pending", "invitedBy": ann.id}
    assert made.items() >= wanted.items()
    created, expires = (datetime.fromisoformat(made[name]) for name in ("createdAt", "expiresAt"))
    assert expires - created == timedelta(days=7)
    assert (await ann.get(f"/teams/{team}/invites")).json()["data"] == [made]
    [mail] = await invitations(mailbox, email)
    assert mail["Subject"] == "Ann invites you to Coffee corner"
    said = text(mail)
    assert "Ann invites you to the team Coffee corner, as admin. You have seven days" in said
    assert f"{url}/auth/team-invite#token={await token_for(mailbox, email)}" in said
    assert ann.email not in said


async def test_a_name_that_leads_somewhere_is_not_in_the_mail(api: Api, mailbox: Mailbox) -> None:
    eve, email = await api.person(), address()
    await eve.patch("/users/me", {"name": "Win at https://evil.example"})
    team = (await eve.post("/teams", {"name": "www.evil.example"})).json()["teamId"]
    await invited(eve, team, email)
    [mail] = await invitations(mailbox, email)
    assert mail["Subject"] == "Somebody invites you to a team"
    assert "evil" not in text(mail)


async def test_the_trail_keeps_the_address_and_the_teams_news_do_not(
    api: Api, url: str, listeners: Listeners
) -> None:
    ann, bob, email = await api.person(), await api.person("Bob"), address()
    team = await api.team(ann, viewer=bob)
    bobs = await listeners(url, bob.token)
    await bobs.until(lambda: ("joined", f"team:{team}", False) in bobs.said)
    made = await invited(ann, team, email, "member")
    await bobs.until(lambda: "teams.invited" in bobs.types(f"team:{team}"))
    [entry] = [entry for _, entry in bobs.seen[f"team:{team}"] if entry["type"] == "teams.invited"]
    state = {"id": made["id"], "teamId": team, "role": "member", "status": "pending"}
    assert entry["data"] == {"invite": state}
    [row] = await trail(ann, team, "teams.invited")
    assert (row["resource"], row["metadata"]) == (made["id"], {"email": email, "role": "member"})
    assert row["changes"] == {"status": {"before": None, "after": "pending"}}


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "invalid"),
        ({"email": "nobody"}, "invalid"),
        ({"email": "a,b@example.org"}, "invalid"),
        ({"email": "a@example.org", "role": "king"}, "unknown_role"),
        ({"email": "a@example.org", "status": "accepted"}, "invalid"),
    ],
)
async def test_what_is_no_invitation_is_refused(team: Company, body: dict[str, Any], code: str) -> None:
    problem(await team["owner"].post(f"/teams/{team.team}/invites", body), 422, code)


async def test_nobody_invites_to_more_than_they_have_or_takes_that_back(api: Api) -> None:
    team = await company(api)
    path = f"/teams/{team.team}/invites"
    body = {"email": address(), "role": "owner"}
    problem(await team["admin"].post(path, body), 403, "role_above_own")
    above = await invited(team["owner"], team.team, address(), "owner")
    for answer in (
        await team["admin"].post(f"{path}/{above['id']}/resend"),
        await team["admin"].delete(f"{path}/{above['id']}"),
    ):
        problem(answer, 403, "role_above_own")
    assert await listed(team["owner"], team.team) == {above["id"]: "pending"}
    key = await new_key(team["owner"], "invites:manage", "team:read")
    by_key = await by(key, team["owner"], "POST", path, json={"email": address(), "role": "viewer"})
    problem(by_key, 403, "role_above_own")


async def test_one_invitation_is_pending_for_each_address_whatever_its_case(api: Api) -> None:
    ann, email = await api.person(), address()
    team, other = await api.team(ann), await api.team(ann)
    first = await invited(ann, team, email)
    for again in (email, email.upper()):
        problem(await ann.post(f"/teams/{team}/invites", {"email": again}), 409, "already_invited")
    await invited(ann, other, email)
    await ann.delete(f"/teams/{team}/invites/{first['id']}")
    second = await invited(ann, team, email)
    await too_late(second["id"])
    third = await invited(ann, team, email)
    assert await listed(ann, team) == {
        first["id"]: "revoked", second["id"]: "expired", third["id"]: "pending",
    }  # fmt: skip
    problem(await ann.post(f"/teams/{team}/invites/{second['id']}/resend"), 409, "already_invited")


async def test_of_many_who_invite_the_same_address_at_once_one_does(api: Api, mailbox: Mailbox) -> None:
    ann, bob, email = await api.person(), await api.person("Bob"), address()
    team = await api.team(ann, admin=bob)
    body = {"email": email, "role": "viewer"}
    answers = await asyncio.gather(*(who.post(f"/teams/{team}/invites", body) for who in (ann, bob) * 4))
    assert sorted(answer.status_code for answer in answers) == [201, *[409] * 7]
    await settled()
    assert len(await invitations(mailbox, email)) == 1


async def test_the_list_is_of_what_became_of_them(api: Api) -> None:
    ann = await api.person()
    team = await api.team(ann)
    pending, revoked, late = [await invited(ann, team, address()) for _ in range(3)]
    await ann.delete(f"/teams/{team}/invites/{revoked['id']}")
    await too_late(late["id"])
    assert list(await listed(ann, team)) == [late["id"], revoked["id"], pending["id"]], "newest first"
    assert await listed(ann, team, "&status=pending") == {pending["id"]: "pending"}
    assert await listed(ann, team, "&status=expired") == {late["id"]: "expired"}
    problem(await ann.get(f"/teams/{team}/invites?status=lost"), 422, "invalid")


async def test_open_invitations_are_bounded(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(invites, "INVITES_MAX", 2)
    ann = await api.person()
    team = await api.team(ann)
    first, _ = [await invited(ann, team, address()) for _ in range(2)]
    one_more = {"email": address()}
    problem(await ann.post(f"/teams/{team}/invites", one_more), 409, "too_many_invites")
    await too_late(first["id"])
    assert (await ann.post(f"/teams/{team}/invites", one_more)).status_code == 201
    problem(await ann.post(f"/teams/{team}/invites/{first['id']}/resend"), 409, "too_many_invites")


async def test_another_link_makes_the_one_before_void_and_lasts_anew(api: Api, mailbox: Mailbox) -> None:
    ann, guest = await api.person(), await confirmed(api)
    team = await api.team(ann)
    made = await invited(ann, team, guest.email)
    await too_late(made["id"])
    answer = await ann.post(f"/teams/{team}/invites/{made['id']}/resend")
    assert answer.status_code == 200
    after = answer.json()["data"]
    assert (after["id"], after["status"]) == (made["id"], "pending")
    assert after["expiresAt"] > made["expiresAt"]
    old, new = [await token_for(mailbox, guest.email, nth) for nth in (1, 2)]
    problem(await guest.post("/invites/accept", {"token": old}), 422, "link_invalid")
    assert (await guest.post("/invites/accept", {"token": new})).status_code == 200
    [row] = await trail(ann, team, "teams.invite_resent")
    assert row["changes"] == {"status": {"before": "expired", "after": "pending"}}
    problem(await ann.post(f"/teams/{team}/invites/{made['id']}/resend"), 409, "invite_closed")


async def test_a_team_mails_an_address_a_few_times_an_hour(api: Api, mailbox: Mailbox) -> None:
    ann, email = await api.person(), address()
    team = await api.team(ann)
    path = f"/teams/{team}/invites"
    for nth in range(invite_mails.MAILS_MAX):
        made = await invited(ann, team, email)
        if nth < invite_mails.MAILS_MAX - 1:
            await ann.delete(f"{path}/{made['id']}")
    refused = problem(await ann.post(f"{path}/{made['id']}/resend"), 429, "too_many_mails")
    assert 0 < refused["retryAfter"] <= 3600
    await ann.delete(f"{path}/{made['id']}")
    problem(await ann.post(path, {"email": email.upper()}), 429, "too_many_mails")
    await settled()
    assert len(await invitations(mailbox, email)) == invite_mails.MAILS_MAX
    assert await listed(ann, team, "&status=pending") == {}, "what is refused leaves nothing behind"
    await db.execute(
        "UPDATE team_invites SET mailed_at = ARRAY[now() - interval '61 minutes'] WHERE team_id = $1", team
    )
    assert (await ann.post(path, {"email": email})).status_code == 201


async def test_nobody_mails_strangers_without_end(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(invite_mails, "SENT_MAX", 3)
    ann, bob = await api.person(), await api.person("Bob")
    first, second = await api.team(ann, admin=bob), await api.team(ann)
    for team in (first, second, second):
        await invited(ann, team, address())
    for team in (first, second):
        answer = await ann.post(f"/teams/{team}/invites", {"email": address()})
        refused = problem(answer, 429, "too_many_mails")
        assert 0 < refused["retryAfter"] <= 3600
    await invited(bob, first, address())  # of the first team it is the second


async def test_many_teams_do_not_flood_a_mailbox_and_none_is_told(
    api: Api, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(invite_mails, "ALL_MAILS_MAX", 2)
    ann, email = await api.person(), address()
    teams = [await api.team(ann) for _ in range(4)]
    body = {"email": email}
    answers = await asyncio.gather(*(ann.post(f"/teams/{team}/invites", body) for team in teams))
    assert [answer.status_code for answer in answers] == [201] * 4
    await settled()
    assert len(await invitations(mailbox, email, 2)) == 2


async def test_what_is_taken_back_opens_nothing(api: Api, mailbox: Mailbox) -> None:
    ann, guest = await api.person(), await confirmed(api)
    team = await api.team(ann)
    path = f"/teams/{team}/invites/{(await invited(ann, team, guest.email))['id']}"
    assert (await ann.delete(path)).status_code == 204
    twice = await ann.delete(path)
    assert (twice.status_code, "X-Stream-Position" in twice.headers) == (204, False)
    token = await token_for(mailbox, guest.email)
    problem(await guest.post("/invites/accept", {"token": token}), 422, "link_invalid")
    problem(await api.call("POST", "/invites/decline", json={"token": token}), 422, "link_invalid")
    problem(await ann.post(f"{path}/resend"), 409, "invite_closed")


async def test_an_invitation_of_another_team_is_none(api: Api) -> None:
    ann = await api.person()
    here, there = await api.team(ann), await api.team(ann)
    made = await invited(ann, there, address())
    absent = "inv_01h455vb4pex5vsknk084sn02q"
    for method, tail in (("DELETE", ""), ("POST", "/resend")):
        foreign, never = [
            await api.call(method, f"/teams/{here}/invites/{one}{tail}", token=ann.token)
            for one in (made["id"], absent)
        ]
        problem(foreign, 404, "not_found")
        assert bare(foreign) == bare(never)
    assert await listed(ann, there) == {made["id"]: "pending"}


async def test_adding_by_address_tells_nobody_who_has_an_account(api: Api, mailbox: Mailbox) -> None:
    ann, bob, eve = await api.person(), await api.person("Bob"), await api.person("Eve")
    team = await api.team(ann, member=eve)
    shut = await api.person("Shut")
    await db.execute("UPDATE users SET disabled_at = now() WHERE id = $1", shut.id)
    answers, work = [], []
    # Known, in the team already, disabled, unknown.
    for email in (bob.email, eve.email, shut.email, address()):
        async with Statements() as said:
            body = {"email": email, "role": "viewer"}
            answers.append((email, await ann.post(f"/teams/{team}/members", body)))
        work.append(tuple(said.of_requests))
    assert len(set(work)) == 1, "the same work for everybody"
    assert len(work[0]) > 5
    shapes = set()
    for email, answer in answers:
        assert answer.status_code == 202
        data = answer.json()["data"]
        assert (data["email"], data["status"]) == (email, "pending")
        shapes.add((tuple(data), tuple(sorted(set(answer.headers) - {"date"}))))
        assert len(await invitations(mailbox, email)) == 1
    assert len(shapes) == 1
    assert bob.id not in str((await ann.get(f"/teams/{team}/members")).json()), "nobody joins unasked"
    again = await ann.post(f"/teams/{team}/members", {"email": bob.email})
    problem(again, 409, "already_invited")


async def test_adding_by_address_takes_the_right_to_invite(team: Company) -> None:
    path, body = f"/teams/{team.team}/members", {"email": address(), "role": "viewer"}
    problem(await team["member"].post(path, body), 403, "forbidden")
    problem(await team["admin"].post(path, {**body, "role": "owner"}), 403, "role_above_own")
    problem(await team["stranger"].post(path, body), 404, "not_found")


async def test_what_is_over_is_expired_and_later_forgotten(api: Api) -> None:
    ann = await api.person()
    team = await api.team(ann)
    kept, late, old = [await invited(ann, team, address()) for _ in range(3)]
    await too_late(late["id"])
    await ann.delete(f"/teams/{team}/invites/{old['id']}")
    long_ago = invites.FORGOTTEN_AFTER + timedelta(hours=1)
    await db.execute(
        "UPDATE team_invites SET updated_at = now() - $2::interval WHERE id = $1", old["id"], long_ago
    )
    # One that is pending is kept, however long ago it was made.
    await db.execute(
        "UPDATE team_invites SET updated_at = now() - $2::interval WHERE id = $1", kept["id"], long_ago
    )
    await invites.sweep()
    rows = await db.fetch("SELECT id, status FROM team_invites WHERE team_id = $1", team)
    assert {row["id"]: row["status"] for row in rows} == {kept["id"]: "pending", late["id"]: "expired"}
