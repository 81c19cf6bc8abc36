"""One-time tokens: good once, for one purpose, for a while; of whoever comes at once, one."""

import asyncio
from datetime import timedelta

import pytest

from domain import db
from domain.auth import one_time, sweeping
from domain.errors import Invalid
from tests.factories import Api

MINUTE = timedelta(minutes=1)


async def made(purpose: str = "test", **more: object) -> str:
    async with db.transaction():
        return await one_time.issue(purpose, lasts=MINUTE, **more)  # type: ignore[arg-type]


async def used(purpose: str, token: str) -> bool:
    try:
        async with db.transaction():
            await one_time.consume(purpose, token)
    except Invalid:
        return False
    return True


async def test_of_twenty_at_once_one_uses_it(url: str) -> None:
    token = await made()
    assert sum(await asyncio.gather(*(used("test", token) for _ in range(20)))) == 1
    assert not await used("test", token)


async def test_only_its_hash_is_kept(url: str) -> None:
    token = await made("test.kept", email="ann@example.org", data={"side": "old"})
    row = await db.fetchrow("SELECT t::text AS whole FROM one_time_tokens t WHERE purpose = 'test.kept'")
    assert row is not None
    assert token.startswith("mot_")
    assert len(token) == 4 + 43, "256 bits"
    assert token not in row["whole"]
    assert token[4:] not in row["whole"]
    known = await one_time.peek("test.kept", token)
    assert (known.email, known.data) == ("ann@example.org", {"side": "old"})


async def test_unknown_used_expired_and_meant_for_something_else_are_told_the_same(url: str) -> None:
    spent, old, other = await made(), await made(), await made("test.other")
    assert await used("test", spent)
    await db.execute(
        "UPDATE one_time_tokens SET expires_at = now() WHERE hash = encode(sha256($1::bytea), 'hex')",
        old.encode(),
    )
    words = set()
    for token in ("mot_nothing", spent, old, other, spent[:-1], ""):
        with pytest.raises(Invalid) as refused:
            async with db.transaction():
                await one_time.consume("test", token)
        words.add((refused.value.problem, refused.value.detail, str(refused.value.details)))
    assert len(words) == 1
    assert await used("test.other", other), "for what it is meant, it is good"


async def test_what_is_rolled_back_is_not_used(url: str) -> None:
    token = await made()

    async def uses_and_fails() -> None:
        async with db.transaction():
            await one_time.consume("test", token)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await uses_and_fails()
    assert await used("test", token)


async def test_a_token_alone_is_the_only_one_of_its_user_and_purpose(api: Api) -> None:
    ann, ben = await api.person(), await api.person("Ben")
    first, bens, another = [
        await made(user_id=ann.id),
        await made(user_id=ben.id),
        await made("two", user_id=ann.id),
    ]
    last = await made(user_id=ann.id, alone=True)
    assert not await used("test", first)
    assert await used("test", last)
    assert await used("test", bens)
    assert await used("two", another)


async def test_of_many_marks_at_once_one_is_first_and_another_comes_when_it_has_ended(url: str) -> None:
    async def first(subject: str) -> bool:
        async with db.transaction():
            return await one_time.mark("test.mark", subject, lasts=MINUTE)

    assert sum(await asyncio.gather(*(first("Ann@example.org") for _ in range(10)))) == 1
    assert not await first("ann@EXAMPLE.org"), "whatever the case"
    assert await first("ben@example.org")
    await db.execute("UPDATE one_time_tokens SET expires_at = now() WHERE purpose = 'test.mark'")
    assert sum(await asyncio.gather(*(first("ann@example.org") for _ in range(10)))) == 1
    kept = await db.fetch("SELECT t::text AS whole FROM one_time_tokens t WHERE purpose = 'test.mark'")
    assert len(kept) == 2
    assert not any("example" in row["whole"] for row in kept), "nobody reads addresses there"


async def test_what_has_expired_is_swept_and_nothing_else(url: str) -> None:
    old, good = await made("test.old"), await made("test.good")
    await db.execute(
        "UPDATE one_time_tokens SET expires_at = now() - $1::interval WHERE purpose = 'test.old'",
        sweeping.TOKENS_FORGOTTEN_AFTER,
    )
    await sweeping.sweep_one_time_tokens()
    assert not await db.fetchval("SELECT count(*) FROM one_time_tokens WHERE purpose = 'test.old'")
    assert await used("test.good", good)
    assert not await used("test.old", old)


async def test_a_mark_is_the_same_for_what_postgres_holds_to_be_one_address(url: str) -> None:
    """Python lets the last Σ of a word be another letter than Postgres does."""
    small = await db.fetchval("SELECT lower($1::text)", "ΝΙΚΟΣ@example.org")
    assert await one_time.fingerprint("ΝΙΚΟΣ@example.org") == await one_time.fingerprint(small)
    assert await one_time.mark("test.fold", "ΝΙΚΟΣ@example.org", lasts=MINUTE)
    assert not await one_time.mark("test.fold", small, lasts=MINUTE)
    assert await one_time.fingerprint("İ@example.org") == await one_time.fingerprint(
        await db.fetchval("SELECT lower('İ@example.org')")
    )
