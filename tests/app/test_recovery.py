"""A password that was forgotten, one that is changed, and signing in without one."""

import asyncio
from typing import Any

import pytest

from domain import db
from tests.app.company import bare, problem
from tests.app.mailing import (
    a_minute_later,
    expired,
    kinds,
    mail_of,
    post,
    settled,
    token_of,
    trail,
)
from tests.app.second_factors import add_passkey, enrol
from tests.app.signing_in import login, refresh, signed_in
from tests.app.under_way import verified
from tests.factories import PASSWORD, Api, Person
from tests.listener import Listeners
from tests.mailbox import Mailbox, text
from tests.statements import Statements

ANOTHER = "another password altogether"


async def forgot(api: Api, mailbox: Mailbox, person: Person, nth: int = 1) -> str:
    assert (await post(api, "/auth/password/forgot", email=person.email)).status_code == 202
    return await token_of(mailbox, person.email, "reset", nth)


async def magic(api: Api, mailbox: Mailbox, person: Person, nth: int = 1) -> str:
    assert (await post(api, "/auth/magic-link", email=person.email)).status_code == 202
    return await token_of(mailbox, person.email, "magic", nth)


async def test_a_new_password_by_a_link_ends_all_that_was_open(
    api: Api, url: str, mailbox: Mailbox, listeners: Listeners
) -> None:
    ann = await api.person()
    screen = await listeners(url, ann.token)
    token = await forgot(api, mailbox, ann)
    done = await post(api, "/auth/password/reset", token=token, password=ANOTHER)
    assert (done.status_code, done.content) == (204, b"")
    await screen.until(lambda: ("disconnected", 3500) in screen.said)
    assert not await signed_in(api, ann.token)
    problem(await refresh(api, ann.refresh_token), 401, "invalid_refresh_token")
    problem(await login(api, ann.email), 401, "wrong_credentials")
    again = await login(api, ann.email, ANOTHER)
    assert again.json()["data"]["user"]["emailVerifiedAt"] is not None, "the link went to the address"
    assert "/auth/forgot-password" in text(await mail_of(mailbox, ann.email, "password"))
    assert {"auth.password_reset_requested", "auth.password_reset", "auth.email_verified"} <= set(
        await trail(ann.id)
    )
    problem(await post(api, "/auth/password/reset", token=token, password=PASSWORD), 422, "link_invalid")


async def test_a_new_password_ends_api_keys_and_names_the_ways_in_that_stay(
    api: Api, mailbox: Mailbox
) -> None:
    """A thief who was inside may have added any of them; the owner may have nothing else."""
    ann = await verified(await api.person())
    passkey = (await add_passkey(ann, "Laptop"))[1]
    lure = (await add_passkey(ann, "go to evil.example"))[1]
    await enrol(ann)
    key = (await ann.post("/auth/api-keys", {"name": "Robot", "scopes": []})).json()["data"]
    assert (await api.call("GET", "/users/me", token=key["key"])).status_code == 200
    body = {"currentPassword": PASSWORD, "password": f"{ANOTHER} first"}
    assert (await ann.post("/auth/password/change", body)).status_code == 204
    assert "the API key “Robot”" in text(await mail_of(mailbox, ann.email, "password"))
    assert (await api.call("GET", "/users/me", token=key["key"])).status_code == 200, "it is the owner's"

    token = await forgot(api, mailbox, ann)
    assert (await post(api, "/auth/password/reset", token=token, password=ANOTHER)).status_code == 204
    problem(await api.call("GET", "/users/me", token=key["key"]), 401, "invalid_api_key")
    said = text(await mail_of(mailbox, ann.email, "password", 2))
    assert "the passkey “Laptop” (since " in said
    assert "- a passkey (since " in said
    assert "evil" not in said
    assert "an authenticator app" in said
    assert "API key" not in said
    assert {"auth.api_key_revoked", "auth.password_reset"} <= set(await trail(ann.id))
    left = await db.fetchval(
        "SELECT metadata -> 'left' FROM audit_logs WHERE action = 'auth.password_reset' AND resource = $1",
        ann.id,
    )
    assert [way["id"] for way in left if way["kind"] == "passkey"] == [passkey, lure]
    assert {way["kind"] for way in left} == {"passkey", "totp"}


async def test_an_account_with_nothing_but_its_password_is_told_so(api: Api, mailbox: Mailbox) -> None:
    ann = await api.person()
    body = {"currentPassword": PASSWORD, "password": ANOTHER}
    assert (await ann.post("/auth/password/change", body)).status_code == 204
    assert "- nothing else" in text(await mail_of(mailbox, ann.email, "password"))


async def test_where_a_reset_was_asked_from_is_in_the_trail(api: Api, mailbox: Mailbox) -> None:
    ann = await api.person()
    headers = {"User-Agent": "Reset/1", "X-Request-Id": "asked-for-a-reset"}
    await api.call("POST", "/auth/password/forgot", json={"email": ann.email}, headers=headers)
    await mail_of(mailbox, ann.email, "reset")
    row = await db.fetchrow(
        """SELECT ip, user_agent, request_id, user_id FROM audit_logs
           WHERE action = 'auth.password_reset_requested' AND resource = $1""",
        ann.id,
    )
    assert row is not None
    assert tuple(row) == ("127.0.0.1", "Reset/1", "asked-for-a-reset", None), "nobody has shown who they are"


@pytest.mark.parametrize("path", ["/auth/password/forgot", "/auth/magic-link"])
async def test_a_known_and_an_unknown_address_are_answered_alike_after_the_same_work(
    api: Api, mailbox: Mailbox, path: str
) -> None:
    ann = await api.person()
    await settled()
    answers, work = [], []
    for email in (ann.email, "x" + ann.email, ann.email.upper(), ann.email):
        async with Statements() as said:
            answers.append(await post(api, path, email=email))
        work.append(said.of_requests)
    assert answers[0].status_code == 202
    assert len({str(bare(answer)) for answer in answers}) == 1
    assert len({tuple(statements) for statements in work}) == 1
    assert any("pgqueuer" in statement for statement in work[0]), "what was counted is its work"
    assert not any("users" in statement for statement in work[0]), "nobody was looked up"
    await settled()
    assert mailbox.of("x" + ann.email) == []


async def test_a_disabled_account_is_mailed_no_link_and_one_that_it_has_is_no_good(
    api: Api, mailbox: Mailbox
) -> None:
    ann = await api.person()
    tokens = [await forgot(api, mailbox, ann), await magic(api, mailbox, ann)]
    await db.execute("UPDATE users SET disabled_at = now() WHERE id = $1", ann.id)
    await a_minute_later()
    before = kinds(mailbox, ann.email)
    await post(api, "/auth/password/forgot", email=ann.email)
    await post(api, "/auth/magic-link", email=ann.email)
    await settled()
    assert kinds(mailbox, ann.email) == before
    reset = await post(api, "/auth/password/reset", token=tokens[0], password=ANOTHER)
    assert problem(reset, 422, "link_invalid")
    assert problem(await post(api, "/auth/magic-link/consume", token=tokens[1]), 422, "link_invalid")


async def test_an_address_is_mailed_once_a_minute_and_one_link_used_is_the_end_of_all(
    api: Api, mailbox: Mailbox
) -> None:
    ann = await api.person()
    first = await forgot(api, mailbox, ann)
    for email in (ann.email, ann.email.upper(), ann.email):
        await post(api, "/auth/password/forgot", email=email)
        await settled()
    assert kinds(mailbox, ann.email).count("reset") == 1
    await a_minute_later()
    second = await forgot(api, mailbox, ann, nth=2)
    # Asking again does not end the one before: else a stranger who keeps asking would.
    assert (await post(api, "/auth/password/reset", token=first, password=ANOTHER)).status_code == 204
    problem(await post(api, "/auth/password/reset", token=second, password=ANOTHER), 422, "link_invalid")


async def test_a_link_that_is_too_old_or_another_kind_does_nothing(api: Api, mailbox: Mailbox) -> None:
    ann = await api.person()
    link, reset = await magic(api, mailbox, ann), await forgot(api, mailbox, ann)
    verify = await token_of(mailbox, ann.email, "verify")
    calls: list[tuple[str, dict[str, Any]]] = [
        ("/auth/password/reset", {"token": link, "password": ANOTHER}),
        ("/auth/password/reset", {"token": verify, "password": ANOTHER}),
        ("/auth/magic-link/consume", {"token": reset}),
        ("/auth/magic-link/consume", {"token": verify}),
        ("/auth/verify-email", {"token": link}),
        ("/auth/email/confirm", {"token": reset}),
        ("/auth/email/revert", {"token": reset}),
        ("/auth/sessions/disown", {"token": reset}),
        ("/auth/ways-in/undo", {"token": reset}),
    ]
    unknown = await post(api, "/auth/magic-link/consume", token="mot_nothing")
    said = {str(bare(await post(api, path, **body))) for path, body in calls}
    await expired(ann.id)
    said.add(str(bare(await post(api, "/auth/magic-link/consume", token=link))))
    said.add(str(bare(await post(api, "/auth/password/reset", token=reset, password=ANOTHER))))
    assert said == {str(bare(unknown))}
    problem(unknown, 422, "link_invalid")
    assert (await login(api, ann.email)).status_code == 200


async def test_a_password_that_is_none_does_not_use_the_link_up(api: Api, mailbox: Mailbox) -> None:
    ann = await api.person()
    token = await forgot(api, mailbox, ann)
    problem(await post(api, "/auth/password/reset", token=token, password="short"), 422, "invalid")
    assert (await post(api, "/auth/password/reset", token=token, password=ANOTHER)).status_code == 204


async def test_twenty_who_follow_one_link_at_once_are_one_session(api: Api, mailbox: Mailbox) -> None:
    ann = await api.person()
    token = await magic(api, mailbox, ann)
    answers = await asyncio.gather(*(post(api, "/auth/magic-link/consume", token=token) for _ in range(20)))
    assert sorted(answer.status_code for answer in answers) == [200] + [422] * 19
    [data] = [answer.json()["data"] for answer in answers if answer.status_code == 200]
    assert await signed_in(api, data["accessToken"])
    sessions = (await api.call("GET", "/auth/sessions", token=data["accessToken"])).json()["data"]
    assert sessions[0]["amr"] == ["email"]


async def test_a_magic_link_is_one_factor(api: Api, mailbox: Mailbox) -> None:
    ann = await api.person()
    verify = await token_of(mailbox, ann.email, "verify")
    assert (await post(api, "/auth/verify-email", token=verify)).status_code == 204
    app = await enrol(ann)
    token = await magic(api, mailbox, ann)
    asked = problem(await post(api, "/auth/magic-link/consume", token=token), 401, "second_factor_required")
    problem(await post(api, "/auth/magic-link/consume", token=token), 422, "link_invalid")
    shown = await post(api, "/auth/mfa/verify", mfaToken=asked["mfaToken"], code=app.code())
    assert shown.status_code == 200, shown.text
    assert await signed_in(api, shown.json()["data"]["accessToken"])


async def test_a_magic_link_can_sign_a_page_in(api: Api, mailbox: Mailbox) -> None:
    ann = await api.person()
    token = await magic(api, mailbox, ann)
    answer = await post(api, "/auth/magic-link/consume", token=token, mode="cookie")
    assert answer.status_code == 200
    assert "refreshToken" not in answer.json()["data"]
    assert {line.split("=")[0] for line in answer.headers.get_list("set-cookie")} == {
        "maycole_refresh",
        "maycole_csrf",
    }
    api.http.cookies.clear()


async def test_who_owns_the_address_finds_no_trap_in_an_account_that_somebody_made_with_it(
    api: Api, mailbox: Mailbox
) -> None:
    """Account pre-hijacking: the attacker registers with the victim's address, and waits."""
    attacker, accomplice = await api.person("Mallory"), await api.person("Accomplice")
    home = f"/teams/{attacker.personal_team_id}"
    let_in = await attacker.post(f"{home}/members", {"userId": accomplice.id, "role": "owner"})
    assert let_in.status_code == 201
    await db.execute(
        """INSERT INTO passkeys (id, user_id, credential_id, public_key, sign_count, transports, name,
                                 backed_up, created_at)
           VALUES ($1, $2, $1, '', 0, '{}', 'trap', false, now() - interval '1 hour')""",  # another clock
        f"pk_{attacker.id}",
        attacker.id,
    )
    token = await magic(api, mailbox, attacker)
    victim = (await post(api, "/auth/magic-link/consume", token=token)).json()["data"]
    assert victim["user"]["emailVerifiedAt"] is not None
    assert await signed_in(api, victim["accessToken"])
    assert not await signed_in(api, attacker.token)
    problem(await login(api, attacker.email), 401, "wrong_credentials")
    assert not await db.fetchval("SELECT count(*) FROM passkeys WHERE user_id = $1", attacker.id)
    assert (await accomplice.get(home)).status_code == 404
    assert (await api.call("GET", home, token=victim["accessToken"])).status_code == 200


async def test_changing_ones_password_ends_the_other_sessions_and_links(api: Api, mailbox: Mailbox) -> None:
    ann = await api.person()
    other = (await login(api, ann.email)).json()["data"]
    token = await forgot(api, mailbox, ann)
    for wrong in ({}, {"currentPassword": "not this one"}):
        refused = await ann.post("/auth/password/change", {**wrong, "password": ANOTHER})
        problem(refused, 403, "wrong_password")
    assert await signed_in(api, other["accessToken"])
    body = {"currentPassword": PASSWORD, "password": ANOTHER}
    assert (await ann.post("/auth/password/change", body)).status_code == 204
    assert [await signed_in(api, each) for each in (ann.token, other["accessToken"])] == [True, False]
    assert (await login(api, ann.email, ANOTHER)).status_code == 200
    problem(await post(api, "/auth/password/reset", token=token, password=PASSWORD), 422, "link_invalid")
    await mail_of(mailbox, ann.email, "password")
    assert (await trail(ann.id)).count("auth.password_refused") == 1, "without one nothing was tried"
    problem(await api.call("POST", "/auth/password/change", json=body), 401, "no_token")


async def test_whoever_has_the_session_does_not_guess_the_password(api: Api) -> None:
    ann = await api.person()
    statuses = []
    for guess in range(30):
        body = {"currentPassword": f"guess {guess}", "password": ANOTHER}
        statuses.append((await ann.post("/auth/password/change", body)).status_code)
        if statuses[-1] == 429:
            break
    assert statuses[-1] == 429, statuses
    assert set(statuses[:-1]) == {403}
    moves = await ann.post("/users/me/email", {"email": "x" + ann.email, "password": "one more guess"})
    assert problem(moves, 429, "too_many_attempts")["retryAfter"] > 0


async def test_of_two_changes_of_one_password_at_once_one_counts(api: Api) -> None:
    ann = await api.person()
    bodies = [{"currentPassword": PASSWORD, "password": f"{ANOTHER} {n}"} for n in range(2)]
    answers = await asyncio.gather(*(ann.post("/auth/password/change", body) for body in bodies))
    assert sorted(answer.status_code for answer in answers) == [204, 403]


async def test_an_account_without_a_password_can_be_given_one(api: Api) -> None:
    ann = await api.person()
    await db.execute("UPDATE users SET password_hash = NULL WHERE id = $1", ann.id)
    assert (await ann.post("/auth/password/change", {"password": ANOTHER})).status_code == 204
    assert (await login(api, ann.email, ANOTHER)).status_code == 200
