"""Second factors: enrolled, asked for, used once, and what somebody who should not get in can try."""

import asyncio
import json
import re
import secrets
from collections.abc import Callable
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from domain import crypto, db
from domain.actor import Actor
from domain.auth import enrolment, proofs
from domain.auth import service as auth
from domain.auth.throttle import FACTORS
from tests.app.company import bare, problem
from tests.app.second_factors import (
    App,
    actions,
    early_in_a_step,
    enrol,
    login,
    mfa_token,
    next_step,
    session_of,
    verify,
)
from tests.app.signing_in import signed_in
from tests.factories import Api


async def test_an_app_is_enrolled_by_confirming_a_code_of_it(api: Api) -> None:
    ann = await api.person()
    nothing = (await ann.get("/auth/mfa")).json()["data"]
    assert nothing == {
        "totpConfirmedAt": None, "recoveryCodesLeft": 0, "passkeys": 0, "secondFactorAt": None,
    }  # fmt: skip
    first = (await ann.post("/auth/mfa/totp")).json()["data"]
    assert (await login(ann)).status_code == 200, "it counts for nothing yet"

    app = await enrol(ann)
    assert app.secret != first["secret"], "asked for again, it is another one"
    assert len(app.secret) == 32, "160 bits"
    has = (await ann.get("/auth/mfa")).json()["data"]
    assert has["totpConfirmedAt"] is not None
    assert has["secondFactorAt"] is not None, "the session has just shown it"
    assert has["recoveryCodesLeft"] == 10
    uri = urlsplit(first["otpauthUri"])
    assert (uri.scheme, uri.netloc, unquote(uri.path)) == ("otpauth", "totp", f"/Maycole:{ann.email}")
    assert parse_qs(uri.query)["secret"] == [first["secret"]]


async def test_recovery_codes_are_ten_of_a_hundred_bits_and_shown_once(api: Api) -> None:
    ann = await api.person()
    app = await enrol(ann)
    assert len(set(app.recovery_codes)) == 10
    for code in app.recovery_codes:
        assert re.fullmatch(r"([0-9a-hjkmnp-tv-z]{4}-){4}[0-9a-hjkmnp-tv-z]{4}", code)
    shown = (await ann.get("/auth/mfa")).text
    assert not any(code in shown for code in app.recovery_codes)


async def test_what_is_confirmed_is_not_overwritten(api: Api) -> None:
    ann = await api.person()
    problem(await ann.post("/auth/mfa/totp/confirm", {"code": "123456"}), 409, "totp_not_started")
    app = await enrol(ann)
    problem(await ann.post("/auth/mfa/totp"), 409, "totp_enrolled")
    problem(await ann.post("/auth/mfa/totp/confirm", {"code": app.code()}), 409, "totp_enrolled")
    assert (await login(ann, totp=app.code())).status_code == 200


async def test_a_wrong_code_confirms_nothing_and_of_two_confirmations_one_answers(api: Api) -> None:
    ann = await api.person()
    secret = (await ann.post("/auth/mfa/totp")).json()["data"]["secret"]
    app = App(secret)
    for code in (app.wrong(), app.code(5), "x", "１２３４５６"):  # noqa: RUF001 - digits, but no code's
        problem(await ann.post("/auth/mfa/totp/confirm", {"code": code}), 403, "wrong_code")
    assert (await login(ann)).status_code == 200
    both = await asyncio.gather(*(ann.post("/auth/mfa/totp/confirm", {"code": app.code()}) for _ in range(4)))
    assert sorted(answer.status_code for answer in both) == [200, 409, 409, 409]


async def test_a_secret_that_nobody_confirmed_in_time_is_void(api: Api) -> None:
    ann = await api.person()
    app = App((await ann.post("/auth/mfa/totp")).json()["data"]["secret"])
    await db.execute(
        "UPDATE mfa_factors SET created_at = created_at - $2::interval WHERE user_id = $1",
        ann.id,
        enrolment.UNCONFIRMED_FOR,
    )
    for code in (app.code(), app.wrong()):
        problem(await ann.post("/auth/mfa/totp/confirm", {"code": code}), 409, "totp_not_started")
    assert (await login(ann)).status_code == 200, "and asks nobody for anything"
    await enrol(ann)


async def test_a_password_alone_signs_nobody_in_once_there_is_a_second_factor(api: Api) -> None:
    ann = await api.person()
    app = await enrol(ann)
    asked = problem(await login(ann), 401, "second_factor_required")
    assert asked["factors"] == ["totp", "recovery_code"]
    answer = await verify(api, asked["mfaToken"], code=app.code())
    session = await session_of(answer)
    assert session["amr"] == ["pwd", "otp", "mfa"]
    assert session["second_factor_at"] is not None
    assert answer.json()["data"]["user"]["id"] == ann.id
    assert await signed_in(api, answer.json()["data"]["accessToken"])


async def test_a_code_may_come_with_the_password(api: Api) -> None:
    ann, bob = await api.person(), await api.person("Bob")
    app = await enrol(ann)
    assert (await session_of(await login(ann, totp=app.code())))["amr"] == ["pwd", "otp", "mfa"]
    by_paper = await login(ann, totp=app.recovery_codes[0])
    assert (await session_of(by_paper))["amr"] == ["pwd", "otp", "mfa"]
    without = await session_of(await login(bob, totp="123456"))
    assert (without["amr"], without["second_factor_at"]) == (["pwd"], None), "nobody asked for it"


async def test_only_who_has_the_password_learns_that_there_is_a_second_factor(api: Api) -> None:
    ann, bob = await api.person(), await api.person("Bob")
    app = await enrol(ann)
    right, wrong = {"password": "wrong", "totp": app.code()}, {"password": "wrong", "totp": "000000"}
    answers = [await login(ann, **right), await login(ann, **wrong), await login(bob, **right)]
    for answer in answers:
        problem(answer, 401, "wrong_credentials")
        assert bare(answer) == bare(answers[0])
    assert (await login(ann, totp=app.code())).status_code == 200, "a wrong password uses no code up"
    for _ in range(FACTORS.free + 1):
        await login(ann, **wrong)
    await next_step(ann)
    assert (await login(ann, totp=app.code())).status_code == 200, "nor does it raise the count of factors"


async def test_a_code_is_good_once(api: Api) -> None:
    ann = await api.person()
    secret = (await ann.post("/auth/mfa/totp")).json()["data"]["secret"]
    app = App(secret)
    code = app.code()
    await ann.post("/auth/mfa/totp/confirm", {"code": code})
    problem(await login(ann, totp=code), 401, "wrong_code")
    await next_step(ann)
    assert (await login(ann, totp=code)).status_code == 200
    problem(await login(ann, totp=code), 401, "wrong_code")
    problem(await ann.post("/auth/mfa/step-up", {"code": code}), 403, "wrong_code")
    problem(await verify(api, await mfa_token(ann), code=code), 401, "wrong_code")


async def test_codes_of_the_steps_beside_pass_and_those_further_away_do_not(api: Api) -> None:
    ann = await api.person()
    app = await enrol(ann)
    await early_in_a_step()
    for steps in (-3, 3):
        problem(await login(ann, totp=app.code(steps)), 401, "wrong_code")
    assert (await login(ann, totp=app.code(-1))).status_code == 200
    assert (await login(ann, totp=app.code(1))).status_code == 200
    problem(await login(ann, totp=app.code(0)), 401, "wrong_code")


async def test_a_recovery_code_is_read_as_people_type_and_good_once(api: Api) -> None:
    ann = await api.person()
    app = await enrol(ann)
    typed = app.recovery_codes[0].upper().replace("-", " ").replace("0", "O").replace("1", "l")
    assert (await login(ann, totp=typed)).status_code == 200
    for again in (typed, app.recovery_codes[0]):
        problem(await login(ann, totp=again), 401, "wrong_code")
    assert (await ann.get("/auth/mfa")).json()["data"]["recoveryCodesLeft"] == 9


async def test_new_recovery_codes_void_the_old_ones(api: Api) -> None:
    ann = await api.person()
    problem(await ann.post("/auth/mfa/recovery-codes"), 409, "no_second_factor")
    old = await enrol(ann)
    new = (await ann.post("/auth/mfa/recovery-codes")).json()["data"]["recoveryCodes"]
    assert len({*new, *old.recovery_codes}) == 20
    problem(await login(ann, totp=old.recovery_codes[0]), 401, "wrong_code")
    assert (await login(ann, totp=new[9])).status_code == 200


async def test_a_factor_of_somebody_else_is_a_wrong_one(api: Api) -> None:
    ann, bob = await api.person(), await api.person("Bob")
    anns, bobs = await enrol(ann), await enrol(bob)
    for code in (bobs.code(), bobs.recovery_codes[0]):
        problem(await login(ann, totp=code), 401, "wrong_code")
        problem(await verify(api, await mfa_token(ann), code=code), 401, "wrong_code")
    assert (await verify(api, await mfa_token(ann), code=anns.code())).status_code == 200
    assert (await login(bob, totp=bobs.code())).status_code == 200, "and it is not used up by that"
    assert (await login(bob, totp=bobs.recovery_codes[0])).status_code == 200


async def test_the_token_of_the_first_step_is_good_once_for_one_person_for_five_minutes(api: Api) -> None:
    ann, bob = await api.person(), await api.person("Bob")
    app, _ = await enrol(ann), await enrol(bob)
    bobs = await verify(api, await mfa_token(bob), code=app.code())
    problem(bobs, 401, "wrong_code")

    token = await mfa_token(ann)
    problem(await verify(api, token, code=app.wrong()), 401, "wrong_code")
    assert (await verify(api, token, code=app.code())).status_code == 200, "a wrong code does not spend it"
    await next_step(ann)
    late = await mfa_token(ann)
    await db.execute(
        """UPDATE one_time_tokens SET expires_at = expires_at - interval '5 min 1 s'
           WHERE user_id = $1 AND used_at IS NULL""",
        ann.id,
    )
    refused = [
        await verify(api, wrong, code=app.code())
        for wrong in (token, late, secrets.token_urlsafe(32), "x", ann.refresh_token, "ä" * 43)
    ]
    for answer in refused:
        problem(answer, 401, "invalid_mfa_token")
        assert bare(answer) == bare(refused[0])
    assert (await login(ann, totp=app.code())).status_code == 200, "no code was used up"


async def test_a_token_is_of_no_use_once_the_account_is_disabled(api: Api) -> None:
    ann = await api.person()
    app = await enrol(ann)
    token = await mfa_token(ann)
    await db.execute("UPDATE users SET disabled_at = now() WHERE id = $1", ann.id)
    problem(await verify(api, token, code=app.code()), 401, "invalid_mfa_token")


async def test_the_second_step_takes_a_code_or_a_passkey(api: Api) -> None:
    ann = await api.person()
    app = await enrol(ann)
    credential = {
        "id": "x", "rawId": "x", "type": "public-key",
        "response": {"clientDataJSON": "x", "authenticatorData": "x", "signature": "x"},
    }  # fmt: skip
    problem(await verify(api, await mfa_token(ann)), 422, "invalid")
    problem(await verify(api, await mfa_token(ann), code=app.code(), credential=credential), 422, "invalid")
    problem(await verify(api, await mfa_token(ann), credential=credential), 401, "wrong_code")


async def test_a_factor_that_is_removed_is_not_asked_for_and_its_codes_are_void(api: Api) -> None:
    ann = await api.person()
    app = await enrol(ann)
    token = await mfa_token(ann)
    assert (await ann.delete("/auth/mfa/totp")).status_code == 204
    assert (await ann.get("/auth/mfa")).json()["data"]["recoveryCodesLeft"] == 0
    assert (await session_of(await login(ann)))["amr"] == ["pwd"]
    for code in (app.code(), app.recovery_codes[0]):
        problem(await verify(api, token, code=code), 401, "wrong_code")
    new = await enrol(ann)
    problem(await login(ann, totp=app.recovery_codes[0]), 401, "wrong_code")
    assert (await login(ann, totp=new.code())).status_code == 200


async def test_signed_in_refuses_to_ask_inside_a_transaction(api: Api) -> None:
    ann = await api.person()
    with pytest.raises(RuntimeError, match="no transaction"):
        async with db.transaction():
            await auth.signed_in(Actor(), await proofs.of(ann.id, amr=("pwd",)))


async def test_everything_is_in_the_trail_and_nothing_secret_is_anywhere(
    api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    ann = await api.person()
    app = await enrol(ann)
    token, wrong, code = await mfa_token(ann), app.wrong(), app.code()
    await verify(api, token, code=wrong)
    await verify(api, token, code=app.recovery_codes[0])
    await ann.post("/auth/mfa/step-up", {"code": code})
    renewed = (await ann.post("/auth/mfa/recovery-codes")).json()["data"]["recoveryCodes"]
    await ann.delete("/auth/mfa/totp")
    said = await actions(ann)
    assert [action for action in said if action.startswith("auth.")] == [
        "auth.registered", "auth.factor_started", "auth.factor_added", "auth.second_factor_asked",
        "auth.second_factor_failed", "auth.recovery_code_used", "auth.logged_in", "auth.stepped_up",
        "auth.recovery_codes_renewed", "auth.factor_removed",
    ]  # fmt: skip
    rows = await db.fetch("SELECT * FROM audit_logs WHERE team_id = $1", ann.personal_team_id)
    denied = [row for row in rows if row["outcome"] == "denied"]
    assert [row["action"] for row in denied] == ["auth.second_factor_failed"]
    entries = await db.fetch("SELECT data FROM stream_entries WHERE data LIKE $1", f"%{ann.id}%")
    assert "auth.second_factor_failed" in str([row["data"] for row in entries]), "there is what we look in"
    looked_in = json.dumps([*map(repr, rows), *(row["data"] for row in entries)]) + caplog.text
    for secret in (app.secret, token, wrong, code, *app.recovery_codes, *renewed):
        # Six digits may be a part of a time or an id; as a word of its own they would be the code.
        assert not re.search(rf"(?<![0-9a-z.]){re.escape(secret)}(?![0-9a-z])", looked_in), secret


async def test_a_copy_of_the_database_holds_nothing_that_could_be_used(api: Api) -> None:
    ann, bob = await api.person(), await api.person("Bob")
    app = await enrol(ann)
    await enrol(bob)
    token = await mfa_token(ann)
    tables = ("mfa_factors", "recovery_codes", "one_time_tokens")
    kept = str([await db.fetch(f"SELECT * FROM {table}") for table in tables])  # noqa: S608 - names of ours
    assert ann.id in kept, "there is what we look in"
    for secret in (app.secret, token, *app.recovery_codes):
        assert secret not in kept
        assert secret.replace("-", "") not in kept
    row = await db.fetchrow("SELECT id, secret FROM mfa_factors WHERE user_id = $1", ann.id)
    other = await db.fetchrow("SELECT id FROM mfa_factors WHERE user_id = $1", bob.id)
    assert crypto.opened(f"mfa_factors/{row['id']}/secret", row["secret"]).decode() == app.secret
    with pytest.raises(crypto.Unopenable):
        crypto.opened(f"mfa_factors/{other['id']}/secret", row["secret"])


async def test_recovery_codes_outlive_the_signing_secret(api: Api, rotate: Callable[..., None]) -> None:
    ann = await api.person()
    app = await enrol(ann)
    rotate("a secret that has just been put in place")
    assert (await login(ann, totp=app.recovery_codes[0])).status_code == 200
