"""Guessing: each wrong answer is counted, and after some of them the next one has to wait, longer each time.

    account     10 free, then 1, 2, 4 … 60 s; one is forgotten every 10 minutes
    known       the same, for an account from an address where it has signed in before: apart from `account`,
                so that whoever guesses elsewhere cannot keep its owner out; not where somebody else had
    address     100 free, then 1, 2, 4 … 900 s; one is forgotten every 30 s. IPv4, or a /64 of IPv6
    everywhere  600 in a minute, from all addresses that an account is not known at; then the minute is over
    factors     5 free, then 30, 60 … 3600 s; one is forgotten every hour. For an account, over all factors

Rules   an attempt counts from its beginning, before anything is hashed, and success takes it back: however
        many come at once, on however many processes, no more than the free ones are tried. What is refused
        counts for nothing, so that asking again makes nobody wait longer, and leaves no counter that was not
        there: strangers do not fill the table. An account that does not exist is counted as one that does.
        Keys are keyed hashes: nobody's address can be read from the table.
"""

import hmac
from collections.abc import Sequence
from datetime import timedelta
from hashlib import sha256
from ipaddress import IPv6Address, IPv6Network, ip_address
from typing import Final

import asyncpg
import msgspec

from domain import db, keys
from domain.auth.model import ENDED_AS_ANOTHERS
from domain.clock import now
from domain.errors import RateLimited

KNOWN_FOR: Final = timedelta(days=90)
FORGOTTEN_AFTER: Final = timedelta(days=1)  # every rule has forgotten everything by then
PREFIX_OF_IPV6: Final = 64
# Nobody signs in from more addresses than this in KNOWN_FOR and is surprised to wait a few seconds.
ADDRESSES_MAX: Final = 200
_PURPOSE: Final = "sign_in_failures"


class Rule(msgspec.Struct, frozen=True):
    """`free` wrong answers cost nothing; then `first_s`, doubled each time, at most `cap_s`."""

    free: int
    cap_s: int
    forgets_one_in_s: int
    first_s: int = 1

    @property
    def most(self) -> int:
        """Failures beyond this are not counted: they would only be remembered for longer."""
        return self.free + (self.cap_s // self.first_s).bit_length()


ACCOUNT: Final = Rule(free=10, cap_s=60, forgets_one_in_s=600)
ADDRESS: Final = Rule(free=100, cap_s=900, forgets_one_in_s=30)
EVERYWHERE: Final = Rule(free=600, cap_s=60, forgets_one_in_s=60, first_s=60)
FACTORS: Final = Rule(free=5, cap_s=3600, forgets_one_in_s=3600, first_s=30)


class Key(msgspec.Struct, frozen=True):
    """Something that failures are counted for. `own`: success is the end of what was counted."""

    name: str
    rule: Rule
    own: bool = False


class TooMany(RateLimited):
    """Too many attempts have failed; `retryAfter` (seconds) is among the details. `key`: counted for what."""

    code = "too_many_attempts"

    def __init__(self, key: Key, wait_s: int) -> None:
        super().__init__("Too many attempts have failed: wait before the next one.", retryAfter=wait_s)
        self.key = key


def of(kind: str, name: str, rule: Rule, *, own: bool = False) -> Key:
    """A key of any kind: an account, a user's second factors, an address that mails are asked for, …"""
    digest = hmac.new(keys.derived(_PURPOSE)[0], f"{kind}:{name}".encode(), sha256).hexdigest()
    return Key(f"{kind}:{digest}", rule, own)


async def of_sign_in(email: str, ip: str | None) -> Sequence[Key]:
    """What guessing at the password of this account from there is counted for."""
    # Postgres says which addresses are the same to it: by Python's rules `K` (Kelvin) would be another `k`.
    row = await db.fetchrow(
        """SELECT lower($1::text) AS email, ARRAY(
               SELECT DISTINCT s.ip FROM user_sessions s JOIN users u ON u.id = s.user_id
               WHERE u.email = $1::text::citext AND s.created_at > $2 AND s.ip IS NOT NULL
                 AND coalesce(s.revoked_reason, '') <> ALL ($4) LIMIT $3) AS addresses""",
        email,
        now() - KNOWN_FOR,
        ADDRESSES_MAX,
        ENDED_AS_ANOTHERS,
    )
    assert row is not None, "it has no FROM"
    here = network(ip)
    address = of("address", here, ADDRESS)
    if here in map(network, row["addresses"]):
        return [of("known", f"{row['email']} {here}", ACCOUNT, own=True), address]
    minute = now().strftime("%Y-%m-%dT%H:%M")
    account = of("account", row["email"], ACCOUNT, own=True)
    return [account, address, of("everywhere", minute, EVERYWHERE)]


def network(ip: str | None) -> str:
    """Whom an address stands for: itself, or the /64 that one customer has of IPv6."""
    try:
        address = ip_address((ip or "").partition("%")[0])
    except ValueError:
        return "nowhere"
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(IPv6Network((address, PREFIX_OF_IPV6), strict=False))
    return str(address)


async def check(counted: Sequence[Key]) -> None:
    """Count an attempt for all of these, as one that fails; `cleared` and `untried` take it back.

    Raises TooMany, and counts nothing, where one of them has to wait. By itself it is committed at once. In a
    transaction the counters stay locked until that ends, so those who try at the same time try one after
    another; and what is rolled back has not been tried.
    """
    row = None
    while row is None:  # the rows of a quiet time are swept away, at worst between two statements
        row = await _counted(counted)
    if row["wait_s"] > 0:
        raise TooMany(next(key for key in counted if key.name == row["key"]), row["wait_s"])


async def cleared(counted: Sequence[Key]) -> None:
    """The attempt was right: what is its own is forgotten, elsewhere it has not happened."""
    await db.execute(
        "DELETE FROM sign_in_failures WHERE key = ANY($1)", [key.name for key in counted if key.own]
    )
    if shared := [key for key in counted if not key.own]:
        await untried(shared)


async def untried(counted: Sequence[Key]) -> None:
    """The attempt came to nothing that could tell right from wrong: it has not happened."""
    await db.execute(
        """UPDATE sign_in_failures f SET failures = f.failures - 1
           FROM (SELECT key FROM sign_in_failures WHERE key = ANY($1) AND failures > 0
                 ORDER BY key FOR UPDATE) l
           WHERE f.key = l.key AND f.failures > 0""",
        [key.name for key in counted],
    )


async def refused(by: Key, every: timedelta) -> int | None:
    """Count what this refused: how many since it was last told, if that is `every` ago; else None.

    In the transaction that is under way, which tells it (and holds the counter until it has).
    """
    unit = db.current()
    # The key of everywhere is another one each minute.
    told = f"refused {'everywhere' if by.rule is EVERYWHERE else by.name}"
    row = await unit.connection.fetchrow(
        """INSERT INTO sign_in_failures AS f (key, failures, last_at) VALUES ($1, 1, to_timestamp(0))
           ON CONFLICT (key) DO UPDATE SET failures = f.failures + 1
           RETURNING failures, last_at""",
        told,
    )
    if now() - row["last_at"] < every:
        return None
    await unit.connection.execute(
        "UPDATE sign_in_failures SET failures = 0, last_at = $2 WHERE key = $1", told, now()
    )
    failures: int = row["failures"]
    return failures


async def _counted(counted: Sequence[Key]) -> asyncpg.Record | None:
    """Seconds to wait (0 where the attempt was counted) and the key whose wait it is; None to ask again."""
    rules = [key.rule for key in counted]
    given = (
        [key.name for key in counted],
        [rule.free for rule in rules],
        [rule.first_s for rule in rules],
        [rule.cap_s for rule in rules],
        [rule.forgets_one_in_s for rule in rules],
        [rule.most for rule in rules],
        now(),
    )
    await db.execute(_MAKE, *given)
    return await db.fetchrow(_COUNT, *given)


_RULES: Final = """
WITH rules AS (
    SELECT * FROM unnest($1::text[], $2::int[], $3::int[], $4::int[], $5::int[], $6::int[])
        WITH ORDINALITY AS r (key, free, first_s, cap_s, forgets_s, most, nth)
)"""
_WAIT_S: Final = """
CASE WHEN c.failures < r.free THEN 0
     ELSE least(r.cap_s, r.first_s * 2 ^ least(20, c.failures - r.free))
          - greatest(0, extract(epoch FROM $7::timestamptz - c.last_at)) END"""

# The counters that are not there yet, unless one that is refuses: which it does for others as well.
_MAKE: Final = f"""{_RULES}
INSERT INTO sign_in_failures (key, failures, last_at)
SELECT r.key, 0, $7 FROM rules r
WHERE NOT EXISTS (SELECT FROM sign_in_failures c JOIN rules r USING (key) WHERE {_WAIT_S} > 0)
ORDER BY r.key ON CONFLICT DO NOTHING
"""  # noqa: S608 - no input

# One statement, so that its locks (taken in the order of the keys) are gone when it is. `last_at` moves on by
# what has been forgotten, and to the present only where the next one has to wait from there: else whoever
# fails often enough would never be forgiven anything.
_COUNT: Final = f"""{_RULES}, locked AS MATERIALIZED (
    SELECT key, failures, last_at, greatest(0, extract(epoch FROM $7::timestamptz - last_at)) AS passed_s
    FROM sign_in_failures WHERE key = ANY($1) ORDER BY key FOR UPDATE
), standing AS (
    SELECT r.*, c.last_at, floor(c.passed_s / r.forgets_s)::bigint AS forgotten,
        greatest(0, c.failures - floor(c.passed_s / r.forgets_s))::int AS failures, {_WAIT_S} AS wait_s
    FROM locked c JOIN rules r USING (key)
), verdict AS (
    SELECT count(*) = cardinality($1::text[]) AS complete, greatest(0, ceil(max(wait_s)))::int AS wait_s,
        (array_agg(key ORDER BY nth) FILTER (WHERE wait_s > 0))[1] AS key
    FROM standing
), counted AS (
    UPDATE sign_in_failures f
    SET failures = least(s.failures + 1, s.most),
        last_at = CASE WHEN s.failures = 0 OR s.failures + 1 >= s.free THEN $7
                       ELSE s.last_at + make_interval(secs => s.forgotten * s.forgets_s) END
    FROM standing s, verdict v
    WHERE f.key = s.key AND v.wait_s = 0 AND v.complete
)
SELECT wait_s, key FROM verdict WHERE complete OR wait_s > 0
"""  # noqa: S608 - no input
