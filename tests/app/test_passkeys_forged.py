"""Passkeys that are not what they should be: forged, replayed, copied, from another page, or none at all.

The authenticator is one in software (authenticator.py), because a browser would not do any of it wrong.
"""

import asyncio
import secrets

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain import db
from tests.app.authenticator import PRESENT, Authenticator
from tests.app.company import bare, problem
from tests.app.second_factors import (
    actions,
    add_passkey,
    creation_options,
    enrol,
    login,
    mfa_token,
    passkey_login,
    register,
    request_options,
    sign_in_with,
    verify,
)
from tests.conftest import ORIGIN
from tests.factories import Api, Person


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
    assert (await sign_in_with(api, one)).status_code == 200, "it could succeed"
    unknown = await sign_in_with(api, Authenticator())
    for name, value in WRONG[what].items():
        setattr(one, name, value)
    refused = await sign_in_with(api, one)
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
    problem(
        await register(ann, Authenticator().create({**options, **await request_options(api)})),
        422,
        "invalid_passkey",
    )

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
    assert (await sign_in_with(api, one)).status_code == 200
    for count in (7, 3, -1):
        one.count = count
        problem(await sign_in_with(api, one), 401, "invalid_passkey")
    rows = await db.fetch(
        """SELECT resource, outcome, metadata FROM audit_logs
           WHERE action = 'auth.passkey_refused' AND team_id = $1""",
        ann.personal_team_id,
    )
    assert len(rows) == 3
    assert {(row["resource"], row["outcome"]) for row in rows} == {(passkey_id, "denied")}
    assert "counter" in rows[0]["metadata"]["reason"]
    one.count = 8
    assert (await sign_in_with(api, one)).status_code == 200


@pytest.fixture(scope="module")
async def somebody(api: Api) -> Person:
    return await api.person()


texts = st.text(max_size=60) | st.text(alphabet="ABCDEFGHabcdefgh0123456789-_=", max_size=60)


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
async def test_whatever_a_browser_sends_is_right_or_refused(
    api: Api, somebody: Person, data: st.DataObject
) -> None:
    ann = somebody
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
    assert answer.status_code in (200, 201, 400, 401, 409, 422), answer.text
    if answer.status_code == 201:
        await ann.delete(answer.headers["Location"].removeprefix("/api"))
