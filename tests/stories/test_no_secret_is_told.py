"""Canaries: secrets that a server is run with, and that people send it, are found nowhere that anyone looks.

A real process at LOG_LEVEL=DEBUG, all that goes right and wrong with signing in, and then every line that it
has printed, everything that it has answered, and every row of every table is searched.
"""

import asyncio
import base64
import hashlib
import secrets
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import httpx
import msgspec
import pytest
import websockets

from app.config import Config
from tests.factories import Api, api_of
from tests.forged import forged
from tests.generous import COMMAND
from tests.processes import READY_WITHIN_S, environment
from tests.raw import raw

CANARY = "canary"


class Told:
    """What a server was given to keep to itself, and what it has told."""

    def __init__(self) -> None:
        self.secrets: dict[str, str] = {}
        self.answers: list[str] = []
        self.addresses: list[str] = []
        self.lines = ""

    def secret(self, what: str) -> str:
        self.secrets[what] = f"{CANARY} {what} {secrets.token_hex(12)}".replace(" ", "-")
        return self.secrets[what]

    def spellings(self) -> dict[str, str]:
        """Every secret, as it is and as it might be written: base64, hex, halves of it."""
        found = {}
        for what, secret in self.secrets.items():
            found[what] = secret
            found[f"{what} in base64"] = base64.b64encode(secret.encode()).decode()[:-4]
            found[f"{what} in hex"] = secret.encode().hex()
            found[f"the end of {what}"] = secret[-20:]
        return found


@pytest.fixture(scope="module")
async def told(config: Config, tmp_path_factory: pytest.TempPathFactory) -> Told:
    """What a server has told, after everything that people do with their secrets."""
    told = Told()
    assert config.database_url is not None
    assert config.redis_url is not None
    key = secrets.token_bytes(32)
    told.secrets["encryption key"] = base64.b64encode(key).decode()
    told.secrets["encryption key in url-safe base64"] = base64.urlsafe_b64encode(key).decode()
    for what, address in (("database", config.database_url), ("Redis", config.redis_url)):
        password = urlsplit(address).password
        assert password is not None, "the servers of these tests have passwords"
        told.secrets[f"password of {what}"] = password
    given = msgspec.structs.replace(
        config,
        jwt_secret=told.secret("jwt secret"),
        encryption_key=told.secrets["encryption key"],
        log_level="DEBUG",
    )
    log = tmp_path_factory.mktemp("canaries") / "log"
    with log.open("wb") as written:
        process = await asyncio.create_subprocess_exec(
            *COMMAND, "serve", stdout=written, stderr=asyncio.subprocess.STDOUT, env=environment(given)
        )
        try:
            async with api_of(await _address(log)) as api:
                api.http.event_hooks = {"response": [_listener(told)]}
                await _everything(api, told, given)
        finally:
            process.terminate()
            await process.wait()
    told.lines = log.read_text()
    return told


async def test_no_secret_is_in_a_log_line(told: Told) -> None:
    assert "lock timeout" in told.lines, "a server that says nothing proves nothing"
    assert _found(told, told.lines) == []


async def test_no_secret_is_in_an_answer_that_was_not_to_bring_it(told: Told) -> None:
    assert len(told.answers) > 40
    assert any('"status":422' in answer for answer in told.answers)
    assert _found(told, "\n".join(told.answers)) == []


async def test_no_secret_is_in_an_address(told: Told) -> None:
    assert told.addresses
    assert _found(told, "\n".join(told.addresses)) == []


async def test_no_usable_secret_is_in_any_table(told: Told, config: Config) -> None:
    connection = await asyncpg.connect(config.database_url)
    try:
        tables = await connection.fetch(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY tablename"
        )
        kept = {
            table: "\n".join(
                row[0]
                for row in await connection.fetch(f'SELECT t::text FROM "{table}" t')  # noqa: S608
            )
            for (table,) in tables
        }
    finally:
        await connection.close()
    assert {"users", "user_sessions", "audit_logs", "stream_entries", "sign_in_failures"} <= set(kept)
    assert all(kept[table] for table in ("users", "user_sessions", "sign_in_failures", "stream_entries"))
    for table, text in kept.items():
        assert _found(told, text) == [], table
    refresh = next(secret for what, secret in told.secrets.items() if what.startswith("newest refresh"))
    assert hashlib.sha256(refresh.encode()).hexdigest() in kept["user_sessions"], "what is kept is its hash"
    assert "$argon2id$" in kept["users"]


async def _everything(api: Api, told: Told, config: Config) -> None:
    """Whatever people do to sign in and stay so, well and badly."""
    password, email = told.secret("password"), f"canary-{secrets.token_hex(6)}@example.org"
    body = {"email": email, "password": password, "name": "Ann"}
    ann = await _signed_in(api, told, "/auth/register", body)
    await api.call("POST", "/auth/register", json=body)
    for spoiled in ({"extra": password}, {"name": ""}, {"password": [password]}, {"password": password * 9}):
        await api.call("POST", "/auth/register", json={**body, **spoiled})
    login = {"email": email, "password": password}
    signed_in = await _signed_in(api, told, "/auth/login", login)
    for wrong in ({"password": told.secret("wrong password")}, {"email": "x" + email}, {"totp": password}):
        await api.call("POST", "/auth/login", json={**login, **wrong})
    for _ in range(12):
        await api.call("POST", "/auth/login", json={**login, "password": told.secret("guess")})
    for raw_body in (
        f'{{"password": "{password}',
        f'["{password}"]',
        f'"{password}\\u0000"',
    ):
        answer = await api.call("POST", "/auth/login", content=raw_body.encode())
        assert answer.status_code >= 400
    await _while_the_database_is_stuck(api, config, login)
    renewed = await _signed_in(
        api, told, "/auth/refresh", {"refreshToken": signed_in["refreshToken"]}, "newest "
    )
    for token in (ann["refreshToken"] + "x", "mrt_" + told.secret("made up token"), renewed["accessToken"]):
        await api.call("POST", "/auth/refresh", json={"refreshToken": token})
    for method, path in (
        ("GET", "/users/me"),
        ("GET", "/audit-logs"),
        ("GET", "/nowhere"),
        ("PUT", "/users/me"),
    ):
        await api.call(method, path, token=ann["accessToken"])
        await api.call(method, path, token=renewed["accessToken"])
    for verb in ("accept", "decline", "ask-again"):
        invitation = {"token": f"mit_{told.secret(f'token to {verb}')}"}
        await api.call("POST", f"/invites/{verb}", token=renewed["accessToken"], json=invitation)
        await api.call("POST", f"/invites/{verb}", json=invitation)
    for nth, (_, token) in enumerate(forged(ann["accessToken"], config.jwt_secret or "")):
        if nth % 9 == 0:
            await api.http.get("/api/users/me", headers={b"Authorization": b"Bearer " + token.encode()})
    await _on_a_websocket(str(api.http.base_url), told, ann, renewed)
    await api.call("POST", "/auth/logout", token=ann["accessToken"], params={"scope": "all"})
    await api.call("GET", "/users/me", token=ann["accessToken"])
    await api.call("POST", "/auth/refresh", json={"refreshToken": ann["refreshToken"]})


async def _while_the_database_is_stuck(api: Api, config: Config, login: dict[str, str]) -> None:
    """A statement fails with all that was given to it, and the log says so."""
    connection = await asyncpg.connect(config.database_url)
    try:
        async with connection.transaction():
            await connection.execute("LOCK TABLE sign_in_failures IN ACCESS EXCLUSIVE MODE")
            assert (await api.call("POST", "/auth/login", json=login)).status_code == 503
    finally:
        await connection.close()


async def _on_a_websocket(url: str, told: Told, ann: dict[str, Any], renewed: dict[str, Any]) -> None:
    async with raw(url, token=ann["accessToken"]) as client:
        for request in (
            {"refresh": {"token": renewed["accessToken"]}},
            {"subscribe": {"channel": f"inventory:{ann['user']['personalTeamId']}"}},
            {"subscribe": {"channel": "team:foreign", "token": renewed["accessToken"]}},
            {"rpc": {"method": "GET /api/users/me"}},
            {
                "rpc": {
                    "method": "POST /api/auth/login",
                    "data": {"email": "a@b", "password": told.secret("rpc")},
                }
            },
            {"rpc": {"method": "GET /api/nowhere"}},
        ):
            told.answers.append(str(await client.ask(**request)))
    for token in (ann["accessToken"][:-3] + "abc", ann["refreshToken"], told.secret("token of a connect")):
        async with raw(url) as client:
            await client.send(
                {"id": 1, "connect": {"token": token, "data": {"password": told.secret("data")}}}
            )
            try:
                while True:
                    told.answers.append(str(await client.frame()))
            except websockets.ConnectionClosed as closed:
                told.answers.append(str(closed))


async def _signed_in(api: Api, told: Told, path: str, body: dict[str, Any], kind: str = "") -> dict[str, Any]:
    """The one answer that brings secrets: they are noted, and it is not looked through."""
    answer = await api.call("POST", path, json=body)
    assert answer.is_success, answer.text
    told.answers.pop()
    data: dict[str, Any] = answer.json()["data"]
    for name, what in (("accessToken", "access token"), ("refreshToken", "refresh token")):
        told.secrets[f"{kind}{what} of {path} {len(told.secrets)}"] = data[name]
    return data


def _listener(told: Told) -> Any:
    async def heard(answer: httpx.Response) -> None:
        await answer.aread()
        told.answers.append(f"{answer.headers} {answer.text}")
        told.addresses.append(f"{answer.request.url} {answer.headers.get('location', '')}")

    return heard


def _found(told: Told, text: str) -> list[str]:
    """Which secrets are in it: never the secret itself, which would be told by the failure."""
    return [what for what, secret in told.spellings().items() if secret in text]


async def _address(log: Path) -> str:
    """Where it says that it listens, once it is ready."""
    async with asyncio.timeout(READY_WITHIN_S), httpx.AsyncClient() as client:
        while True:
            await asyncio.sleep(0.05)
            said = [line for line in _read(log).splitlines() if line.startswith("listening on ")]
            if not said:
                continue
            url = said[0].removeprefix("listening on ").strip()
            if (await client.get(f"{url}/api/health/ready")).status_code == 200:
                return url


def _read(log: Path) -> str:
    return log.read_text()
