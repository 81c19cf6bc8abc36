"""Idempotency-Key where a handler commits several times: signing in, passwords, second factors."""

import asyncio
import hashlib
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import msgspec
import pytest

from domain import crypto, db, idempotency, rotation
from domain.auth import passwords
from tests.app.company import problem
from tests.app.keyed import expire, new_key, newcomer, register, replayed, rows, told, with_key
from tests.app.second_factors import App, enrol, grow_stale
from tests.conftest import SECRET
from tests.factories import PASSWORD, Api, Person
from tests.ground import ENCRYPTION_KEY


@pytest.fixture
async def ann(api: Api) -> Person:
    return await api.person("Ann")


async def login(api: Api, email: str, key: str, password: str = PASSWORD) -> httpx.Response:
    body = {"email": email, "password": password}
    return await api.call("POST", "/auth/login", json=body, headers=with_key(key))


async def sessions(person: Person) -> int:
    found: int = await db.fetchval("SELECT count(*) FROM user_sessions WHERE user_id = $1", person.id)
    return found


async def accounts(email: str) -> int:
    found: int = await db.fetchval("SELECT count(*) FROM users WHERE email = $1", email)
    return found


class Gate:
    """Where whoever has their password looked at waits until they may go on."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.opened = asyncio.Event()


@contextmanager
def waiting(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    """The first login from now on stops in the middle; those after it do not."""
    gate, real = Gate(), passwords.matches

    async def matches(*args: Any) -> bool:
        if not gate.reached.is_set():
            gate.reached.set()
            await gate.opened.wait()
        return await real(*args)

    with monkeypatch.context() as patched:
        patched.setattr(passwords, "matches", matches)
        yield gate
        gate.opened.set()


async def test_registering_again_with_the_key_gives_the_same_tokens(api: Api) -> None:
    body, key = newcomer(), new_key()
    first, again = await register(api, body, key), await register(api, body, key)
    assert first.status_code == 201
    assert told(again) == told(first)
    assert (replayed(first), replayed(again)) == (False, True)
    token = again.json()["data"]["accessToken"]
    assert (await api.call("GET", "/users/me", token=token)).status_code == 200
    assert await accounts(body["email"]) == 1


async def test_in_cookie_mode_the_cookies_come_again(ann: Person, url: str) -> None:
    body, key = {"email": ann.email, "password": PASSWORD, "mode": "cookie"}, new_key()
    answers = []
    for _ in range(2):
        async with httpx.AsyncClient(base_url=url, timeout=10) as browser:
            answers.append(await browser.post("/api/auth/login", json=body, headers=with_key(key)))
    first, again = answers
    assert replayed(again)
    assert len(first.headers.get_list("set-cookie")) == 2
    assert again.headers.get_list("set-cookie") == first.headers.get_list("set-cookie")


async def test_nobody_gets_anothers_tokens_by_their_key(ann: Person, api: Api) -> None:
    key = new_key()
    first = await login(api, ann.email, key)
    assert first.status_code == 200
    bob = await api.person("Bob")
    for other in (
        await login(api, ann.email, key, "a wrong one"),
        await login(api, bob.email, key),
        await api.call(
            "POST",
            "/auth/login",
            json={"email": ann.email, "password": PASSWORD, "totp": "123456"},
            headers=with_key(key),
        ),
        await api.call(
            "POST",
            "/auth/login",
            json={"email": ann.email, "password": PASSWORD},
            headers=with_key(key) | {"Cookie": "maycole_refresh=somebody-elses"},
        ),
    ):
        assert not replayed(other)
        assert other.json().get("data") is None, "no tokens"
    signed_in = await bob.post("/auth/logout", headers=with_key(key))
    assert (signed_in.status_code, replayed(signed_in)) == (204, False), (
        "who is signed in has keys of their own"
    )


async def test_in_the_table_nothing_can_be_read_or_tried(api: Api) -> None:
    body, key = newcomer(), new_key()
    data = (await register(api, body, key)).json()["data"]
    [row] = await rows(key)
    dump = " ".join(map(str, row.values()))
    for secret in (
        data["accessToken"],
        data["refreshToken"],
        body["password"],
        body["email"],
        data["sessionId"],
    ):
        assert secret not in dump
    assert "127.0.0.1" not in dump
    # Whoever has the table may guess passwords: only with our key do they see that they were right.
    said = [b"POST", b"/api/auth/register", b"", b"", msgspec.json.encode(body, order="sorted"), b"", b""]
    framed = b"".join(len(part).to_bytes(8, "big") + part for part in said)
    assert row["fingerprint"] in idempotency.fingerprints(said), "else this shows nothing"
    assert row["fingerprint"] != hashlib.sha256(framed).hexdigest()


async def test_an_answer_that_is_moved_to_another_caller_does_not_open(ann: Person, api: Api) -> None:
    key, bob = new_key(), await api.person("Bob")
    made = await ann.post("/teams", {"name": "Ann's own"}, headers=with_key(key))
    assert made.status_code == 201
    await db.execute("UPDATE idempotency_keys SET caller = $2 WHERE key = $1", key, bob.id)
    answer = await bob.post("/teams", {"name": "Ann's own"}, headers=with_key(key))
    problem(answer, 409, "idempotency_answer_lost")
    await db.execute("DELETE FROM idempotency_keys WHERE key = $1", key)


async def test_new_secrets_of_the_server_lose_no_answer(ann: Person, rotate: Callable[..., None]) -> None:
    key, shared = new_key(), crypto.parsed(ENCRYPTION_KEY)
    assert shared is not None
    first = await ann.post("/teams", {"name": "Ann's own"}, headers=with_key(key))
    assert first.status_code == 201
    rotate("a secret that has just been put in place", SECRET)
    new = secrets.token_bytes(32)
    try:
        crypto.install(new, shared)
        await rotation.rotate()
        crypto.install(new)
        assert told(await ann.post("/teams", {"name": "Ann's own"}, headers=with_key(key))) == told(first)
        crypto.install(shared, new)
        await rotation.rotate()
    finally:
        crypto.install(shared)


async def test_a_wrong_password_stays_counted_and_is_not_kept(ann: Person, api: Api) -> None:
    key = new_key()
    for _ in range(2):
        answer = await login(api, ann.email, key, "a wrong one")
        problem(answer, 401, "wrong_credentials")
        assert not replayed(answer)
    sql = "SELECT count(*) FROM audit_logs WHERE action = 'auth.login_failed' AND resource = $1"
    assert await db.fetchval(sql, ann.id) == 2
    assert await rows(key) == []


async def test_a_wrong_code_is_counted_once_however_often_it_is_sent(ann: Person) -> None:
    app = App((await ann.post("/auth/mfa/totp")).json()["data"]["secret"])
    key, body = new_key(), {"code": app.wrong()}
    answers = [await ann.post("/auth/mfa/totp/confirm", body, headers=with_key(key)) for _ in range(3)]
    problem(answers[0], 403, "wrong_code")
    assert [replayed(answer) for answer in answers] == [False, True, True]
    sql = "SELECT failures FROM sign_in_failures WHERE key = $1"
    assert await db.fetchval(sql, f"factors:{ann.id}") == 1


async def test_whoever_is_to_show_a_factor_first_asks_again_with_the_same_key(ann: Person) -> None:
    app, key = await enrol(ann), new_key()
    await grow_stale(ann)
    body = {"name": "Till", "scopes": ["inventory:read"]}
    problem(await ann.post("/auth/api-keys", body, headers=with_key(key)), 403, "step_up_required")
    assert (await ann.post("/auth/mfa/step-up", {"code": app.code()})).status_code == 200
    made = await ann.post("/auth/api-keys", body, headers=with_key(key))
    assert made.status_code == 201
    assert told(await ann.post("/auth/api-keys", body, headers=with_key(key))) == told(made)


async def test_while_one_is_at_it_the_others_are_told_so(
    ann: Person, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, before = new_key(), await sessions(ann)
    with waiting(monkeypatch) as gate:
        first = asyncio.create_task(login(api, ann.email, key))
        await gate.reached.wait()
        others = await asyncio.gather(*(login(api, ann.email, key) for _ in range(10)))
        for other in others:
            problem(other, 409, "idempotency_key_in_use")
            assert other.headers["Retry-After"] == "1"
        gate.opened.set()
        done = await first
    assert done.status_code == 200
    assert told(await login(api, ann.email, key)) == told(done)
    assert await sessions(ann) == before + 1


async def test_of_fifty_who_register_with_one_key_one_does(api: Api) -> None:
    body, key = newcomer(), new_key()
    answers = await asyncio.gather(*(register(api, body, key) for _ in range(50)))
    done = [answer for answer in answers if answer.status_code == 201]
    assert {answer.status_code for answer in answers} <= {201, 409}
    assert len({answer.content for answer in done}) == 1
    assert told(await register(api, body, key)) == told(done[0])
    assert await accounts(body["email"]) == 1


async def test_a_claim_that_nobody_finishes_lapses_and_only_who_takes_it_over_finishes(
    ann: Person, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a process died, or slept for very long."""
    key, before = new_key(), await sessions(ann)
    with waiting(monkeypatch) as gate:
        slow = asyncio.create_task(login(api, ann.email, key))
        await gate.reached.wait()
        await expire(key)
        quick = await login(api, ann.email, key)
        assert quick.status_code == 200
        gate.opened.set()
        problem(await slow, 409, "idempotency_key_in_use")
    assert told(await login(api, ann.email, key)) == told(quick)
    assert await sessions(ann) == before + 1, "what the slow one did is undone"


async def test_an_account_whose_answer_cannot_be_kept_is_not_made(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    body, key = newcomer(), new_key()

    async def fails(*args: object) -> None:
        raise RuntimeError("killed between the two")

    with monkeypatch.context() as broken:
        broken.setattr(idempotency, "finish", fails)
        assert (await register(api, body, key)).status_code == 500
    assert (await accounts(body["email"]), await rows(key)) == (0, [])
    assert (await register(api, body, key)).status_code == 201


async def test_a_refresh_token_is_its_own_key(ann: Person, api: Api) -> None:
    key, body = new_key(), {"refreshToken": ann.refresh_token}
    answers = [await api.call("POST", "/auth/refresh", json=body, headers=with_key(key)) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert not any(map(replayed, answers))
    assert await rows(key) == []


async def test_a_closed_account_leaves_no_answers_behind(ann: Person) -> None:
    key = new_key()
    assert (
        await ann.post("/inventory", {"name": "Tea", "quantity": 1}, headers=with_key(key))
    ).status_code == 201
    assert len(await rows(key)) == 1
    assert (await ann.delete("/users/me")).status_code == 204
    assert await rows(key) == []
