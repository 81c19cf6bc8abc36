"""A link lets people in: it is in the mail, and nowhere else that anybody could read."""

import logging

import asyncpg
import httpx
import pytest

from app.config import Config
from domain import db
from domain.actor import Actor
from domain.auth import magic_link, recovery
from tests.app.inviting import address as inviting
from tests.app.inviting import asked, confirmed, invited, token_for, too_late
from tests.app.mailing import post, settled, token_of
from tests.app.test_email_change import address, ask
from tests.factories import Api, Person
from tests.mailbox import Mailbox


async def dump(config: Config) -> str:
    """Every row of every table, as text; bytes in hex."""
    connection = await asyncpg.connect(config.database_url)
    try:
        tables = await connection.fetch(
            "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'"
        )
        rows = [
            row[0]
            for table in tables
            for row in await connection.fetch(f'SELECT t::text FROM "{table["relname"]}" t')  # noqa: S608
        ]
        return "\n".join(rows)
    finally:
        await connection.close()


async def test_a_link_is_in_the_mail_and_in_no_table_log_or_answer(
    api: Api, mailbox: Mailbox, config: Config, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    ann, new = await api.person(), address()
    answers = [
        await post(api, "/auth/password/forgot", email=ann.email),
        await post(api, "/auth/magic-link", email=ann.email),
        await ask(ann, new),
    ]
    tokens = [await token_of(mailbox, ann.email, kind) for kind in ("verify", "reset", "magic", "change-old")]
    tokens.append(await token_of(mailbox, new, "change-new"))
    await settled()
    tokens += await invitations_used_well_and_badly(mailbox, ann, answers)
    # Refused, a token may be in an error; used, it may be in an event.
    for token in tokens:
        answers += [
            await post(api, "/auth/password/reset", token=token, password="short"),
            await post(api, "/auth/sessions/disown", token=token),
            await post(api, "/auth/email/confirm", token=token),
            await post(api, "/auth/magic-link/consume", token=token),
            await ann.post("/invites/accept", {"token": token}),
            await post(api, "/invites/decline", token=token),
            await post(api, "/invites/ask-again", token=token),
        ]
    await settled()
    shown = "\n".join([await dump(config), caplog.text, *(answer.text for answer in answers)])
    assert ann.id in shown, "there is something to look through"
    for token in tokens:
        assert token not in shown
        assert token.encode().hex() not in shown
        assert token[4:] not in shown


async def invitations_used_well_and_badly(
    mailbox: Mailbox, ann: Person, answers: list[httpx.Response]
) -> list[str]:
    """The tokens of an invitation that was accepted, one that was declined and one that came too late."""
    guest, team = await confirmed(ann.api), await ann.api.team(ann)
    made = [await invited(ann, team, email) for email in (guest.email, inviting(), inviting())]
    tokens = [await token_for(mailbox, invite["email"]) for invite in made]
    await too_late(made[2]["id"])
    answers += [
        await guest.post("/invites/accept", {"token": tokens[0]}),
        await post(ann.api, "/invites/decline", token=tokens[1]),
        await guest.post("/invites/accept", {"token": tokens[2]}),
        await ann.get(f"/teams/{team}/invites"),
        await ann.get(f"/audit-logs?teamId={team}"),
    ]
    assert [answer.status_code for answer in answers[-5:]] == [200, 204, 403, 200, 200]
    await asked(ann.api, tokens[2])
    return tokens


async def test_while_it_waits_a_job_shows_neither_address_nor_password_hash(api: Api) -> None:
    ann = await api.person()
    async with db.transaction() as unit:
        # Within this transaction no worker has it yet.
        await recovery.forgot(Actor(ip="203.0.113.9"), ann.email)
        await magic_link.ask(Actor(ip="203.0.113.9"), ann.email)
        rows = await unit.connection.fetch(
            "SELECT q::text AS whole, payload FROM pgqueuer q WHERE entrypoint ~ '^auth[.](forgot|magic)'"
        )
    assert len(rows) >= 2
    for row in rows:
        for secret in (ann.email, "203.0.113.9"):
            assert secret not in row["whole"]
            assert secret.encode() not in row["payload"]
