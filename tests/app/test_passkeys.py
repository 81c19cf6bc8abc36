"""Passkeys: made, signed in with, shown as a second factor; and what a forger, a thief or a page elsewhere tries.

The authenticator is one in software here (authenticator.py), because a browser would not do any of it wrong;
that real browsers get on with this server is in test_passkeys_in_a_browser.py.
"""

import asyncio
import secrets
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain import db
from domain.auth import ceremony
from domain.auth.passkeys import PASSKEYS_MAX
from tests.app.authenticator import PRESENT, Authenticator
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
    request_options,
    session_of,
    step_up_with,
    verify,
)
from tests.conftest import ORIGIN
from tests.factories import Api, Person


async def sign_in(api: Api, one: Authenticator) -> Any:
    return await passkey_login(api, one.get(await request_options(api)))


async def register(person: Person, credential: dict[str, Any]) -> Any:
    return await person.post("/auth/passkeys/register/verify", {"credential": credential})


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
    problem(await sign_in(api, one), 401, "invalid_passkey")
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
    by_passkey = (await sign_in(api, one)).json()["data"]
    ann.token, ann.session_id = by_passkey["accessToken"], by_passkey["sessionId"]
    await grow_stale(ann)
    for refused in (await ann.delete(f"/auth/passkeys/{passkey_id}"), await ann.post("/auth/mfa/totp")):
        assert problem(refused, 403, "step_up_required")["factors"] == ["passkey"]
    problem(await ann.post("/auth/mfa/step-up", {"code": "123456"}), 403, "wrong_code")
    assert (await step_up_with(ann, one)).status_code == 200
    assert (await ann.delete(f"/auth/passkeys/{passkey_id}")).status_code == 204


async def test_a_challenge_to_step_up_is_for_one_session(api: Api) -> None:
    ann = await api.person()
    app = await enrol(ann)
    one, _ = await add_passkey(ann)
    other = (await login(ann, totp=app.code())).json()["data"]["accessToken"]
    options = (await ann.post("/auth/mfa/step-up/options")).json()["data"]["publicKey"]
    elsewhere = await api.call(
        "POST", "/auth/mfa/step-up", token=other, json={"credential": one.get(options)}
    )
    problem(elsewhere, 403, "wrong_code")
    signing_in = await request_options(api)
    problem(await ann.post("/auth/mfa/step-up", {"credential": one.get(signing_in)}), 403, "wrong_code")
    stepping_up = (await ann.post("/auth/mfa/step-up/options")).json()["data"]["publicKey"]
    problem(await passkey_login(api, one.get(stepping_up)), 401, "invalid_passkey")


WRONG = {
    "origin": {"origin": "https://app.example.evil.com"},
    "scheme": {"origin": ORIGIN.replace("https", "http")},
    "port": {"origin": f"{ORIGIN}:8443"},
    "rp": {"rp_id": "evil.com"},
    "user not verified": {"flags": PRESENT},
    "user not present": {"flags": 0x04},
    "in a frame elsewhere": {"more_client_data": {"crossOrigin": True}},
    "another ceremony": {"more_client_data": {"type": "payment.get"}},
    "a challenge of its own": {"more_client_data": {"challenge": secrets.token_urlsafe(32)}},
    "another's handle": {"user_handle": b"user_01m81nycs5exc8301sfp8f9514"},
    "a handle that is none": {"user_handle": b""},
    "another key": {"key": Authenticator().key},
    "a credential nobody has": {"id": secrets.token_bytes(32)},
}


@pytest.mark.parametrize("what", WRONG)
async def test_an_assertion_that_is_wrong_in_one_thing_signs_nobody_in(api: Api, what: str) -> None:
    ann = await api.person()
    await enrol(ann)
    one, _ = await add_passkey(ann)
    assert (await sign_in(api, one)).status_code == 200, "it could succeed"
    unknown = await sign_in(api, Authenticator())
    for name, value in WRONG[what].items():
        setattr(one, name, value)
    refused = await sign_in(api, one)
    problem(refused, 401, "invalid_passkey")
    assert bare(refused) == bare(unknown), "it tells nothing"
    token = await mfa_token(ann)
    as_second = one.get(await request_options(api, mfaToken=token))
    problem(await verify(api, token, credential=as_second), 401, "wrong_code")
    said = await actions(ann)
    assert ("auth.passkey_refused" in said) == (what != "a credential nobody has")
    assert "auth.second_factor_failed" in said


@pytest.mark.parametrize("what", [one for one in WRONG if one not in (
    "another's handle", "a handle that is none", "another key", "a credential nobody has",
)])  # fmt: skip
async def test_a_registration_that_is_wrong_in_one_thing_adds_nothing(api: Api, what: str) -> None:
    ann, one = await api.person(), Authenticator()
    for name, value in WRONG[what].items():
        setattr(one, name, value)
    problem(await register(ann, one.create(await creation_options(ann))), 422, "invalid_passkey")
    assert (await ann.get("/auth/passkeys")).json()["data"] == []


async def test_a_key_that_could_verify_nothing_is_not_kept(api: Api) -> None:
    ann = await api.person()
    for public in (
        {1: 2, 3: -7, -1: 1, -2: bytes(32), -3: bytes(32)}, {1: 2, 3: -7}, {1: 2, 3: -257}, {}, [1], 7, b"",
        {1: 3, 3: -65535, -1: b"\xff" * 256, -2: b"\1\0\1"}, {1: 1, 3: -8, -1: 6, -2: b"short"},
    ):  # fmt: skip
        credential = Authenticator().create(await creation_options(ann), public_key=public)
        if public:
            problem(await register(ann, credential), 422, "invalid_passkey")
    assert (await ann.get("/auth/passkeys")).json()["data"] == []


async def test_a_challenge_is_good_once_for_five_minutes_and_for_whom_it_was_made(api: Api) -> None:
    ann, bob = await api.person(), await api.person("Bob")
    options = await creation_options(ann)
    problem(await register(bob, Authenticator().create(options)), 422, "invalid_passkey")
    problem(await register(ann, Authenticator().create(options)), 422, "invalid_passkey")
    options, one = await creation_options(ann), Authenticator()
    assert (await register(ann, one.create(options))).status_code == 201
    problem(await register(ann, Authenticator().create(options)), 422, "invalid_passkey")
    problem(await register(ann, Authenticator().create(await request_options(api))), 422, "invalid_passkey")

    asked = one.get(await request_options(api))
    answers = await asyncio.gather(*(passkey_login(api, asked) for _ in range(10)))
    assert sorted(answer.status_code for answer in answers) == [200] + [401] * 9, "replayed"
    late = one.get(await request_options(api))
    await db.execute(
        "UPDATE one_time_tokens SET expires_at = expires_at - interval '5 min 1 s' WHERE used_at IS NULL"
    )
    problem(await passkey_login(api, late), 401, "invalid_passkey")
    wrong, right = await request_options(api), await request_options(api)
    one.origin = "https://evil.com"
    problem(await passkey_login(api, one.get(wrong)), 401, "invalid_passkey")
    one.origin = ORIGIN
    problem(await passkey_login(api, one.get(wrong)), 401, "invalid_passkey")
    assert (await passkey_login(api, one.get(right))).status_code == 200, "a wrong answer spends its own"


async def test_a_counter_that_does_not_go_up_is_refused_and_told_to_the_trail(api: Api) -> None:
    ann = await api.person()
    one, passkey_id = await add_passkey(ann)
    one.count = 7
    assert (await sign_in(api, one)).status_code == 200
    for count in (7, 3, -1):
        one.count = count
        problem(await sign_in(api, one), 401, "invalid_passkey")
    rows = await db.fetch(
        "SELECT resource, outcome, metadata FROM audit_logs WHERE action = 'auth.passkey_refused' AND team_id = $1",
        ann.personal_team_id,
    )
    assert len(rows) == 3
    assert {(row["resource"], row["outcome"]) for row in rows} == {(passkey_id, "denied")}
    assert "counter" in rows[0]["metadata"]["reason"]
    one.count = 8
    assert (await sign_in(api, one)).status_code == 200


async def test_an_authenticator_that_does_not_count_is_fine(api: Api) -> None:
    ann = await api.person()
    one, _ = await add_passkey(ann)
    for _ in range(2):
        one.count = -1
        assert (await sign_in(api, one)).status_code == 200


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
    unknown = await sign_in(api, Authenticator())
    await db.execute("UPDATE users SET disabled_at = now() WHERE id = $1", ann.id)
    assert bare(await sign_in(api, one)) == bare(unknown)


async def test_without_a_domain_there_are_no_passkeys(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    ann = await api.person()
    monkeypatch.setattr(ceremony, "_party", None)
    problem(await ann.post("/auth/passkeys/register/options"), 503, "passkeys_not_configured")
    problem(await api.call("POST", "/auth/passkeys/login/options", json={}), 503, "passkeys_not_configured")


async def test_a_synchronised_passkey_is_a_key_in_software(api: Api) -> None:
    ann, one = await api.person(), Authenticator()
    one.flags |= 0x08 | 0x10
    assert (await register(ann, one.create(await creation_options(ann)))).json()["data"]["backedUp"] is True
    assert (await session_of(await sign_in(api, one)))["amr"] == ["swk", "mfa"]


texts = st.text(max_size=60) | st.text(alphabet="ABCDEFGHabcdefgh0123456789-_=", max_size=60)


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
async def test_whatever_a_browser_sends_is_right_or_refused(api: Api, data: st.DataObject) -> None:
    ann = await api.person() if not _ann else _ann[0]
    _ann[:] = [ann]
    one = Authenticator()
    kind = data.draw(st.sampled_from(["create", "get"]))
    good = (
        one.create(await creation_options(ann)) if kind == "create" else one.get(await request_options(api))
    )
    place = data.draw(st.sampled_from(["id", "rawId", "type", *good["response"]]))
    was = good["response"].get(place) or good.get(place)
    cut = data.draw(st.integers(0, 200))
    changed = data.draw(texts | st.just(str(was)[:cut]) | st.just(str(was)[cut:]) | st.just("Q" + str(was)))
    if place in good["response"]:
        good["response"][place] = changed
    else:
        good[place] = changed
    answer = await (register(ann, good) if kind == "create" else passkey_login(api, good))
    assert answer.status_code in (201, 400, 401, 409, 422), answer.text


_ann: list[Person] = []
