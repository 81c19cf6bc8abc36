"""Signing in, staying signed in, signing out."""

import asyncio
import base64
import json
from typing import Any

import jwt
import pytest

from domain import db
from domain.auth import passwords
from tests.app.company import bare, problem
from tests.app.signing_in import login, refresh, signed_in
from tests.conftest import SECRET
from tests.factories import PASSWORD, Api, Person


async def test_registering_signs_in_and_says_who_one_is(api: Api) -> None:
    body = {"email": "Registers@Example.org", "password": PASSWORD, "name": "Ann"}
    answer = await api.call("POST", "/auth/register", json=body)
    assert answer.status_code == 201
    assert answer.headers["Location"] == "/api/users/me"
    data = answer.json()["data"]
    assert set(data) == {"user", "accessToken", "refreshToken", "expiresIn", "sessionId"}
    assert data["expiresIn"] == 600
    me = await api.call("GET", "/users/me", token=data["accessToken"])
    assert me.json()["data"] == data["user"]
    assert data["user"]["emailVerifiedAt"] is None
    assert data["user"]["isStaff"] is False


async def test_an_access_token_says_who_and_which_session_and_nothing_of_rights(api: Api) -> None:
    ann = await api.person()
    header, claims = jwt.get_unverified_header(ann.token), _claims(ann.token)
    assert header["alg"] == "HS256"
    assert (claims["sub"], claims["sid"]) == (ann.id, ann.session_id)
    assert claims["exp"] - claims["iat"] == 600
    assert set(claims) == {"sub", "sid", "iat", "exp", "iss", "aud"}


async def test_an_address_has_one_account_whatever_its_case(api: Api) -> None:
    ann = await api.person()
    for address in (ann.email, ann.email.upper()):
        body = {"email": address, "password": PASSWORD, "name": "Another Ann"}
        problem(await api.call("POST", "/auth/register", json=body), 409, "email_taken")
        assert (await login(api, address)).json()["data"]["user"]["id"] == ann.id


async def test_two_registrations_of_one_address_at_once_make_one_account(api: Api) -> None:
    body = {"email": "twice@example.org", "password": PASSWORD, "name": "Ann"}
    answers = await asyncio.gather(*(api.call("POST", "/auth/register", json=body) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("password", "short nin"),
        ("password", ""),
        ("password", "x" * 201),
        ("password", None),
        ("email", "ann"),
        ("email", "ann@"),
        ("email", "@example.org"),
        ("email", "ann @example.org"),
        ("email", "ann@example.org\n"),
        ("email", "a@b@c"),
        ("email", "a,b@c"),
        ("email", "a b@c.d"),
        ("email", "Ann <ann@example.org>"),
        ("email", "ann@example..org"),
        ("email", "ann@example.org."),
        ("email", "ann@-example.org"),
        ("email", "ann@exa_mple.org"),
        ("email", "ann@[192.0.2.7]"),
        ("email", "a" * 65 + "@example.org"),
        ("email", "a" * 250 + "@b.cd"),
        ("name", ""),
        ("name", " \t\n"),
        ("name", "x" * 101),
    ],
)
async def test_an_account_needs_a_good_address_password_and_name(api: Api, field: str, value: Any) -> None:
    good = {"email": "needs@example.org", "password": PASSWORD, "name": "Ann"}
    refused = problem(await api.call("POST", "/auth/register", json={**good, field: value}), 422, "invalid")
    assert [error["pointer"] for error in refused["errors"]] == [f"/{field}"]


@pytest.mark.parametrize(
    "password", ["ten chars!", "x" * 200, "密码密码密码密码密码密码", "🐎🔋📎 correct horse", " " * 10]
)
async def test_any_characters_make_a_password(api: Api, password: str) -> None:
    email = f"any-{abs(hash(password))}@example.org"
    made = await api.call(
        "POST", "/auth/register", json={"email": email, "password": password, "name": "Ann"}
    )
    assert made.status_code == 201, made.text
    assert (await login(api, email, password)).status_code == 200
    problem(await login(api, email, password + "x" if len(password) < 200 else "y"), 401, "wrong_credentials")


async def test_an_unknown_address_and_a_wrong_password_answer_alike(api: Api) -> None:
    ann = await api.person()
    wrong, unknown = await login(api, ann.email, "wrong"), await login(api, "x" + ann.email, "wrong")
    problem(wrong, 401, "wrong_credentials")
    assert bare(wrong) == bare(unknown)
    assert wrong.headers.keys() == unknown.headers.keys()
    assert len(wrong.content) == len(unknown.content)


async def test_a_disabled_account_answers_like_an_unknown_one_and_its_tokens_end(api: Api) -> None:
    ann = await api.person()
    unknown = await login(api, "x" + ann.email)
    assert (await login(api, ann.email)).status_code == 200
    await db.execute("UPDATE users SET disabled_at = now() WHERE id = $1", ann.id)
    assert bare(await login(api, ann.email)) == bare(unknown)
    assert not await signed_in(api, ann.token)
    problem(await refresh(api, ann.refresh_token), 401, "invalid_refresh_token")


async def test_a_token_that_is_not_exactly_ours_is_refused(api: Api) -> None:
    ann = await api.person()
    good = _claims(ann.token)
    typed = {"typ": "at+jwt"}
    assert await signed_in(api, jwt.encode(good, SECRET, "HS256", headers=typed)), "ours is accepted"
    forged = {
        "another key": jwt.encode(good, "x" * 32, "HS256", headers=typed),
        "another algorithm": jwt.encode(good, SECRET + SECRET, "HS512", headers=typed),
        "no signature": f"{_part({**typed, 'alg': 'none'})}.{_part(good)}.",
        "another type": jwt.encode(good, SECRET, "HS256", headers={"typ": "JWT"}),
        "expired": jwt.encode({**good, "exp": good["iat"] - 60}, SECRET, "HS256", headers=typed),
        "another issuer": jwt.encode({**good, "iss": "evil"}, SECRET, "HS256", headers=typed),
        "another audience": jwt.encode({**good, "aud": "evil"}, SECRET, "HS256", headers=typed),
        "another user": jwt.encode({**good, "sub": (await api.person()).id}, SECRET, "HS256", headers=typed),
        "no session": jwt.encode({**good, "sid": "sess_x"}, SECRET, "HS256", headers=typed),
        "a session that is no text": jwt.encode({**good, "sid": 7}, SECRET, "HS256", headers=typed),
        "without an end": jwt.encode(
            {name: value for name, value in good.items() if name != "exp"}, SECRET, "HS256", headers=typed
        ),
        "nested": f"{base64.urlsafe_b64encode(b'[' * 3000).decode().rstrip('=')}.e30.AA",
        "cut": ann.token[:-2],
        "nothing": "x",
        "refresh": ann.refresh_token,
    }
    for what, token in forged.items():
        answer = await api.call("GET", "/users/me", token=token)
        assert answer.status_code == 401, what
        assert answer.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize("header", ["", "Bearer", "Basic YTpi", "bearer", "Token {token}", "{token}"])
async def test_a_request_without_a_bearer_token_is_nobodys(api: Api, header: str) -> None:
    ann = await api.person()
    given = {"Authorization": header.format(token=ann.token)}
    problem(await api.call("GET", "/users/me", headers=given), 401, "no_token")


async def test_no_secret_is_in_an_answer_the_trail_or_the_log_of_changes(api: Api) -> None:
    password = "a password that nothing repeats"
    email = "secretive@example.org"
    made = await api.call(
        "POST", "/auth/register", json={"email": email, "password": password, "name": "Ann"}
    )
    data = made.json()["data"]
    ann = Person(
        api,
        data["user"]["id"],
        email,
        "Ann",
        data["accessToken"],
        data["refreshToken"],
        data["sessionId"],
        data["user"]["personalTeamId"],
    )
    renewed = (await refresh(api, ann.refresh_token)).json()["data"]
    await login(api, email, password + "x")
    refused = await login(api, email, password[:-1])
    shown = [
        json.dumps(made.json()["data"]["user"]),
        refused.text,
        *[(await ann.get(path)).text for path in ("/users/me", "/audit-logs", "/teams")],
        *[
            row["data"]
            for row in await db.fetch("SELECT data FROM stream_entries WHERE data LIKE $1", f"%{ann.id}%")
        ],
    ]
    assert any("auth.login_failed" in text for text in shown), "the trail has what we look through"
    kept = await db.fetchrow(
        """SELECT u.password_hash, s.token, s.previous_hash FROM users u JOIN user_sessions s
           ON s.user_id = u.id WHERE u.id = $1""",
        ann.id,
    )
    assert kept is not None
    assert kept["password_hash"].startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    tokens = [ann.token, ann.refresh_token, renewed["accessToken"], renewed["refreshToken"]]
    for secret in (password, "argon2", *kept.values(), *tokens):
        assert all(secret not in text for text in shown)
    assert ann.refresh_token not in kept.values(), "only the hash of a refresh token is kept"


def _claims(token: str) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return claims


def _part(content: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")


async def test_when_too_many_sign_in_at_once_the_rest_are_told_to_wait(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = await api.person()
    body = {"email": ann.email, "password": PASSWORD}
    monkeypatch.setattr(passwords, "WAITING_MAX", 2)
    answers = await asyncio.gather(*(api.call("POST", "/auth/login", json=body) for _ in range(8)))
    refused = [answer for answer in answers if answer.status_code != 200]
    assert 0 < len(refused) < 8
    for answer in refused:
        assert problem(answer, 503, "busy")["retryAfter"] > 0
        assert int(answer.headers["Retry-After"]) > 0
    assert (await api.call("POST", "/auth/login", json=body)).status_code == 200
