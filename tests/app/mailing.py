"""Following links in mails, as people do, and letting time pass for them."""

import asyncio
from email.message import EmailMessage
from urllib.parse import urlsplit

import httpx

from domain import db
from tests.factories import Api
from tests.mailbox import ARRIVES_WITHIN_S, Mailbox, link

# What the subject of each kind has in it.
SUBJECTS = {
    "verify": "Confirm your address",
    "reset": "Choose a new password",
    "magic": "Your link to sign in",
    "known": "You have an account already",
    "change-old": "Another address for your account",
    "change-new": "Confirm your new address",
    "changed": "Your account has another address now",
    "device": "A new sign-in to your account",
    "added": "A new way into your account",
    "password": "Your password was changed",
    "reused": "You were signed out on one device",
    "disabled": "Your account was disabled",
    "enabled": "Your account is open again",
    "closed": "Your account was closed",
}
_LEFT = """SELECT count(*) FROM pgqueuer WHERE status IN ('queued', 'picked')
           AND (entrypoint = 'mail.send' OR entrypoint ~ '^auth[.](register|forgot|magic|change)')"""


def kinds(mailbox: Mailbox, address: str) -> list[str]:
    """What has come to this address, oldest first."""
    names = {subject: kind for kind, subject in SUBJECTS.items()}
    return [names[mail["Subject"]] for mail in mailbox.of(address)]


async def mail_of(mailbox: Mailbox, address: str, kind: str, nth: int = 1) -> EmailMessage:
    """The nth mail of this kind, once it is there."""
    async with asyncio.timeout(ARRIVES_WITHIN_S):
        while True:
            found = [mail for mail in mailbox.of(address) if mail["Subject"] == SUBJECTS[kind]]
            if len(found) >= nth:
                return found[nth - 1]
            await asyncio.sleep(0.02)


async def token_of(mailbox: Mailbox, address: str, kind: str, nth: int = 1) -> str:
    """The token in the link of that mail."""
    leads_to = urlsplit(link(await mail_of(mailbox, address, kind, nth)))
    assert leads_to.query == "", "a token in the query would be in logs"
    name, _, token = leads_to.fragment.partition("=")
    assert (name, token[:4]) == ("token", "mot_")
    return token


async def post(api: Api, path: str, **body: object) -> httpx.Response:
    return await api.call("POST", path, json=body)


async def settled() -> None:
    """Until all mail that was asked for so far has gone out, or turned out to be none."""
    async with asyncio.timeout(ARRIVES_WITHIN_S):
        while await db.fetchval(_LEFT):
            await asyncio.sleep(0.02)


async def a_minute_later() -> None:
    """As if nobody had been mailed of late."""
    await settled()
    await db.execute("UPDATE one_time_tokens SET expires_at = now() WHERE purpose LIKE 'mailed %'")


async def expired(user_id: str) -> None:
    """As if all links of this user were too old."""
    await db.execute(
        "UPDATE one_time_tokens SET expires_at = now() - interval '1 second' WHERE user_id = $1", user_id
    )


async def trail(user_id: str) -> list[str]:
    """What has happened to this account, oldest first."""
    rows = await db.fetch(
        """SELECT a.action FROM audit_logs a JOIN users u ON u.personal_team_id = a.team_id
           WHERE u.id = $1 ORDER BY a.seq""",
        user_id,
    )
    return [row["action"] for row in rows]
