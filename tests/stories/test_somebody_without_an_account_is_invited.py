"""Somebody without an account is invited by mail: they register, confirm, accept, and are heard of."""

from tests.app.company import problem
from tests.app.inviting import address, invited, token_for
from tests.app.mailing import post, token_of
from tests.factories import PASSWORD, Api, item
from tests.listener import Listeners
from tests.mailbox import Mailbox


async def test_somebody_without_an_account_comes_into_the_team(
    api: Api, url: str, mailbox: Mailbox, listeners: Listeners
) -> None:
    ann, email = await api.person("Ann"), address("newcomer")
    team = await api.team(ann)
    anns = await listeners(url, ann.token)
    await anns.until(lambda: ("joined", f"team:{team}", False) in anns.said)
    added = await ann.post(f"/teams/{team}/members", {"email": email, "role": "member"})
    assert added.status_code == 202

    token = await token_for(mailbox, email)
    problem(await post(api, "/invites/accept", token=token), 401, "no_token")
    body = {"email": email, "password": PASSWORD, "name": "Nia"}
    registered = await api.call("POST", "/auth/register", json=body)
    assert registered.status_code == 201
    access = registered.json()["data"]["accessToken"]
    early = await api.call("POST", "/invites/accept", token=access, json={"token": token})
    problem(early, 403, "email_not_verified")
    confirms = await token_of(mailbox, email, "verify")
    assert (await post(api, "/auth/verify-email", token=confirms)).status_code == 204
    # Their screen is open by now; what they come into is on it without their asking.
    nias = await listeners(url, access)
    accepted = await api.call("POST", "/invites/accept", token=access, json={"token": token})
    assert accepted.status_code == 200
    assert accepted.json()["data"].items() >= {"teamId": team, "name": "Nia", "role": "member"}.items()

    await nias.until(lambda: ("joined", f"team:{team}", False) in nias.said)
    stock = f"inventory:{team}"
    await nias.follow(stock)
    await item(ann, team)
    await nias.until(lambda: "inventory.created" in nias.types(stock))
    heard = ["teams.invited", "teams.member_added", "teams.invite_accepted"]
    await anns.until(lambda: anns.types(f"team:{team}")[-3:] == heard)
    assert not any(email in str(entry) for _, entry in anns.seen[f"team:{team}"])


async def test_an_account_that_is_confirmed_first_leads_into_the_team_too(api: Api, mailbox: Mailbox) -> None:
    """The invited one signs in by a link in another mail, which confirms the address."""
    ann, guest = await api.person("Ann"), await api.person("Guest")
    team = await api.team(ann)
    await invited(ann, team, guest.email, "viewer")
    await post(api, "/auth/magic-link", email=guest.email)
    magic = await token_of(mailbox, guest.email, "magic")
    access = (await post(api, "/auth/magic-link/consume", token=magic)).json()["data"]["accessToken"]
    token = await token_for(mailbox, guest.email)
    accepted = await api.call("POST", "/invites/accept", token=access, json={"token": token})
    assert accepted.status_code == 200
