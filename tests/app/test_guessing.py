"""Guessing at passwords: how often one may, how little it tells, and that it keeps no owner out."""

import asyncio
from collections import Counter
from datetime import UTC, datetime

import pytest

from app.config import Config
from domain import db
from domain.auth import passwords, sweeping, throttle
from domain.auth.model import ENDED_AS_ANOTHERS
from domain.auth.throttle import ACCOUNT
from domain.users.model import UNKNOWN_USER
from tests import processes
from tests.app.company import bare, problem
from tests.app.guessing import Clock, elsewhere, hashes, statements, trail
from tests.app.signing_in import login
from tests.factories import Api, Person, api_of


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """How long a hash takes is nothing to these tests."""
    stands = Clock()
    monkeypatch.setattr(throttle, "now", stands)
    monkeypatch.setattr(sweeping, "now", stands)
    return stands


KINDS = ("known", "unknown", "disabled", "without a password")


async def _address(api: Api, kind: str) -> str:
    """An address of this kind, as long as any other."""
    ann = await api.person("Ann")
    if kind == "unknown":
        return "bnn" + ann.email[3:]
    if kind == "disabled":
        await db.execute("UPDATE users SET disabled_at = now() WHERE id = $1", ann.id)
    if kind == "without a password":
        await db.execute("UPDATE users SET password_hash = NULL WHERE id = $1", ann.id)
    return ann.email


async def test_after_some_wrong_guesses_each_further_one_has_to_wait_longer(
    api: Api, url: str, clock: Clock
) -> None:
    ann = await api.person()
    async with elsewhere(url) as there:
        for _ in range(ACCOUNT.free):
            problem(await login(there, ann.email, "wrong"), 401, "wrong_credentials")
        waits = []
        for _ in range(8):
            refused = await login(there, ann.email, "wrong")
            waits.append(problem(refused, 429, "too_many_attempts")["retryAfter"])
            assert refused.headers["Retry-After"] == str(waits[-1])
            assert (await login(there, ann.email)).status_code == 429, "the right one has to wait as well"
            clock.passes(waits[-1])
            problem(await login(there, ann.email, "wrong"), 401, "wrong_credentials")
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]


async def test_who_is_refused_waits_no_longer_for_asking_again(api: Api, url: str) -> None:
    ann = await api.person()
    async with elsewhere(url) as there:
        await asyncio.gather(*(login(there, ann.email, "wrong") for _ in range(ACCOUNT.free)))
        for _ in range(20):
            refused = await login(there, ann.email, "wrong")
            assert problem(refused, 429, "too_many_attempts")["retryAfter"] == 1


async def test_whoever_guesses_elsewhere_does_not_keep_the_owner_out(api: Api, url: str) -> None:
    ann = await api.person()
    async with elsewhere(url) as there, elsewhere(url) as somewhere:
        for _ in range(ACCOUNT.free + 1):
            answer = await login(there, ann.email, "wrong")
        assert answer.status_code == 429
        assert (await login(api, ann.email)).status_code == 200, "where she registered she is known"
        assert (await login(somewhere, ann.email)).status_code == 429, "another address is not"


@pytest.mark.parametrize("reason", ENDED_AS_ANOTHERS)
async def test_where_somebody_else_was_signed_in_nobody_is_known(api: Api, reason: str) -> None:
    ann = await api.person()
    await db.execute(
        "UPDATE user_sessions SET revoked_at = now(), revoked_reason = $2 WHERE user_id = $1", ann.id, reason
    )
    assert "known:" not in " ".join(key.name for key in await throttle.of_sign_in(ann.email, "127.0.0.1"))
    await login(api, ann.email)
    assert "known:" in " ".join(key.name for key in await throttle.of_sign_in(ann.email, "127.0.0.1"))


async def test_at_an_address_that_is_known_guesses_are_counted_as_well(api: Api) -> None:
    ann = await api.person()
    answers = [(await login(api, ann.email, "wrong")).status_code for _ in range(ACCOUNT.free + 1)]
    assert answers == [401] * ACCOUNT.free + [429]


async def test_success_is_the_end_of_what_was_counted(api: Api, url: str) -> None:
    ann = await api.person()
    async with elsewhere(url) as there:
        for _ in range(3):
            for _ in range(ACCOUNT.free - 1):
                assert (await login(there, ann.email, "wrong")).status_code == 401
            assert (await login(there, ann.email)).status_code == 200


@pytest.mark.parametrize("kind", KINDS)
async def test_however_many_guess_at_once_no_more_than_the_free_ones_are_tried(
    api: Api, url: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    email = await _address(api, kind)
    async with elsewhere(url) as there:
        with hashes(monkeypatch) as hashed:
            answers = await asyncio.gather(*(login(there, email, "wrong") for _ in range(20)))
    assert Counter(answer.status_code for answer in answers) == {401: ACCOUNT.free, 429: 20 - ACCOUNT.free}
    assert hashed == ["verify"] * ACCOUNT.free, "what is refused costs no hash"


async def test_on_two_processes_no_more_are_tried_than_on_one(api: Api, config: Config, clock: Clock) -> None:
    ann = await api.person()
    await login(api, ann.email, "wrong")
    # Its clock cannot be held: somebody has guessed so often that the next one is a minute after this one.
    await db.execute(
        "UPDATE sign_in_failures SET failures = $2, last_at = now() - interval '1 hour' WHERE key = $1",
        (await throttle.of_sign_in(ann.email, "127.0.0.1"))[0].name,
        ACCOUNT.most + 6,
    )
    clock.present = datetime.now(UTC)
    async with processes.running(config) as other, api_of(other.url) as second:
        both = [login(one, ann.email, "wrong") for _ in range(6) for one in (api, second)]
        answers = await asyncio.gather(*both)
    assert Counter(answer.status_code for answer in answers) == {401: 1, 429: 11}


async def test_it_cannot_be_told_whether_there_is_an_account(
    api: Api, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Answers, hashes, statements and commits are the same, at each attempt, until long after the limit."""
    seen = {}
    for kind in KINDS:
        email = await _address(api, kind)
        told = []
        async with elsewhere(url) as there, statements(monkeypatch) as asked:
            for _ in range(ACCOUNT.free + 3):
                asked.clear()
                with hashes(monkeypatch) as hashed:
                    answer = await login(there, email, "wrong")
                told.append((bare(answer), len(answer.content), list(hashed), list(asked)))
        seen[kind] = told
    assert [status for (status, *_), *_ in seen["known"]] == [401] * ACCOUNT.free + [429] * 3
    assert any("COMMIT" in one for one in seen["known"][0][3]), "statements are heard"
    for kind in KINDS:
        for attempt, (one, other) in enumerate(zip(seen[kind], seen["known"], strict=True)):
            assert one == other, (kind, attempt)


async def test_one_address_spelled_otherwise_is_counted_as_one(api: Api, url: str) -> None:
    ann = await api.person("Kim")
    spellings = [ann.email, ann.email.upper(), "\u212a" + ann.email[1:], ann.email.replace("i", "\u0130")]
    async with elsewhere(url) as there:
        found = [(await login(there, spelled)).status_code for spelled in spellings]
        assert found.count(200) >= 2, "some are the same to Postgres"
        same = [spelled for spelled, status in zip(spellings, found, strict=True) if status == 200]
        await db.execute("UPDATE user_sessions SET ip = NULL WHERE user_id = $1", ann.id)
        for turn in range(ACCOUNT.free):
            assert (await login(there, same[turn % len(same)], "wrong")).status_code == 401
        for spelled in same:
            assert (await login(there, spelled, "wrong")).status_code == 429, spelled


async def test_the_trail_has_every_wrong_password_and_refused_ones_once_a_minute(
    api: Api, url: str, clock: Clock
) -> None:
    ann = await api.person()
    async with elsewhere(url) as there:
        await asyncio.gather(*(login(there, ann.email, "wrong") for _ in range(30)))
        kept = Counter(row["reason"] for row in await trail(ann.id))
        assert kept == {"wrong_credentials": ACCOUNT.free, "too_many_attempts": 1}
        clock.passes(throttle.ACCOUNT.cap_s)
        await asyncio.gather(*(login(there, ann.email, "wrong") for _ in range(3)))
    told = [row["attempts"] for row in await trail(ann.id) if row["reason"] == "too_many_attempts"]
    assert told == [1, 20], "none is lost: the later row has those that the first left out"


@pytest.mark.parametrize("nth", [1, 2], ids=["the address", "everywhere"])
async def test_whoever_is_refused_whatever_the_account_leaves_no_rows(api: Api, url: str, nth: int) -> None:
    """Else a stranger with ever-fresh addresses would fill the tables, and be kept waiting for nothing."""
    ann = await api.person()
    async with elsewhere(url) as there:
        await login(there, "nobody-yet@example.org", "wrong")
        ip = await db.fetchval(
            "SELECT ip FROM audit_logs WHERE resource = $1 ORDER BY id DESC LIMIT 1", UNKNOWN_USER
        )
        full = (await throttle.of_sign_in("nobody-yet@example.org", ip))[nth]
        await db.execute(
            "UPDATE sign_in_failures SET failures = $2 WHERE key = $1", full.name, full.rule.free
        )
        try:
            first = await login(there, "nobody-0@example.org")
            problem(first, 429, "too_many_attempts")
            rows, told = await _rows(), len(await trail(UNKNOWN_USER))
            fresh = [f"nobody-{nth}@example.org" for nth in range(1, 20)]
            answers = await asyncio.gather(*(login(there, email) for email in [*fresh, ann.email]))
            kept = await db.fetchval("SELECT failures FROM sign_in_failures WHERE key = $1", full.name)
        finally:
            await db.execute("DELETE FROM sign_in_failures WHERE key = $1", full.name)
    assert all(bare(answer) == bare(first) for answer in answers), "Retry-After among it"
    assert kept == full.rule.free
    assert await _rows() == rows - 1
    assert len(await trail(UNKNOWN_USER)) == told, "once a minute for all of them"
    assert not await trail(ann.id), "it was not her account that was guessed at too often"


async def _rows() -> int:
    count: int = await db.fetchval("SELECT count(*) FROM sign_in_failures")
    return count


async def test_guesses_at_nobodys_account_are_in_a_trail_of_no_team(api: Api) -> None:
    before = len(await trail(UNKNOWN_USER))
    problem(await login(api, "nobody-at-all@example.org", "wrong"), 401, "wrong_credentials")
    assert len(await trail(UNKNOWN_USER)) == before + 1


async def test_nobodys_address_can_be_read_from_the_counters(api: Api, url: str) -> None:
    ann = await api.person()
    async with elsewhere(url) as there:
        await login(there, ann.email, "wrong")
        await login(there, "nobody-" + ann.email, "wrong")
    kept = [row["key"] for row in await db.fetch("SELECT key FROM sign_in_failures")]
    assert len(kept) >= 4
    for key in kept:
        assert "@" not in key
        assert "127." not in key


async def test_when_too_many_hash_at_once_a_guess_that_was_not_tried_does_not_count(
    api: Api, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = await api.person()
    async with elsewhere(url) as there:
        with monkeypatch.context() as patch:
            patch.setattr(passwords, "WAITING_MAX", 0)
            for _ in range(ACCOUNT.free + 5):
                problem(await login(there, ann.email, "wrong"), 503, "busy")
        assert (await login(there, ann.email)).status_code == 200


async def test_a_password_kept_with_older_parameters_is_kept_anew_when_it_is_used(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = await api.person()
    older = await _kept_with_older_parameters(ann)
    assert (await login(api, ann.email, "wrong")).status_code == 401
    assert await _hash_of(ann) == older, "a wrong one renews nothing"
    with hashes(monkeypatch) as hashed:
        assert (await login(api, ann.email)).status_code == 200
        assert (await login(api, ann.email)).status_code == 200
    assert hashed == ["verify", "hash", "verify"], "once"
    renewed = await _hash_of(ann)
    assert renewed != older
    assert not passwords.outdated(renewed)


async def test_a_password_changed_while_it_is_kept_anew_stays_changed(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = await api.person()
    await _kept_with_older_parameters(ann)
    hashed = passwords.hashed

    async def changed_meanwhile(password: str) -> str:
        await db.execute("UPDATE users SET password_hash = 'the new one' WHERE id = $1", ann.id)
        return await hashed(password)

    monkeypatch.setattr(passwords, "hashed", changed_meanwhile)
    await login(api, ann.email)
    assert await _hash_of(ann) == "the new one"


async def test_old_counters_are_swept_away_and_younger_ones_stay(api: Api, url: str, clock: Clock) -> None:
    ann = await api.person()
    async with elsewhere(url) as there:
        await login(there, ann.email, "wrong")
        await sweeping.sweep_failures()
        assert await db.fetchval("SELECT count(*) FROM sign_in_failures") > 0
        clock.passes(throttle.FORGOTTEN_AFTER.total_seconds() * 2)
        await sweeping.sweep_failures()
    assert await db.fetchval("SELECT count(*) FROM sign_in_failures") == 0


async def _kept_with_older_parameters(person: Person) -> str:
    older = passwords.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(person.password)
    await db.execute("UPDATE users SET password_hash = $2 WHERE id = $1", person.id, older)
    return older


async def _hash_of(person: Person) -> str:
    kept: str = await db.fetchval("SELECT password_hash FROM users WHERE id = $1", person.id)
    return kept
