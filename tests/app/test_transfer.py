"""Handing a team over: offered by one, accepted by the other, in one commit; and how it may not go."""

import asyncio
from datetime import timedelta

import pytest

from domain import db
from domain.clock import now
from domain.teams import deletion
from tests.app.company import Company, company, problem
from tests.app.test_teams import roles
from tests.factories import Api, Person
from tests.mailbox import Mailbox, text

OFFERED = "You are offered the ownership of a team"


@pytest.fixture
async def firm(api: Api) -> Company:
    """A team of one's own for each test."""
    return await company(api)


async def offer(team: Company, to: str = "admin") -> None:
    answer = await team["owner"].post(f"/teams/{team.team}/transfer", {"userId": team[to].id})
    assert answer.status_code == 201, answer.text


async def acts(person: Person, team: str, count: int) -> list[str]:
    """What happened last, oldest first."""
    rows = (await person.get(f"/audit-logs?teamId={team}&limit={count}")).json()["data"]
    return [row["action"] for row in rows][::-1]


async def test_both_agree_and_the_team_has_another_owner(firm: Company, mailbox: Mailbox) -> None:
    owner, heir, place = firm["owner"], firm["viewer"], f"/teams/{firm.team}/transfer"
    await db.execute("UPDATE users SET email_verified_at = now() WHERE id = $1", heir.id)
    made = await owner.post(place, {"userId": heir.id})
    assert (made.status_code, made.headers["Location"]) == (201, f"/api{place}")
    offered = made.json()["data"]
    assert (offered["fromUserId"], offered["toUserId"]) == (owner.id, heir.id)
    assert f"user:{owner.id}@" in made.headers["X-Stream-Position"]
    mail = (await mailbox.until(heir.email, 2))[1]
    assert mail["Subject"] == OFFERED
    assert "within 7 days" in text(mail)
    assert firm["owner"].name not in text(mail), "nothing in it is a stranger's text"
    for who in (owner, heir):
        assert (await who.get(place)).json()["data"] == offered
    assert (await roles(owner, firm.team))[heir.id] == "viewer", "an offer alone changes nothing"
    accepted = await heir.post(f"{place}/accept")
    assert accepted.status_code == 200, accepted.text
    after = await roles(heir, firm.team)
    assert (after[heir.id], after[owner.id]) == ("owner", "admin")
    assert (await heir.get(f"/teams/{firm.team}")).json()["data"]["ownerId"] == heir.id
    problem(await heir.get(place), 404, "not_found")
    said = await acts(heir, firm.team, 4)
    assert said == ["teams.role_changed", "teams.changed", "teams.role_changed", "teams.transfer_accepted"]
    problem(await owner.post(place, {"userId": firm["member"].id}), 403, "forbidden")


async def test_an_address_that_nobody_confirmed_is_not_written_to(firm: Company, mailbox: Mailbox) -> None:
    await offer(firm, "member")
    await db.execute("UPDATE users SET email_verified_at = now() WHERE id = $1", firm["admin"].id)
    await firm["owner"].delete(f"/teams/{firm.team}/transfer")
    await offer(firm, "admin")
    assert (await mailbox.until(firm["admin"].email, 2))[1]["Subject"] == OFFERED
    subjects = [mail["Subject"] for mail in mailbox.of(firm["member"].email)]
    assert OFFERED not in subjects, "its mail would have come first"


async def test_an_offer_may_be_declined_and_taken_back(firm: Company) -> None:
    place = f"/teams/{firm.team}/transfer"
    await offer(firm)
    assert (await firm["admin"].post(f"{place}/decline")).status_code == 204
    problem(await firm["admin"].post(f"{place}/accept"), 404, "not_found")
    await offer(firm)
    assert (await firm["owner"].delete(place)).status_code == 204
    problem(await firm["admin"].post(f"{place}/accept"), 404, "not_found")
    problem(await firm["owner"].delete(place), 404, "not_found")
    said = ["offered", "declined", "offered", "withdrawn"]
    assert await acts(firm["owner"], firm.team, 4) == [f"teams.transfer_{what}" for what in said]
    assert (await roles(firm["owner"], firm.team))[firm["owner"].id] == "owner"


async def test_it_is_offered_by_an_owner_to_a_member_one_at_a_time(firm: Company) -> None:
    place, members = f"/teams/{firm.team}/transfer", f"/teams/{firm.team}/members"
    for role in ("viewer", "member", "admin"):
        problem(await firm[role].post(place, {"userId": firm["viewer"].id}), 403, "forbidden")
        problem(await firm[role].delete(place), 403, "forbidden")
    owner = firm["owner"]
    problem(await owner.post(place, {"userId": firm["stranger"].id}), 404, "not_found")
    problem(await owner.post(place, {"userId": owner.id}), 409, "own_team")
    problem(await owner.get(place), 404, "not_found")
    await offer(firm)
    problem(await owner.post(place, {"userId": firm["member"].id}), 409, "transfer_pending")
    for role in ("viewer", "member"):
        problem(await firm[role].get(place), 403, "forbidden")
        problem(await firm[role].post(f"{place}/accept"), 404, "not_found")
        problem(await firm[role].post(f"{place}/decline"), 404, "not_found")
    for verb in ("/accept", "/decline"):
        problem(await firm["stranger"].post(f"{place}{verb}"), 404, "not_found")
    personal = owner.personal_team_id
    await owner.post(f"/teams/{personal}/members", {"userId": firm["admin"].id, "role": "member"})
    answer = await owner.post(f"/teams/{personal}/transfer", {"userId": firm["admin"].id})
    problem(answer, 409, "personal_team")
    assert (await owner.delete(f"{members}/{firm['viewer'].id}")).status_code == 204


async def test_who_signed_in_long_ago_shows_again_who_they_are(firm: Company) -> None:
    owner = firm["owner"]
    await db.execute(
        "UPDATE user_sessions SET created_at = created_at - interval '1 hour' WHERE id = $1", owner.session_id
    )
    place, body = f"/teams/{firm.team}/transfer", {"userId": firm["admin"].id}
    problem(await owner.post(place, body), 403, "step_up_required")
    assert (await owner.post("/auth/mfa/step-up", {"password": owner.password})).status_code == 200
    assert (await owner.post(place, body)).status_code == 201


async def test_an_offer_lasts_seven_days(firm: Company) -> None:
    place = f"/teams/{firm.team}/transfer"
    await offer(firm)
    await db.execute(
        "UPDATE team_transfers SET expires_at = $2 WHERE team_id = $1",
        firm.team,
        now() - timedelta(seconds=1),
    )
    problem(await firm["admin"].post(f"{place}/accept"), 404, "not_found")
    await offer(firm, "member")
    assert (await firm["member"].post(f"{place}/accept")).status_code == 200, "the old one is not in the way"


async def test_offers_that_ran_out_are_forgotten(firm: Company) -> None:
    await offer(firm)
    await db.execute("UPDATE team_transfers SET expires_at = now() WHERE team_id = $1", firm.team)
    await deletion.purge()
    assert await db.fetchval("SELECT count(*) FROM team_transfers WHERE team_id = $1", firm.team) == 0


@pytest.mark.parametrize("who", ["owner", "admin"])
async def test_who_leaves_leaves_the_offer(firm: Company, who: str) -> None:
    members, place = f"/teams/{firm.team}/members", f"/teams/{firm.team}/transfer"
    await firm["owner"].put(f"{members}/{firm['member'].id}", {"role": "owner"})
    await offer(firm)
    assert (await firm[who].delete(f"{members}/me")).status_code == 204
    again = await firm["member"].post(members, {"userId": firm[who].id, "role": who})
    assert again.status_code == 201
    problem(await firm["admin"].post(f"{place}/accept"), 404, "not_found")


async def test_who_is_no_owner_any_more_has_nothing_to_give(firm: Company) -> None:
    members, place = f"/teams/{firm.team}/members", f"/teams/{firm.team}/transfer"
    await firm["owner"].put(f"{members}/{firm['member'].id}", {"role": "owner"})
    await offer(firm)
    await firm["member"].put(f"{members}/{firm['owner'].id}", {"role": "admin"})
    problem(await firm["admin"].post(f"{place}/accept"), 409, "not_an_owner")
    assert (await roles(firm["member"], firm.team))[firm["admin"].id] == "admin"


async def test_a_deleted_team_is_offered_to_nobody_also_once_it_is_back(firm: Company) -> None:
    place = f"/teams/{firm.team}"
    await offer(firm)
    await firm["owner"].delete(place)
    problem(await firm["admin"].post(f"{place}/transfer/accept"), 404, "not_found")
    await firm["owner"].post(f"{place}/restore")
    problem(await firm["admin"].post(f"{place}/transfer/accept"), 404, "not_found")


async def test_accepted_declined_and_taken_back_at_once_one_of_them_happens(firm: Company) -> None:
    place = f"/teams/{firm.team}/transfer"
    for _ in range(3):
        await offer(firm)
        answers = await asyncio.gather(
            firm["admin"].post(f"{place}/accept"),
            firm["admin"].post(f"{place}/accept"),
            firm["admin"].post(f"{place}/decline"),
            firm["owner"].delete(place),
        )
        worked = [answer.status_code for answer in answers if answer.is_success]
        assert len(worked) == 1, [answer.text for answer in answers]
        owners = [who for who, role in (await roles(firm["admin"], firm.team)).items() if role == "owner"]
        if worked == [200]:
            assert owners == [firm["admin"].id]
            return
        assert owners == [firm["owner"].id]


async def test_only_an_owner_offers_whatever_a_role_of_the_teams_own_says(api: Api) -> None:
    ann, bob, cid = await api.person(), await api.person("Bob"), await api.person("Cid")
    team = await api.team(ann, member=bob, viewer=cid)
    made = await ann.post(f"/teams/{team}/roles", {"name": "deputy", "permissions": ["team:transfer"]})
    assert made.status_code == 201, made.text
    assert (await ann.put(f"/teams/{team}/members/{bob.id}", {"role": "deputy"})).status_code == 200
    problem(await bob.post(f"/teams/{team}/transfer", {"userId": cid.id}), 409, "not_an_owner")


async def test_an_owner_whose_account_is_shut_is_none_to_leave_a_team_to(api: Api) -> None:
    ann, bob, cid = await api.person(), await api.person("Bob"), await api.person("Cid")
    team = await api.team(ann, member=bob, viewer=cid)
    assert (await ann.put(f"/teams/{team}/members/{bob.id}", {"role": "owner"})).status_code == 200
    await db.execute("UPDATE users SET disabled_at = now() WHERE id = $1", bob.id)
    problem(await ann.delete(f"/teams/{team}/members/me"), 409, "last_owner")
    refused = problem(await ann.delete("/users/me"), 409, "sole_owner")
    assert [each["id"] for each in refused["teams"]] == [team]
    await db.execute("UPDATE users SET disabled_at = NULL WHERE id = $1", bob.id)
    assert (await ann.delete(f"/teams/{team}/members/me")).status_code == 204
