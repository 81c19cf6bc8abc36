"""Inviting people, and what comes to them by mail."""

import asyncio
import secrets
from email.message import EmailMessage
from typing import Any
from urllib.parse import urlsplit

from domain import db
from tests.app.mailing import post
from tests.factories import Api, Person
from tests.mailbox import ARRIVES_WITHIN_S, Mailbox, link


def address(name: str = "guest") -> str:
    """One that nobody has."""
    return f"{name}-{secrets.token_hex(6)}@example.org"


async def invited(by: Person, team: str, email: str, role: str = "viewer") -> dict[str, Any]:
    """A new invitation, as the API answers it."""
    answer = await by.post(f"/teams/{team}/invites", {"email": email, "role": role})
    assert answer.status_code == 201, answer.text
    data: dict[str, Any] = answer.json()["data"]
    return data


async def invitations(mailbox: Mailbox, email: str, count: int = 1) -> list[EmailMessage]:
    """The first `count` invitations that came to this address, oldest first, once they are there."""
    async with asyncio.timeout(ARRIVES_WITHIN_S):
        while True:
            found = [mail for mail in mailbox.of(email) if " invites you to " in mail["Subject"]]
            if len(found) >= count:
                return found
            await asyncio.sleep(0.02)


async def token_for(mailbox: Mailbox, email: str, nth: int = 1) -> str:
    """The token in the nth invitation that came to this address."""
    leads_to = urlsplit(link((await invitations(mailbox, email, nth))[nth - 1]))
    assert (leads_to.path, leads_to.query) == ("/auth/team-invite", "")
    name, _, token = leads_to.fragment.partition("=")
    assert (name, token[:4]) == ("token", "mit_")
    return token


async def confirmed(api: Api, name: str = "Guest") -> Person:
    """Somebody whose address is shown to be theirs."""
    person = await api.person(name)
    await db.execute("UPDATE users SET email_verified_at = now() WHERE id = $1", person.id)
    return person


async def too_late(invite_id: str) -> None:
    """As if seven days had passed."""
    await db.execute(
        "UPDATE team_invites SET expires_at = now() - interval '1 second' WHERE id = $1", invite_id
    )


async def asked(api: Api, token: str) -> None:
    """Ask for another link, and wait until that is done."""
    answer = await post(api, "/invites/ask-again", token=token)
    assert (answer.status_code, answer.json()) == (202, {"success": True, "data": {"accepted": True}})
    assert "X-Stream-Position" not in answer.headers
    async with asyncio.timeout(ARRIVES_WITHIN_S):
        while await db.fetchval(
            """SELECT count(*) FROM pgqueuer
               WHERE entrypoint = 'teams.invite_ask_again' AND status IN ('queued', 'picked')"""
        ):
            await asyncio.sleep(0.02)


async def everything_of_invites(mailbox: Mailbox, manager: Person, team: str) -> None:
    """All that can become of an invitation, once."""
    api, path = manager.api, f"/teams/{team}/invites"
    guest = await confirmed(api)
    made = {name: await invited(manager, team, address(name)) for name in ("no", "late", "back")}
    await invited(manager, team, guest.email)
    tokens = {name: await token_for(mailbox, invite["email"]) for name, invite in made.items()}
    answers = [
        await guest.post("/invites/accept", {"token": await token_for(mailbox, guest.email)}),
        await post(api, "/invites/decline", token=tokens["no"]),
        await manager.post(f"{path}/{made['back']['id']}/resend"),
        await manager.delete(f"{path}/{made['back']['id']}"),
    ]
    assert [answer.status_code for answer in answers] == [200, 204, 200, 204]
    await too_late(made["late"]["id"])
    await asked(api, tokens["late"])
