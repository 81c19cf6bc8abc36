"""Moving an account to another address: both agree, and for a week the old one can take everything back."""

import asyncio
import secrets

import httpx
import pytest

from domain import db
from domain.auth import email_change
from tests.app.company import bare, problem
from tests.app.mailing import a_minute_later, expired, kinds, mail_of, post, settled, token_of, trail
from tests.app.signing_in import login, refresh, signed_in
from tests.factories import PASSWORD, Api, Person
from tests.listener import Listeners
from tests.mailbox import Mailbox, text
from tests.statements import Statements

ANOTHER = "another password altogether"


def address() -> str:
    return f"new-{secrets.token_hex(6)}@example.org"


async def ask(person: Person, email: str, password: str = PASSWORD) -> httpx.Response:
    return await person.post("/users/me/email", {"email": email, "password": password})


async def moved(api: Api, mailbox: Mailbox, person: Person, email: str) -> str:
    """The account is moved, and this is the token of the way back."""
    assert (await ask(person, email)).status_code == 202
    for who, kind in ((person.email, "change-old"), (email, "change-new")):
        token = await token_of(mailbox, who, kind)
        assert (await post(api, "/auth/email/confirm", token=token)).status_code == 200
    return await token_of(mailbox, person.email, "changed")


async def email_of(person: Person) -> str:
    found: str = await db.fetchval("SELECT email FROM users WHERE id = $1", person.id)
    return found


@pytest.mark.parametrize("order", [("old", "new"), ("new", "old")])
async def test_the_address_is_changed_when_both_have_agreed(
    api: Api, mailbox: Mailbox, order: tuple[str, str]
) -> None:
    ann, new = await api.person(), address()
    assert (await ask(ann, new)).status_code == 202
    tokens = {
        "old": await token_of(mailbox, ann.email, "change-old"),
        "new": await token_of(mailbox, new, "change-new"),
    }
    said = []
    for side in order:
        assert await email_of(ann) == ann.email
        answer = await post(api, "/auth/email/confirm", token=tokens[side])
        said.append(answer.json()["data"]["changed"])
        problem(await post(api, "/auth/email/confirm", token=tokens[side]), 422, "link_invalid")
    assert said == [False, True]
    me = (await ann.get("/users/me")).json()["data"]
    assert (me["email"], me["version"]) == (new, 2)
    assert me["emailVerifiedAt"] is not None
    assert (await login(api, new)).status_code == 200
    problem(await login(api, ann.email), 401, "wrong_credentials")
    assert new in text(await mail_of(mailbox, ann.email, "changed"))
    assert {
        "users.email_change_requested",
        "users.email_change_confirmed",
        "users.email_changed",
    } <= set(await trail(ann.id))


async def test_the_two_at_once_are_one_change(api: Api, mailbox: Mailbox) -> None:
    ann, new = await api.person(), address()
    await ask(ann, new)
    tokens = [await token_of(mailbox, ann.email, "change-old"), await token_of(mailbox, new, "change-new")]
    answers = await asyncio.gather(
        *(post(api, "/auth/email/confirm", token=token) for token in tokens for _ in range(5))
    )
    done = [answer.json()["data"]["changed"] for answer in answers if answer.status_code == 200]
    assert sorted(done) == [False, True]
    assert (await trail(ann.id)).count("users.email_changed") == 1


async def test_whoever_has_the_session_but_not_the_mailbox_moves_nothing(api: Api, mailbox: Mailbox) -> None:
    """A thief with an open session, the password, and a mailbox of their own."""
    ann, thief = await api.person(), address()
    refused = await ask(ann, thief, "a guess at it")
    problem(refused, 403, "wrong_password")
    assert mailbox.of(thief) == []
    await ask(ann, thief)
    token = await token_of(mailbox, thief, "change-new")
    for _ in range(3):
        await post(api, "/auth/email/confirm", token=token)
    assert await email_of(ann) == ann.email
    assert thief in text(await mail_of(mailbox, ann.email, "change-old")), "the owner is told"


async def test_an_address_that_is_taken_is_not_told_apart(api: Api, mailbox: Mailbox) -> None:
    ann, ben, new = await api.person(), await api.person("Ben"), address()
    await settled()
    answers, work = [], []
    for email in (new, ben.email):
        async with Statements() as said:
            answers.append(await ask(ann, email))
        work.append(tuple(said.of_requests))
        await a_minute_later()
    assert bare(answers[0]) == bare(answers[1])
    assert work[0] == work[1]
    assert kinds(mailbox, ann.email).count("change-old") == 2
    assert "change-new" not in kinds(mailbox, ben.email)
    await mail_of(mailbox, ben.email, "known")
    old = await token_of(mailbox, ann.email, "change-old", 2)
    assert (await post(api, "/auth/email/confirm", token=old)).json()["data"]["changed"] is False


async def test_of_two_who_want_one_address_one_gets_it(api: Api, mailbox: Mailbox) -> None:
    people, new = [await api.person(), await api.person("Ben")], address()
    last = []
    for nth, person in enumerate(people, 1):
        await ask(person, new)
        old = await token_of(mailbox, person.email, "change-old")
        assert (await post(api, "/auth/email/confirm", token=old)).status_code == 200
        last.append(await token_of(mailbox, new, "change-new", nth))
        await a_minute_later()
    answers = await asyncio.gather(*(post(api, "/auth/email/confirm", token=token) for token in last))
    assert sorted(answer.status_code for answer in answers) == [200, 422]
    for answer in answers:
        if answer.status_code == 422:
            problem(answer, 422, "link_invalid")
    assert await db.fetchval("SELECT count(*) FROM users WHERE email = $1", new) == 1


async def test_somebody_may_register_the_address_meanwhile(api: Api, mailbox: Mailbox) -> None:
    ann, new = await api.person(), address()
    await ask(ann, new)
    tokens = [await token_of(mailbox, ann.email, "change-old"), await token_of(mailbox, new, "change-new")]
    await post(api, "/auth/register", email=new, password=PASSWORD, name="Somebody")
    await post(api, "/auth/email/confirm", token=tokens[0])
    problem(await post(api, "/auth/email/confirm", token=tokens[1]), 422, "link_invalid")
    assert await email_of(ann) == ann.email


async def test_the_old_address_takes_everything_back_from_a_thief(
    api: Api, url: str, mailbox: Mailbox, listeners: Listeners
) -> None:
    """The thief had both mailboxes for a moment, moved the account, and dug in."""
    ann, mallory = await api.person(), address()
    back = await moved(api, mailbox, ann, mallory)
    thief = (await login(api, mallory)).json()["data"]
    changed = {"currentPassword": PASSWORD, "password": ANOTHER}
    assert (
        await api.call("POST", "/auth/password/change", token=thief["accessToken"], json=changed)
    ).status_code == 204
    await db.execute(
        """INSERT INTO passkeys (id, user_id, credential_id, public_key, sign_count, transports, name,
                                 backed_up, created_at)
           VALUES ($1, $2, $1, '', 0, '{}', 'trap', false, now())""",
        f"pk_{ann.id}",
        ann.id,
    )
    friend, accomplice = await api.person("Friend"), await api.person("Accomplice")
    home = f"/teams/{ann.personal_team_id}"
    for person in (friend, accomplice):
        asked = {"userId": person.id, "role": "admin"}
        joined = await api.call("POST", f"{home}/members", token=thief["accessToken"], json=asked)
        assert joined.status_code == 201
    await db.execute(
        "UPDATE team_members SET joined_at = joined_at - interval '2 days' WHERE user_id = $1", friend.id
    )
    await post(api, "/auth/password/forgot", email=mallory)
    reset = await token_of(mailbox, mallory, "reset")
    blocked = await post(api, "/auth/register", email=ann.email, password=PASSWORD, name="Blocker")
    problem(blocked, 409, "email_taken")
    screen = await listeners(url, thief["accessToken"])

    assert (await post(api, "/auth/email/revert", token=back)).status_code == 204
    await screen.until(lambda: ("disconnected", 3500) in screen.said)
    assert await email_of(ann) == ann.email
    assert not await signed_in(api, thief["accessToken"])
    problem(await refresh(api, thief["refreshToken"]), 401, "invalid_refresh_token")
    for email in (ann.email, mallory):
        for password in (PASSWORD, ANOTHER):
            problem(await login(api, email, password), 401, "wrong_credentials")
    problem(await post(api, "/auth/password/reset", token=reset, password=ANOTHER), 422, "link_invalid")
    problem(await post(api, "/auth/email/revert", token=back), 422, "link_invalid")
    assert not await db.fetchval("SELECT count(*) FROM passkeys WHERE user_id = $1", ann.id)
    assert (await accomplice.get(home)).status_code == 404
    assert (await friend.get(home)).status_code == 200, "who was there before stays"
    assert (await trail(ann.id)).count("teams.member_removed") == 1
    own = await token_of(mailbox, ann.email, "reset")
    assert (await post(api, "/auth/password/reset", token=own, password="a third one")).status_code == 204
    assert (await login(api, ann.email, "a third one")).status_code == 200
    assert "users.email_reverted" in await trail(ann.id)


async def test_an_address_that_is_being_left_is_nobody_elses_for_a_moment(api: Api, mailbox: Mailbox) -> None:
    ann, new = await api.person(), address()
    await ask(ann, new)
    tokens = [await token_of(mailbox, ann.email, "change-old"), await token_of(mailbox, new, "change-new")]
    await post(api, "/auth/email/confirm", token=tokens[0])
    grabs = [
        post(api, "/auth/register", email=ann.email, password=PASSWORD, name="Grabber") for _ in range(8)
    ]
    done, *grabbed = await asyncio.gather(post(api, "/auth/email/confirm", token=tokens[1]), *grabs)
    assert done.json()["data"]["changed"] is True
    assert {answer.status_code for answer in grabbed} == {409}


async def test_the_first_address_wins_over_however_many_moves(api: Api, mailbox: Mailbox) -> None:
    ann, second, third = await api.person(), address(), address()
    back = await moved(api, mailbox, ann, second)
    await a_minute_later()
    mover = Person(**{**vars(ann), "email": second})
    thiefs_back = await moved(api, mailbox, mover, third)
    assert (await post(api, "/auth/email/revert", token=back)).status_code == 204
    assert await email_of(ann) == ann.email
    problem(await post(api, "/auth/email/revert", token=thiefs_back), 422, "link_invalid")
    assert await email_of(ann) == ann.email


async def test_after_a_week_the_old_address_is_anybodys(api: Api, mailbox: Mailbox) -> None:
    ann, new = await api.person(), address()
    back = await moved(api, mailbox, ann, new)
    left = await db.fetchval(
        "SELECT max(expires_at) - now() FROM one_time_tokens WHERE user_id = $1 AND purpose = $2",
        ann.id,
        email_change.REVERT,
    )
    assert left.days == 6, "seven, less the moment that has passed"
    await expired(ann.id)
    problem(await post(api, "/auth/email/revert", token=back), 422, "link_invalid")
    again = await post(api, "/auth/register", email=ann.email, password=PASSWORD, name="Anybody")
    assert again.status_code == 201


async def test_one_may_move_back_by_oneself(api: Api, mailbox: Mailbox) -> None:
    ann, new = await api.person(), address()
    await moved(api, mailbox, ann, new)
    await a_minute_later()
    mover = Person(**{**vars(ann), "email": new})
    await ask(mover, ann.email)
    for who, kind in ((new, "change-old"), (ann.email, "change-new")):
        token = await token_of(mailbox, who, kind)
        assert (await post(api, "/auth/email/confirm", token=token)).status_code == 200
    assert await email_of(ann) == ann.email


async def test_an_address_must_be_another_one_that_mail_can_reach(api: Api) -> None:
    ann = await api.person()
    problem(await ask(ann, ann.email.upper()), 422, "same_address")
    problem(await ask(ann, "http://evil.example@x"), 422, "invalid")
    problem(await api.call("POST", "/users/me/email", json={"email": address()}), 401, "no_token")
