"""Step-up: what is sensitive asks for a second factor again, in the session that asks."""

from domain import db
from tests.app.company import problem
from tests.app.second_factors import (
    enrol,
    grow_stale,
    login,
)
from tests.factories import PASSWORD, Api


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


async def test_without_a_factor_nothing_is_asked_for_and_there_is_none_to_show(api: Api) -> None:
    ann = await api.person()
    problem(await ann.post("/auth/mfa/step-up", {"code": "123456"}), 409, "no_second_factor")
    problem(await ann.delete("/auth/mfa/totp"), 404, "not_found")
    assert (await ann.post("/auth/passkeys/register/options")).status_code == 200
