"""What does not open: typos, guesses, other addresses, keys that are over; and where a secret never is."""

import asyncio
import hmac
import json
import logging
from datetime import timedelta
from typing import Any

import pytest

from domain import db
from domain.auth import api_keys, credentials
from tests.app.company import bare, problem
from tests.factories import Api
from tests.keys import by, forged, new_key, opens, trail

OVER = [
    "UPDATE api_keys SET status = 'revoked' WHERE id = $1",
    "UPDATE api_keys SET expires_at = now() WHERE id = $1",
    "UPDATE users SET disabled_at = now() WHERE id = (SELECT user_id FROM api_keys WHERE id = $1)",
]


async def test_whatever_is_wrong_with_a_key_is_said_in_the_same_words(api: Api) -> None:
    ann = await api.person("Ann")
    good = await new_key(ann, "team:read")
    refusals = [
        await api.call("GET", "/users/me", token=token)
        for token in (
            forged(good),
            forged(good, key_id="key_00000000000000000000000000"),
            good["key"][:-1] + ("0" if good["key"][-1] != "0" else "1"),
            "mk_live_",
            "mk_test_1",
        )
    ]
    for sql in OVER:
        over = await new_key(bob := await api.person("Bob"), "team:read")
        assert await opens(api, over["key"])
        await db.execute(sql, over["id"])
        refusals.append(await by(over, bob, "GET", "/users/me"))
    for answer in refusals:
        problem(answer, 401, "invalid_api_key")
        assert bare(answer) == bare(refusals[0])
    assert await opens(api, good["key"]), "nothing that others tried has harmed it"


async def test_secrets_are_compared_in_constant_time_whatever_is_known_of_the_key(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = await api.person("Ann")
    key = await new_key(ann)
    compared: list[tuple[str, str]] = []
    really = hmac.compare_digest

    def compare(one: str, other: str) -> bool:
        compared.append((one, other))
        return really(one, other)

    monkeypatch.setattr(credentials.hmac, "compare_digest", compare)
    for token in (key["key"], forged(key), forged(key, key_id="key_00000000000000000000000000")):
        compared.clear()
        await api.call("GET", "/users/me", token=token)
        assert len(compared) == 2, "the current secret and the one before, be there one or not"
        assert all(len(one) == len(other) == 64 for one, other in compared), "hashes, never the secret"


@pytest.mark.parametrize(
    ("addresses", "is_allowed"),
    [
        (["127.0.0.1"], True),
        (["127.0.0.0/8", "10.0.0.0/8"], True),
        (["::ffff:127.0.0.0/104"], True),
        (["10.0.0.0/8"], False),
        (["::1", "2001:db8::/32"], False),
        (["::/0"], False),
    ],
)
async def test_a_key_comes_from_its_addresses_only(api: Api, addresses: list[str], is_allowed: bool) -> None:
    ann = await api.person("Ann")
    key = await new_key(ann, addresses=addresses)
    if is_allowed:
        assert await opens(api, key["key"])
        return
    problem(await by(key, ann, "GET", "/users/me"), 403, "address_not_allowed")
    wrong = await api.call("GET", "/users/me", token=forged(key))
    problem(wrong, 401, "invalid_api_key")
    [row] = await trail(ann, ann.personal_team_id, "auth.api_key_refused")
    assert row["metadata"] == {"reason": "address_not_allowed"}
    await ann.patch(f"/auth/api-keys/{key['id']}", {"addresses": []})
    assert await opens(api, key["key"])


@pytest.mark.parametrize(
    ("ip", "networks", "is_in"),
    [
        ("::ffff:10.1.2.3", ["10.0.0.0/8"], True),
        ("2001:db8::7", ["2001:db8::/32"], True),
        ("2001:db9::7", ["2001:db8::/32"], False),
        ("10.1.2.3", ["::/0"], False),
        (None, ["0.0.0.0/0"], False),
        ("testclient", ["0.0.0.0/0", "::/0"], False),
        (None, [], True),
    ],
)
def test_addresses_are_compared_as_addresses(ip: str | None, networks: list[str], is_in: bool) -> None:
    assert credentials._may_come_from(ip, networks) is is_in


async def test_a_known_key_that_does_not_open_is_in_the_trail_once_a_minute(api: Api) -> None:
    ann = await api.person("Ann")
    key = await new_key(ann)
    for _ in range(3):
        assert not await opens(api, forged(key))
    await asyncio.gather(*(opens(api, forged(key)) for _ in range(10)))
    [row] = await trail(ann, ann.personal_team_id, "auth.api_key_refused")
    assert (row["resource"], row["outcome"], row["metadata"]) == (
        key["id"],
        "denied",
        {"reason": "wrong_secret"},
    )
    assert (row["userId"], row["keyId"]) == (None, None), "who that was is not known"
    ago = "UPDATE sign_in_failures SET last_at = last_at - $2::interval WHERE key = $1"
    await db.execute(ago, f"api key {key['id']}", timedelta(minutes=1))
    api_keys._told.clear()
    assert not await opens(api, forged(key))
    assert len(await trail(ann, ann.personal_team_id, "auth.api_key_refused")) == 2


async def test_use_is_noted_once_a_minute_and_failure_is_no_use(api: Api) -> None:
    ann = await api.person("Ann")
    key = await new_key(ann)

    async def last_used() -> Any:
        return await db.fetchval("SELECT last_used FROM api_keys WHERE id = $1", key["id"])

    await opens(api, forged(key))
    assert await last_used() is None
    await asyncio.gather(*(opens(api, key["key"]) for _ in range(20)))
    first = await last_used()
    assert first is not None
    await opens(api, key["key"])
    assert await last_used() == first
    ago = "UPDATE api_keys SET last_used = last_used - $2::interval WHERE id = $1"
    await db.execute(ago, key["id"], api_keys.NOTED_EVERY)
    await opens(api, key["key"])
    assert await last_used() >= first


async def test_a_request_does_not_wait_for_whoever_holds_the_keys_row(api: Api) -> None:
    ann = await api.person("Ann")
    key = await new_key(ann)
    async with db.transaction():
        await db.execute("SELECT FROM api_keys WHERE id = $1 FOR UPDATE", key["id"])
        asked = asyncio.create_task(by(key, ann, "GET", "/users/me"))
        assert (await asked).status_code == 200, "while the row is still locked"


async def test_a_signed_token_that_names_a_key_is_no_key(api: Api) -> None:
    ann = await api.person("Ann")
    key = await new_key(ann)
    token = credentials.tokens.access(ann.id, key["id"])
    problem(await api.call("GET", "/users/me", token=token), 401, "session_over")


async def test_the_secret_is_in_the_answer_that_made_it_and_nowhere_else(
    api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    ann = await api.person("Ann")
    made = await new_key(ann, "inventory:read", "inventory:write")
    path = f"/auth/api-keys/{made['id']}"
    rotated = (await ann.post(f"{path}/rotate", {"overlapSeconds": 60})).json()["data"]
    await by(rotated, ann, "POST", "/inventory", json={"name": "Tea", "quantity": 1})
    await by(made, ann, "GET", "/inventory")
    seen = [
        (await ann.patch(path, {"name": "Robot"})).text,
        (await ann.get("/auth/api-keys")).text,
        (await ann.get("/audit-logs")).text,
        (await by(made, ann, "GET", "/auth/sessions")).text,
        (await api.call("GET", "/users/me", token=forged(made))).text,
        caplog.text,
    ]
    await ann.delete(path)
    seen.append((await by(rotated, ann, "GET", "/inventory")).text)
    tables = ("api_keys", "audit_logs", "stream_entries", "sign_in_failures")
    for table in tables:
        rows = await db.fetch(f"SELECT to_jsonb(t)::text AS row FROM {table} t")  # noqa: S608 - names above
        seen += [row["row"] for row in rows]
    assert any(made["id"] in text for text in seen), "what is looked through has the key in it"
    for secret in (made["key"], rotated["key"]):
        for part in (secret, secret.rsplit("_", 1)[1], secret.rsplit("_", 1)[1][:20]):
            assert not [text for text in seen if part in json.dumps(text)]
