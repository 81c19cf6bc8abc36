"""Passkeys: added, signed in with, shown as a second factor, taken away.

The authenticator is one in software here (authenticator.py); that browsers get on with this server is in
test_passkeys_in_a_browser.py, what forgers try in test_passkeys_forged.py.
"""

import asyncio
import secrets

import pytest

from domain import db
from domain.auth import ceremony
from domain.auth.passkeys import PASSKEYS_MAX
from tests.app.authenticator import Authenticator
from tests.app.company import bare, problem
from tests.app.second_factors import (
    actions,
    add_passkey,
    creation_options,
    enrol,
    grow_stale,
    login,
    mfa_token,
    passkey_login,
    register,
    request_options,
    session_of,
    sign_in_with,
    step_up_with,
    verify,
)
from tests.factories import Api


async def test_a_passkey_is_added_listed_renamed_and_removed(api: Api) -> None:
    ann = await api.person()
    options = await creation_options(ann)
    assert options["rp"] == {"id": "app.example", "name": "Maycole"}
    assert options["user"]["name"] == ann.email
    assert options["authenticatorSelection"] == {
        "residentKey": "required", "requireResidentKey": True, "userVerification": "required",
    }  # fmt: skip
    one, passkey_id = await add_passkey(ann)
    again = await creation_options(ann)
    assert [known["id"] for known in again["excludeCredentials"]] == [one.create(again)["id"]]
    place = f"/auth/passkeys/{passkey_id}"
    renamed = (await ann.patch(place, {"name": "Phone"})).json()["data"]
    assert (renamed["name"], renamed["lastUsedAt"], renamed["backedUp"]) == ("Phone", None, False)
    assert (await ann.get("/auth/passkeys")).json()["data"] == [renamed]
    assert (await ann.get("/auth/mfa")).json()["data"]["passkeys"] == 1
    assert (await ann.delete(place)).status_code == 204
    assert (await ann.get("/auth/passkeys")).json()["data"] == []
    problem(await sign_in_with(api, one), 401, "invalid_passkey")
    assert [action for action in await actions(ann) if "passkey" in action] == [
        "auth.passkey_added", "auth.passkey_renamed", "auth.passkey_removed",
    ]  # fmt: skip


async def test_a_passkey_signs_in_without_an_address_and_is_two_factors(api: Api) -> None:
    ann = await api.person()
    await enrol(ann)
    one, _ = await add_passkey(ann)
    options = await request_options(api)
    assert options["userVerification"] == "required"
    assert options["allowCredentials"] == [], "whichever there is"
    answer = await passkey_login(api, one.get(options))
    assert answer.json()["data"]["user"]["id"] == ann.id
    session = await session_of(answer)
    assert session["amr"] == ["hwk", "mfa"]
    assert session["second_factor_at"] is not None
    [passkey] = (await ann.get("/auth/passkeys")).json()["data"]
    assert passkey["lastUsedAt"] is not None


async def test_a_passkey_is_a_second_factor(api: Api) -> None:
    ann, bob = await api.person(), await api.person("Bob")
    await enrol(ann)
    (one, _), (bobs, _) = await add_passkey(ann), await add_passkey(bob)
    asked = await login(ann)
    assert asked.json()["factors"] == ["totp", "recovery_code", "passkey"]
    token = asked.json()["mfaToken"]
    options = await request_options(api, mfaToken=token)
    assert [known["id"] for known in options["allowCredentials"]] == [one.get(options)["id"]]
    problem(await verify(api, token, credential=bobs.get(options)), 401, "wrong_code")
    for_anyone = await request_options(api)
    problem(await verify(api, token, credential=one.get(for_anyone)), 401, "wrong_code")
    await enrol(bob)
    for_bob = await request_options(api, mfaToken=await mfa_token(bob))
    problem(await verify(api, token, credential=one.get(for_bob)), 401, "wrong_code")
    options = await request_options(api, mfaToken=token)
    answer = await verify(api, token, credential=one.get(options))
    assert (await session_of(answer))["amr"] == ["pwd", "hwk", "mfa"]
    problem(
        await api.call("POST", "/auth/passkeys/login/options", json={"mfaToken": token}),
        401,
        "invalid_mfa_token",
    )


async def test_a_passkey_does_not_wait_for_the_codes_that_somebody_guesses(api: Api) -> None:
    ann = await api.person()
    app = await enrol(ann)
    one, _ = await add_passkey(ann)
    for _ in range(6):
        await login(ann, totp=app.wrong())
    token = await mfa_token(ann)
    problem(await verify(api, token, code=app.code()), 429, "too_many_attempts")
    options = await request_options(api, mfaToken=token)
    assert (await verify(api, token, credential=one.get(options))).status_code == 200
    assert (await login(ann, totp=app.code())).status_code == 200, "and the count is cleared"


async def test_whoever_signed_in_with_a_passkey_steps_up_with_it(api: Api) -> None:
    ann = await api.person()
    one, passkey_id = await add_passkey(ann)
    assert (await ann.delete(f"/auth/passkeys/{passkey_id}")).status_code == 204, "a lost one can go"
    one, passkey_id = await add_passkey(ann)
    by_passkey = (await sign_in_with(api, one)).json()["data"]
    ann.token, ann.session_id = by_passkey["accessToken"], by_passkey["sessionId"]
    await grow_stale(ann)
    for refused in (await ann.delete(f"/auth/passkeys/{passkey_id}"), await ann.post("/auth/mfa/totp")):
        assert problem(refused, 403, "step_up_required")["factors"] == ["passkey"]
    problem(await ann.post("/auth/mfa/step-up", {"code": "123456"}), 403, "wrong_code")
    assert (await step_up_with(ann, one)).status_code == 200
    assert (await ann.delete(f"/auth/passkeys/{passkey_id}")).status_code == 204


async def test_an_authenticator_that_does_not_count_is_fine(api: Api) -> None:
    ann = await api.person()
    one, _ = await add_passkey(ann)
    for _ in range(2):
        one.count = -1
        assert (await sign_in_with(api, one)).status_code == 200


async def test_one_passkey_is_of_one_account(api: Api) -> None:
    ann, bob = await api.person(), await api.person("Bob")
    one, _ = await add_passkey(ann)
    stolen = one.create(await creation_options(bob))
    problem(await register(bob, stolen), 409, "passkey_exists")
    assert (await bob.get("/auth/passkeys")).json()["data"] == []


async def test_a_passkey_of_somebody_else_looks_like_none(api: Api) -> None:
    ann, bob = await api.person(), await api.person("Bob")
    _, passkey_id = await add_passkey(ann)
    for absent in ("pkey_x", passkey_id):
        place = f"/auth/passkeys/{absent}"
        for refused in (await bob.delete(place), await bob.patch(place, {"name": "Mine"})):
            problem(refused, 404, "not_found")
    none, foreign = (
        await bob.delete("/auth/passkeys/pkey_x"),
        await bob.delete(f"/auth/passkeys/{passkey_id}"),
    )
    assert bare(none) == bare(foreign)
    assert len((await ann.get("/auth/passkeys")).json()["data"]) == 1


async def test_nobody_takes_away_their_own_last_way_in(api: Api) -> None:
    ann = await api.person()
    kept = [await add_passkey(ann) for _ in range(3)]
    await db.execute("UPDATE users SET password_hash = NULL WHERE id = $1", ann.id)
    answers = await asyncio.gather(*(ann.delete(f"/auth/passkeys/{passkey_id}") for _, passkey_id in kept))
    assert sorted(answer.status_code for answer in answers) == [204, 204, 409]
    [left] = (await ann.get("/auth/passkeys")).json()["data"]
    problem(await ann.delete(f"/auth/passkeys/{left['id']}"), 409, "last_way_in")
    problem(await ann.delete("/auth/passkeys/pkey_x"), 404, "not_found")
    await db.execute(
        """INSERT INTO oauth_identities (id, user_id, provider, subject, last_used_at, created_at)
           VALUES ($1, $2, 'google', $1, now(), now())""",
        f"ident_{secrets.token_hex(8)}",
        ann.id,
    )
    assert (await ann.delete(f"/auth/passkeys/{left['id']}")).status_code == 204


async def test_an_account_has_twenty_passkeys_at_most(api: Api) -> None:
    ann = await api.person()
    waiting = [Authenticator().create(await creation_options(ann)) for _ in range(4)]
    for _ in range(PASSKEYS_MAX - 2):
        await add_passkey(ann)
    answers = await asyncio.gather(*(register(ann, one) for one in waiting))
    assert sorted(answer.status_code for answer in answers) == [201, 201, 409, 409]
    problem(await ann.post("/auth/passkeys/register/options"), 409, "too_many_passkeys")


async def test_a_disabled_account_is_not_signed_in_to(api: Api) -> None:
    ann = await api.person()
    one, _ = await add_passkey(ann)
    unknown = await sign_in_with(api, Authenticator())
    await db.execute("UPDATE users SET disabled_at = now() WHERE id = $1", ann.id)
    assert bare(await sign_in_with(api, one)) == bare(unknown)


async def test_without_a_domain_there_are_no_passkeys(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    ann = await api.person()
    monkeypatch.setattr(ceremony, "_party", None)
    problem(await ann.post("/auth/passkeys/register/options"), 503, "passkeys_not_configured")
    problem(await api.call("POST", "/auth/passkeys/login/options", json={}), 503, "passkeys_not_configured")


async def test_a_synchronised_passkey_is_a_key_in_software(api: Api) -> None:
    ann, one = await api.person(), Authenticator()
    one.flags |= 0x08 | 0x10
    assert (await register(ann, one.create(await creation_options(ann)))).json()["data"]["backedUp"] is True
    assert (await session_of(await sign_in_with(api, one)))["amr"] == ["swk", "mfa"]
