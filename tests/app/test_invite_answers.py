"""Answers to invitations: who may accept, once; declining; asking for another link."""

import asyncio
from typing import Any

import httpx
import pytest

from domain import db
from domain.teams import members, membership
from tests.app.company import bare, problem
from tests.app.inviting import address, asked, confirmed, invited, token_for, too_late
from tests.app.mailing import mail_of, post, settled
from tests.app.test_invites import listed
from tests.app.test_teams import roles
from tests.factories import Api, Person
from tests.keys import new_key, trail
from tests.mailbox import Mailbox, text


async def accept(person: Person, token: str) -> httpx.Response:
    return await person.post("/invites/accept", {"token": token})


async def scene(api: Api, mailbox: Mailbox, role: str = "viewer") -> tuple[Person, Person, str, str, str]:
    """Ann, whom she invites to her team, the team, the invitation's id, and the token that came by mail."""
    ann, guest = await api.person(), await confirmed(api)
    team = await api.team(ann)
    made = await invited(ann, team, guest.email, role)
    return ann, guest, team, made["id"], await token_for(mailbox, guest.email)


@pytest.mark.parametrize("role", ["viewer", "member", "admin", "owner"])
async def test_whoever_accepts_is_in_the_team_as_what_they_were_invited(
    api: Api, mailbox: Mailbox, role: str
) -> None:
    ann, guest, team, made, token = await scene(api, mailbox, role)
    answer = await accept(guest, token)
    assert answer.status_code == 200, answer.text
    assert answer.json()["data"].items() >= {"teamId": team, "userId": guest.id, "role": role}.items()
    assert f"team:{team}@" in answer.headers["X-Stream-Position"]
    assert await roles(guest, team) == {ann.id: "owner", guest.id: role}
    assert await listed(ann, team) == {made: "accepted"}
    [row] = await trail(ann, team, "teams.invite_accepted")
    assert (row["userId"], row["metadata"]["email"]) == (guest.id, guest.email)
    assert guest.id in [row["resource"] for row in await trail(ann, team, "teams.member_added")]


async def test_the_case_of_an_address_does_not_matter(api: Api, mailbox: Mailbox) -> None:
    ann, guest = await api.person(), await confirmed(api)
    team, email = await api.team(ann), guest.email.upper()
    await invited(ann, team, email)
    assert (await accept(guest, await token_for(mailbox, email))).status_code == 200


async def test_an_address_that_only_the_database_takes_for_the_same_is_another(
    api: Api, mailbox: Mailbox
) -> None:
    ann, guest = await api.person(), await confirmed(api)
    team, email = await api.team(ann), address("kim")
    await invited(ann, team, email)
    # The Kelvin sign: lower case of it is an ASCII k.
    folded = email.replace("k", "\u212a", 1)
    await db.execute("UPDATE users SET email = $2 WHERE id = $1", guest.id, folded)
    assert await db.fetchval("SELECT lower($1) = $2", folded, email), "it could be taken for the same"
    problem(await accept(guest, await token_for(mailbox, email)), 403, "email_mismatch")


async def test_who_has_another_address_or_has_not_confirmed_theirs_may_not(
    api: Api, mailbox: Mailbox
) -> None:
    ann, guest, team, made, token = await scene(api, mailbox)
    other, unconfirmed = await confirmed(api, "Other"), await api.person("Eve")
    refused = problem(await accept(other, token), 403, "email_mismatch")
    assert guest.email not in str(refused)
    before = await accept(unconfirmed, token)
    problem(before, 403, "email_not_verified")
    await db.execute("UPDATE users SET email_verified_at = NULL WHERE id = $1", guest.id)
    own = await accept(guest, token)
    assert bare(own) == bare(before), "who has not confirmed an address does not learn whose it is"
    problem(await api.call("POST", "/invites/accept", json={"token": token}), 401, "no_token")
    key = await new_key(guest, "team:read")
    problem(
        await api.call("POST", "/invites/accept", token=key["key"], json={"token": token}),
        403,
        "session_required",
    )
    assert list(await roles(ann, team)) == [ann.id]
    assert await listed(ann, team) == {made: "pending"}
    await db.execute("UPDATE users SET email_verified_at = now() WHERE id = $1", guest.id)
    assert (await accept(guest, token)).status_code == 200, "nothing that was refused has used it up"


async def test_two_who_accept_at_once_make_one_member(api: Api, mailbox: Mailbox) -> None:
    ann, guest, team, _, token = await scene(api, mailbox)
    answers = await asyncio.gather(*(accept(guest, token) for _ in range(8)))
    assert [answer.status_code for answer in answers] == [200] * 8
    assert len({str(answer.json()["data"]) for answer in answers}) == 1
    assert len(await roles(ann, team)) == 2
    assert len(await trail(ann, team, "teams.invite_accepted")) == 1
    added = [row["resource"] for row in await trail(ann, team, "teams.member_added")]
    assert added.count(guest.id) == 1


async def test_a_link_is_good_once(api: Api, mailbox: Mailbox) -> None:
    ann, guest, team, _, token = await scene(api, mailbox)
    other = await confirmed(api, "Other")
    await accept(guest, token)
    assert (await accept(guest, token)).status_code == 200, "who is in it is told so"
    problem(await accept(other, token), 403, "email_mismatch")
    await ann.delete(f"/teams/{team}/members/{guest.id}")
    unknown = await accept(guest, "mit_unknown")
    problem(unknown, 422, "link_invalid")
    assert bare(await accept(guest, token)) == bare(unknown), "it does not bring them back"
    assert (await post(api, "/invites/decline", token=token)).status_code == 422


async def test_who_is_in_the_team_already_keeps_their_role(api: Api, mailbox: Mailbox) -> None:
    ann, guest, team, made, token = await scene(api, mailbox, "admin")
    await ann.post(f"/teams/{team}/members", {"userId": guest.id, "role": "viewer"})
    answer = await accept(guest, token)
    assert (answer.status_code, answer.json()["data"]["role"]) == (200, "viewer")
    assert await listed(ann, team) == {made: "accepted"}
    assert await roles(ann, team) == {ann.id: "owner", guest.id: "viewer"}


async def test_accepting_and_taking_back_at_once_is_one_of_the_two(api: Api, mailbox: Mailbox) -> None:
    seen = set()
    for _ in range(6):
        ann, guest, team, made, token = await scene(api, mailbox)
        accepted, revoked = await asyncio.gather(
            accept(guest, token), ann.delete(f"/teams/{team}/invites/{made}")
        )
        both = (accepted.status_code, revoked.status_code)
        assert both in {(200, 409), (422, 204)}, (accepted.text, revoked.text)
        seen.add(both)
        assert (guest.id in await roles(ann, team)) == (both[0] == 200)
        assert await listed(ann, team) == {made: "accepted" if both[0] == 200 else "revoked"}
    assert seen


async def test_of_two_who_accept_for_the_last_place_one_gets_it(
    api: Api, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann, guest, team, _, token = await scene(api, mailbox)
    other = await confirmed(api, "Other")
    await invited(ann, team, other.email)
    second = await token_for(mailbox, other.email)
    monkeypatch.setattr(members, "MEMBERS_MAX", 2)
    answers = await asyncio.gather(accept(guest, token), accept(other, second))
    assert sorted(answer.status_code for answer in answers) == [200, 409]
    problem(next(answer for answer in answers if answer.status_code == 409), 409, "too_many_members")
    assert len(await roles(ann, team)) == 2
    assert sorted((await listed(ann, team)).values()) == ["accepted", "pending"]


async def test_who_is_in_too_many_teams_may_come_later(
    api: Api, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, guest, _, _, token = await scene(api, mailbox)
    monkeypatch.setattr(membership, "TEAMS_MAX", 1)
    problem(await accept(guest, token), 409, "too_many_teams")
    monkeypatch.setattr(membership, "TEAMS_MAX", 2)
    assert (await accept(guest, token)).status_code == 200


@pytest.mark.parametrize("fate", ["removed", "demoted", "disabled", "outranked"])
async def test_an_invitation_is_worth_what_its_inviter_may_grant(
    api: Api, mailbox: Mailbox, fate: str
) -> None:
    ann, bob, guest = await api.person(), await api.person("Bob"), await confirmed(api)
    team = await api.team(ann)
    await ann.post(f"/teams/{team}/members", {"userId": bob.id, "role": "owner"})
    made = await invited(bob, team, guest.email, "owner")
    token = await token_for(mailbox, guest.email)
    path = f"/teams/{team}/members/{bob.id}"
    match fate:
        case "removed":
            await ann.delete(path)
        case "demoted":
            await ann.put(path, {"role": "member"})
        case "outranked":
            await ann.put(path, {"role": "admin"})
        case "disabled":
            await db.execute("UPDATE users SET disabled_at = now() WHERE id = $1", bob.id)
    refused = problem(await accept(guest, token), 409, "invite_void")
    assert refused["askAgain"] == "/api/invites/ask-again"
    assert guest.id not in await roles(ann, team)
    await asked(api, token)
    assert len(await trail(ann, team, "teams.invite_asked_again")) == 1
    again = await ann.post(f"/teams/{team}/invites/{made['id']}/resend")
    assert again.json()["data"]["invitedBy"] == ann.id, "now it stands in her right"
    assert (await accept(guest, await token_for(mailbox, guest.email, 2))).status_code == 200


async def test_an_invitation_to_a_team_that_is_gone_is_unknown(api: Api, mailbox: Mailbox) -> None:
    _, guest, team, _, token = await scene(api, mailbox)
    await db.execute("UPDATE teams SET deleted_at = now() WHERE id = $1", team)
    refused = await accept(guest, token)
    problem(refused, 422, "link_invalid")
    assert bare(refused) == bare(await accept(guest, "mit_unknown"))
    problem(await post(api, "/invites/decline", token=token), 422, "link_invalid")


async def test_whoever_has_the_link_may_decline_without_an_account(api: Api, mailbox: Mailbox) -> None:
    ann, email = await api.person(), address()
    team = await api.team(ann)
    made = await invited(ann, team, email)
    token = await token_for(mailbox, email)
    answer = await post(api, "/invites/decline", token=token)
    assert (answer.status_code, answer.text) == (204, "")
    assert "X-Stream-Position" not in answer.headers, "which team it is is not theirs to know"
    assert await listed(ann, team) == {made["id"]: "declined"}
    [row] = await trail(ann, team, "teams.invite_declined")
    assert (row["userId"], row["metadata"]["email"]) == (None, email)
    assert (await post(api, "/invites/decline", token=token)).status_code == 204
    assert len(await trail(ann, team, "teams.invite_declined")) == 1
    guest = await confirmed(api)
    await db.execute("UPDATE users SET email = $2 WHERE id = $1", guest.id, email)
    problem(await accept(guest, token), 422, "link_invalid")
    problem(await ann.post(f"/teams/{team}/invites/{made['id']}/resend"), 409, "invite_closed")
    await invited(ann, team, email)


async def test_opening_the_page_uses_nothing_up(api: Api, mailbox: Mailbox) -> None:
    ann, guest, team, made, token = await scene(api, mailbox)
    for method in ("GET", "HEAD"):
        assert (await api.http.request(method, f"/auth/team-invite#token={token}")).status_code == 200
    for path in ("accept", "decline", "ask-again"):
        assert (await api.http.get(f"/api/invites/{path}?token={token}")).status_code == 405
    assert await listed(ann, team) == {made: "pending"}
    assert (await accept(guest, token)).status_code == 200


async def test_whoever_comes_too_late_is_told_how_to_ask_again(api: Api, mailbox: Mailbox) -> None:
    ann, guest, team, made, token = await scene(api, mailbox)
    await too_late(made)
    for answer in (await accept(guest, token), await post(api, "/invites/decline", token=token)):
        refused = problem(answer, 409, "invite_expired")
        assert refused["askAgain"] == "/api/invites/ask-again"
        assert "POST /api/invites/ask-again" in refused["detail"]
    await asked(api, token)
    mail = await _ran_out(mailbox, ann)
    assert f"you invited {guest.email} to the team Coffee corner" in text(mail)
    [row] = await trail(ann, team, "teams.invite_asked_again")
    assert (row["resource"], row["userId"], row["metadata"]["email"]) == (made, None, guest.email)

    await asked(api, token)
    assert len(await trail(ann, team, "teams.invite_asked_again")) == 1, "once a day"
    await db.execute("UPDATE team_invites SET asked_at = now() - interval '25 hours' WHERE id = $1", made)
    await asked(api, token)
    assert len(await trail(ann, team, "teams.invite_asked_again")) == 2


async def test_asking_again_for_a_role_that_is_no_more_is_news_all_the_same(
    api: Api, mailbox: Mailbox
) -> None:
    ann = await api.person()
    team = await api.team(ann)
    role = {"name": "taker", "permissions": ["inventory:read"]}
    assert (await ann.post(f"/teams/{team}/roles", role)).status_code == 201
    late = await invited(ann, team, address(), "taker")
    token = await token_for(mailbox, late["email"])
    await db.execute("UPDATE team_invites SET status = 'expired' WHERE id = $1", late["id"])
    assert (await ann.delete(f"/teams/{team}/roles/taker")).status_code == 204
    await asked(api, token)
    assert [row["resource"] for row in await trail(ann, team, "teams.invite_asked_again")] == [late["id"]]


async def _ran_out(mailbox: Mailbox, person: Person) -> Any:
    await settled()
    [mail] = [mail for mail in mailbox.of(person.email) if "ran out" in mail["Subject"]]
    assert mail["Subject"] == "An invitation to Coffee corner ran out"
    return mail


async def test_asking_again_is_answered_alike_and_a_good_link_is_not_news(api: Api, mailbox: Mailbox) -> None:
    ann, _, team, made, good = await scene(api, mailbox)
    late = await invited(ann, team, address())
    await too_late(late["id"])
    tokens = [good, await token_for(mailbox, late["email"]), "mit_unknown", "x" * 200]
    answers = [await post(api, "/invites/ask-again", token=token) for token in tokens]
    assert len({str(bare(answer)) for answer in answers}) == 1
    assert answers[0].status_code == 202
    await asked(api, good)
    rows = await trail(ann, team, "teams.invite_asked_again")
    assert [row["resource"] for row in rows] == [late["id"]]
    await ann.delete(f"/teams/{team}/invites/{made}")
    await asked(api, good)
    assert len(await trail(ann, team, "teams.invite_asked_again")) == 1


async def test_who_takes_an_account_over_does_not_take_over_whom_somebody_invited(
    api: Api, mailbox: Mailbox
) -> None:
    """Eve registers with Ann's address, and invites an accomplice to what becomes Ann's personal team."""
    trap, accomplice = await api.person(), await confirmed(api, "Eve")
    await invited(trap, trap.personal_team_id, accomplice.email, "owner")
    token = await token_for(mailbox, accomplice.email)
    await post(api, "/auth/magic-link", email=trap.email)
    link = text(await mail_of(mailbox, trap.email, "magic")).partition("#token=")[2].split()[0]
    assert (await post(api, "/auth/magic-link/consume", token=link)).status_code == 200
    problem(await accept(accomplice, token), 422, "link_invalid")
