"""Showing that an address is one's own; and a server that lets nobody in before."""

import asyncio
from collections.abc import Iterator

import httpx
import pytest

from domain import db
from domain.actor import Actor
from domain.auth import post as posted
from domain.auth import verification
from tests.app.company import bare, problem
from tests.app.mailing import a_minute_later, expired, kinds, mail_of, post, settled, token_of, trail
from tests.app.signing_in import login, signed_in
from tests.factories import PASSWORD, Api, Person
from tests.mailbox import Mailbox, text
from tests.statements import Statements


@pytest.fixture
def required() -> Iterator[None]:
    """A server with AUTH_REQUIRE_VERIFIED_EMAIL=on."""
    verification.install(required=True)
    yield
    verification.install(required=False)


async def register(api: Api, email: str, name: str = "Ann", password: str = PASSWORD) -> httpx.Response:
    return await post(api, "/auth/register", email=email, password=password, name=name)


async def registered_before(api: Api) -> Person:
    """Somebody whose account is older than the rule."""
    verification.install(required=False)
    person = await api.person()
    verification.install(required=True)
    return person


async def test_whoever_registers_confirms_their_address_by_a_link(api: Api, mailbox: Mailbox) -> None:
    ann = await api.person()
    token = await token_of(mailbox, ann.email, "verify")
    done = await post(api, "/auth/verify-email", token=token)
    assert (done.status_code, done.content) == (204, b"")
    me = (await ann.get("/users/me")).json()["data"]
    assert me["emailVerifiedAt"] is not None
    assert "auth.email_verified" in await trail(ann.id)
    problem(await post(api, "/auth/verify-email", token=token), 422, "link_invalid")
    again = await ann.post("/auth/verify-email/resend")
    assert again.status_code == 202
    await settled()
    assert kinds(mailbox, ann.email) == ["verify"], "there is nothing left to confirm"


async def test_another_link_makes_the_first_one_void_and_comes_once_a_minute(
    api: Api, mailbox: Mailbox
) -> None:
    ann = await api.person()
    first = await token_of(mailbox, ann.email, "verify")
    answers = [await ann.post("/auth/verify-email/resend") for _ in range(3)]
    await settled()
    assert kinds(mailbox, ann.email) == ["verify"]
    await a_minute_later()
    answers.append(await ann.post("/auth/verify-email/resend"))
    assert len({str(bare(answer)) for answer in answers}) == 1, "the answer does not tell"
    second = await token_of(mailbox, ann.email, "verify", 2)
    problem(await post(api, "/auth/verify-email", token=first), 422, "link_invalid")
    await expired(ann.id)
    problem(await post(api, "/auth/verify-email", token=second), 422, "link_invalid")
    problem(await api.call("POST", "/auth/verify-email/resend"), 401, "no_token")


async def test_a_link_confirms_nothing_once_the_account_has_another_address(
    api: Api, mailbox: Mailbox
) -> None:
    ann = await api.person()
    token = await token_of(mailbox, ann.email, "verify")
    await db.execute("UPDATE users SET email = $2 WHERE id = $1", ann.id, "new-" + ann.email)
    problem(await post(api, "/auth/verify-email", token=token), 422, "link_invalid")


@pytest.mark.parametrize("name", ["Win at https://evil.example", "evil.example", "www evil", "a@b", "x//y"])
async def test_a_name_does_not_turn_our_mail_into_somebodys_advertisement(
    api: Api, mailbox: Mailbox, name: str
) -> None:
    email = f"advert-{abs(hash(name))}@example.org"
    assert (await register(api, email, name)).status_code == 201
    mail = await mail_of(mailbox, email, "verify")
    assert "Hello there," in text(mail)
    assert name not in text(mail)


def test_a_persons_name_is_said_as_it_is() -> None:
    for name in ("Ann", "J. R. Smith", "Żółć O'Neill-Łuć", "名前", "Dr. Ann"):
        assert posted.greeted(name) == name


async def test_registering_answers_a_known_and_an_unknown_address_alike(
    api: Api, mailbox: Mailbox, required: None
) -> None:
    ann = await registered_before(api)
    answers, work = [], []
    for email in (ann.email, "x" + ann.email, ann.email.upper()):
        async with Statements() as said:
            answers.append(await register(api, email))
        work.append(tuple(said.of_requests))
    assert answers[0].status_code == 202
    assert answers[0].json() == {"success": True, "data": {"accepted": True}}
    assert len({str(bare(answer)) for answer in answers}) == 1
    assert len(set(work)) == 1
    assert not any("users" in statement for statement in work[0]), "nobody was looked up"
    await mail_of(mailbox, "x" + ann.email, "verify")
    await mail_of(mailbox, ann.email, "known")
    await settled()
    assert kinds(mailbox, ann.email).count("known") == 1, "once a minute"
    assert "auth.registration_refused" in await trail(ann.id)
    problem(await login(api, ann.email, PASSWORD + "x"), 401, "wrong_credentials")


async def test_nobody_is_let_in_before_their_address_is_confirmed(
    api: Api, mailbox: Mailbox, required: None
) -> None:
    email = "waits-for-a-link@example.org"
    assert (await register(api, email)).status_code == 202
    first = await token_of(mailbox, email, "verify")
    problem(await login(api, email), 403, "email_not_verified")
    problem(await login(api, email), 403, "email_not_verified")
    unknown = await login(api, "x" + email, "wrong password")
    assert bare(await login(api, email, "wrong password")) == bare(unknown), "only after the right password"
    await settled()
    assert kinds(mailbox, email) == ["verify"]
    await a_minute_later()
    problem(await login(api, email), 403, "email_not_verified")
    second = await token_of(mailbox, email, "verify", 2)
    problem(await post(api, "/auth/verify-email", token=first), 422, "link_invalid")
    assert (await post(api, "/auth/verify-email", token=second)).status_code == 204
    let_in = (await login(api, email)).json()["data"]
    assert await signed_in(api, let_in["accessToken"])
    said = await trail(let_in["user"]["id"])
    assert said.count("auth.login_unverified") == 3
    assert {"auth.account_made", "auth.email_verified"} <= set(said)


async def test_a_magic_link_confirms_the_address_too(api: Api, mailbox: Mailbox, required: None) -> None:
    email = "comes-by-magic@example.org"
    await register(api, email)
    await mail_of(mailbox, email, "verify")
    await post(api, "/auth/magic-link", email=email)
    token = await token_of(mailbox, email, "magic")
    assert (await post(api, "/auth/magic-link/consume", token=token)).status_code == 200


async def test_an_account_is_made_once_however_often_the_job_is_done(
    api: Api, mailbox: Mailbox, required: None
) -> None:
    email = "made-once@example.org"
    applicant = verification.Applicant(
        actor=Actor(),
        user_id="user_0madeonce0000000000000000",
        team_id="team_0madeonce0000000000000000",
        email=email,
        name="Ann",
        password_hash="none",
    )
    for _ in range(3):
        await verification.make_account(applicant)
    await settled()
    assert kinds(mailbox, email) == ["verify"]


async def test_two_who_register_one_address_at_once_are_one_account(
    api: Api, mailbox: Mailbox, required: None
) -> None:
    email = "at-once@example.org"
    answers = await asyncio.gather(*(register(api, email) for _ in range(4)))
    assert {answer.status_code for answer in answers} == {202}
    await settled()
    assert sorted(kinds(mailbox, email)) == ["known", "verify"]
    assert await db.fetchval("SELECT count(*) FROM users WHERE email = $1", email) == 1


async def test_an_address_that_no_mail_reaches_is_refused_where_it_must_be_confirmed(
    api: Api, required: None
) -> None:
    problem(await register(api, "a,b@example.org"), 422, "invalid")
