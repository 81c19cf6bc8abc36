"""Step-up: what is sensitive asks again who one is, in the session that asks."""

import dataclasses
from collections.abc import Coroutine
from typing import Any

import httpx

from domain import db
from domain.actor import Actor
from domain.auth import proofs
from domain.auth import service as auth
from tests.app.company import problem
from tests.app.second_factors import (
    actions,
    add_passkey,
    enrol,
    grow_stale,
    login,
    long_ago,
    step_up_with,
)
from tests.app.under_way import verified
from tests.factories import PASSWORD, Api, Person


async def test_what_is_sensitive_asks_for_a_second_factor_not_older_than_ten_minutes(api: Api) -> None:
    ann = await api.person()
    app = await enrol(ann)
    await grow_stale(ann)
    for ask in (
        ann.delete("/auth/mfa/totp"),
        ann.post("/auth/mfa/recovery-codes"),
        ann.post("/auth/mfa/totp"),
        ann.post("/auth/passkeys/register/options"),
        ann.delete("/auth/passkeys/pkey_x"),
        ann.post("/auth/api-keys", {"name": "Robot", "scopes": []}),
        ann.post("/auth/api-keys/key_x/rotate", {"overlapSeconds": 0}),
        ann.delete("/auth/identities/ident_x"),
        ann.delete("/users/me"),
        ann.post("/auth/password/change", {"currentPassword": PASSWORD, "password": "another one entirely"}),
        ann.post("/users/me/email", {"email": "elsewhere@example.org", "password": PASSWORD}),
    ):
        refused = problem(await ask, 403, "step_up_required")
        assert refused["factors"] == ["totp", "recovery_code"]
    problem(await ann.post("/auth/mfa/step-up", {"code": app.wrong()}), 403, "wrong_code")
    problem(await ann.delete("/auth/mfa/totp"), 403, "step_up_required")
    stepped = await ann.post("/auth/mfa/step-up", {"code": app.code()})
    assert stepped.status_code == 200
    assert set(stepped.json()["data"]) == {"secondFactorAt", "freshUntil"}
    session = await db.fetchrow("SELECT amr FROM user_sessions WHERE id = $1", ann.session_id)
    assert session["amr"] == ["pwd", "otp", "mfa"], "each way once"
    assert (await ann.delete("/auth/mfa/totp")).status_code == 204


async def test_stepping_up_holds_for_one_session_only(api: Api) -> None:
    ann = await api.person()
    app = await enrol(ann)
    elsewhere = (await login(ann, totp=app.code())).json()["data"]["accessToken"]
    await grow_stale(ann)
    assert (await ann.post("/auth/mfa/step-up", {"code": app.recovery_codes[0]})).status_code == 200
    problem(await api.call("POST", "/auth/mfa/recovery-codes", token=elsewhere), 403, "step_up_required")
    assert (await ann.post("/auth/mfa/recovery-codes")).status_code == 200


def sensitive(person: Person) -> list[Coroutine[Any, Any, httpx.Response]]:
    """What adds or takes away a way in, or the account, and asks for no password by itself."""
    return [
        person.post("/auth/mfa/totp"),
        person.delete("/auth/mfa/totp"),
        person.post("/auth/passkeys/register/options"),
        person.delete("/auth/passkeys/pkey_x"),
        person.post("/auth/api-keys", {"name": "Robot", "scopes": []}),
        person.delete("/auth/identities/ident_x"),
        person.delete("/users/me"),
    ]


async def test_who_has_just_signed_in_is_asked_for_nothing_more(api: Api) -> None:
    ann = await api.person()
    problem(await ann.post("/auth/mfa/step-up", {"code": "123456"}), 409, "no_second_factor")
    problem(await ann.delete("/auth/mfa/totp"), 404, "not_found")
    assert (await ann.post("/auth/passkeys/register/options")).status_code == 200
    assert (await ann.delete("/users/me")).status_code == 204


async def test_without_a_second_factor_an_older_session_shows_the_password(api: Api) -> None:
    ann = await verified(await api.person())
    await long_ago(ann)
    for ask in sensitive(ann):
        assert problem(await ask, 403, "step_up_required")["factors"] == ["password"]
    refused = await ann.post("/auth/mfa/step-up", {"password": "not this one"})
    problem(refused, 403, "wrong_password")
    problem(await ann.delete("/users/me"), 403, "step_up_required")
    stepped = (await ann.post("/auth/mfa/step-up", {"password": PASSWORD})).json()["data"]
    assert stepped["secondFactorAt"] is None
    assert stepped["freshUntil"] is not None
    answers = [await ask for ask in sensitive(ann)]
    assert [answer.status_code for answer in answers] == [200, 204, 200, 404, 201, 404, 204]
    said = await actions(ann)
    assert said.count("auth.password_refused") == 1
    assert said.count("auth.stepped_up") == 1


async def test_a_password_shown_again_holds_for_ten_minutes_in_one_session(api: Api) -> None:
    ann = await api.person()
    elsewhere = (await login(ann)).json()["data"]["accessToken"]
    await long_ago(ann)
    assert (await ann.post("/auth/mfa/step-up", {"password": PASSWORD})).status_code == 200
    problem(await api.call("POST", "/auth/mfa/totp", token=elsewhere), 403, "step_up_required")
    assert (await ann.post("/auth/mfa/totp")).status_code == 200
    await long_ago(ann)
    problem(await ann.post("/auth/mfa/totp"), 403, "step_up_required")


async def test_whoever_has_an_older_session_does_not_guess_the_password(api: Api) -> None:
    ann = await api.person()
    await long_ago(ann)
    statuses = []
    while not statuses or (statuses[-1] == 403 and len(statuses) < 30):
        body = {"password": f"guess {len(statuses)}"}
        statuses.append((await ann.post("/auth/mfa/step-up", body)).status_code)
    assert statuses[-1] == 429, statuses
    problem(await ann.delete("/users/me"), 403, "step_up_required")


async def test_a_password_does_not_stand_in_for_a_second_factor(api: Api) -> None:
    ann = await api.person()
    await enrol(ann)
    await grow_stale(ann)
    refused = problem(await ann.post("/auth/mfa/step-up", {"password": PASSWORD}), 403, "step_up_required")
    assert refused["factors"] == ["totp", "recovery_code"]
    problem(await ann.delete("/users/me"), 403, "step_up_required")


async def test_without_a_password_one_signs_in_again_or_shows_a_passkey(api: Api) -> None:
    ann = await api.person()
    await db.execute("UPDATE users SET password_hash = NULL WHERE id = $1", ann.id)
    await long_ago(ann)
    for ask in (
        ann.delete("/users/me"),
        ann.post("/auth/password/change", {"password": "a first password"}),
        ann.post("/users/me/email", {"email": "elsewhere@example.org"}),
        ann.post("/auth/mfa/step-up", {"password": PASSWORD}),
    ):
        assert problem(await ask, 403, "step_up_required")["factors"] == []
    fresh = await auth.signed_in(Actor(), await proofs.of(ann.id, amr=("email",)))
    asked = {"password": PASSWORD}
    problem(
        await api.call("POST", "/auth/mfa/step-up", token=fresh.access_token, json=asked), 409, "no_password"
    )
    again = dataclasses.replace(ann, token=fresh.access_token)
    passkey, _ = await add_passkey(again)
    await long_ago(ann)
    assert problem(await again.post("/auth/mfa/totp"), 403, "step_up_required")["factors"] == ["passkey"]
    assert (await step_up_with(again, passkey)).status_code == 200
    assert (await again.post("/auth/mfa/totp")).status_code == 200
    assert (await again.delete("/users/me")).status_code == 204


async def test_one_thing_is_shown_at_a_time(api: Api) -> None:
    ann = await api.person()
    both = {"password": PASSWORD, "code": "123456"}
    problem(await ann.post("/auth/mfa/step-up", both), 422, "invalid")
    problem(await ann.post("/auth/mfa/step-up", {}), 422, "invalid")
