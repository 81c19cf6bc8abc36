"""All fifty owners of a team leave or step down at once, through two processes: one is told to stay."""

import asyncio

from app.config import Config
from domain import db
from tests.factories import Api, api_of
from tests.processes import running

CROWD = 50


async def test_fifty_who_go_at_once_leave_one(api: Api, config: Config) -> None:
    crowd = [await api.person(f"Ann{number}") for number in range(CROWD)]
    team = await api.team(crowd[0])
    members = f"/teams/{team}/members"
    for one in crowd[1:]:
        added = await crowd[0].post(members, {"userId": one.id, "role": "owner"})
        assert added.status_code == 201, added.text
    async with running(config) as second, api_of(second.url) as other:
        asked = []
        for number, one in enumerate(crowd):
            through = (api, other)[number % 2]
            if number % 4 < 2:
                asked.append(through.call("DELETE", f"{members}/me", token=one.token))
            else:
                body = {"role": ("viewer", "admin")[number % 3 == 0]}
                asked.append(through.call("PUT", f"{members}/me", token=one.token, json=body))
        answers = await asyncio.gather(*asked)
    statuses = [answer.status_code for answer in answers]
    assert set(statuses) == {200, 204, 409}, statuses
    assert statuses.count(409) == 1
    [refused] = [answer.json()["code"] for answer in answers if answer.status_code == 409]
    assert refused == "last_owner"
    stayed = crowd[statuses.index(409)]
    owners = await db.fetch("SELECT user_id FROM team_members WHERE team_id = $1 AND role = 'owner'", team)
    assert [row["user_id"] for row in owners] == [stayed.id]
    assert (await stayed.get(f"/teams/{team}")).json()["data"]["ownerId"] == stayed.id


async def test_two_owners_who_close_their_accounts_at_once_do_not_both_get_away(api: Api) -> None:
    ann, bob, cid = await api.person("Ann"), await api.person("Bob"), await api.person("Cid")
    team = await api.team(ann, admin=bob, member=cid)
    await ann.put(f"/teams/{team}/members/{bob.id}", {"role": "owner"})
    answers = await asyncio.gather(ann.delete("/users/me"), bob.delete("/users/me"))
    assert sorted(answer.status_code for answer in answers) == [204, 409]
    [refused] = [answer.json()["code"] for answer in answers if answer.status_code == 409]
    assert refused == "sole_owner"
    stayed = (ann, bob)[[answer.status_code for answer in answers].index(409)]
    assert (await stayed.get(f"/teams/{team}")).json()["data"]["ownerId"] == stayed.id
