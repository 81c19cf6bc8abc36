"""Audit: does a trail of a million rows answer as fast as one of a thousand? What do its indexes cost?

Each filter is asked over REST, of a team with 1,000 rows and then of one with 1,000,000 in the same table,
spread over a year: medians, and how the long trail compares. Where it takes more than SLOW times as long, the
plan of what was asked is printed. Beside it: Postgres' CPU for an audit row, with every index and without
each of those that are there for reading.
"""

import asyncio
import statistics
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import urlencode

import asyncpg
import httpx
import msgspec

from domain import db, pages
from domain.audit_logs import search
from domain.audit_logs.model import Filter
from domain.clock import now
from tests.bench.harness import Broken, Figure, Product, cpu_s, product, table
from tests.bench.people import Someone, settle

SHORT: Final = 1_000
LONG: Final = 1_000_000
TIMES: Final = 25
SLOW: Final = 3.0
WRITES: Final = 3_000
ROUNDS: Final = 3
AT_MOST_S: Final = 900.0
BEGUN: Final = now()
INDEXES: Final = (
    "audit_logs_words",
    "audit_logs_action",
    "audit_logs_kind",
    "audit_logs_ip",
    "audit_logs_outcome",
)
_COLUMNS: Final = (
    'id, seq, team_id, user_id, action, resource_type, resource, "timestamp", metadata, changes, outcome, '
    "request_id, session_id, ip, user_agent"
)
# $1 the team, $2 how many rows. Of a thousand: 950 are the same action; a few words and addresses are rare.
_FILL: Final = f"""
INSERT INTO audit_logs ({_COLUMNS})
SELECT 'aud_' || $1 || n, n, $1, 'user_' || lpad((n % 20)::text, 26, '0'),
    CASE WHEN n % 500 = 7 THEN 'teams.role_changed' WHEN n % 20 = 0 THEN 'inventory.created'
         WHEN n % 200 = 3 THEN 'auth.login_failed' ELSE 'inventory.adjusted' END,
    CASE WHEN n % 500 = 7 THEN 'member' WHEN n % 200 = 3 THEN 'user' ELSE 'item' END,
    'item_' || lpad((n % (1 + $2 / 50))::text, 26, '0'),
    now() - ($2 - n)::float8 / $2 * interval '360 days',
    jsonb_build_object('reason', CASE WHEN n % 3 = 0 THEN 'sold' ELSE 'delivered' END,
        'reference', 'order ' || n,
        'note', CASE WHEN n % ($2 / 20) = 5 THEN 'walnut' WHEN n % 500 = 6 THEN 'hazelnut' ELSE 'plain' END,
        'of', CASE WHEN n < $2 * 0.4 THEN 'yore' ELSE 'today' END),
    jsonb_build_object('quantity', jsonb_build_object('before', n % 100, 'after', n % 97)),
    CASE WHEN n % 200 = 3 THEN 'denied' ELSE 'success' END, 'req_' || n, 'sess_' || n % 20,
    '10.0.' || n % 7 || '.' || CASE WHEN n % ($2 / 10) = 9 THEN 200 ELSE n % 13 END, 'a till'
FROM generate_series(1, $2) AS n
"""  # noqa: S608 - names of ours
_WRITE: Final = f"""
DO $$ BEGIN FOR n IN 1..{WRITES} LOOP
INSERT INTO audit_logs ({_COLUMNS})
VALUES ('aud_w' || n, {LONG} + n, '{{team}}', 'user_' || n % 20, 'inventory.adjusted', 'item',
    'item_' || n % 977, now(), jsonb_build_object('reason', 'sold', 'reference', 'order ' || n),
    jsonb_build_object('quantity', jsonb_build_object('before', n % 100, 'after', n % 97)),
    'success', 'req_' || n, 'sess_' || n % 20, '10.0.0.' || n % 13, 'a till');
END LOOP; END $$
"""  # noqa: S608 - names of ours

# What is asked -> how.
ASKED: Final[dict[str, dict[str, Any]]] = {
    "first page": {},
    "a common word": {"query": "inventory"},
    "a word in 1 of 500": {"query": "hazelnut"},
    "a word in 20 rows": {"query": "walnut"},
    "a word in no row": {"query": "cashew"},
    "a word of long ago": {"query": "yore"},
    "two words": {"query": "yore walnut"},
    "a common action": {"action": "inventory.adjusted"},
    "a rarer action": {"action": "teams.role_changed"},
    "an action of no row": {"action": "teams.deleted"},
    "a kind of thing": {"resource": "member"},
    "a thing": {"resource": "item_" + "7".rjust(26, "0")},
    "an address": {"ip": "10.0.3.3"},
    "a rare address": {"ip": "10.0.2.200"},
    "an address of no row": {"ip": "10.9.9.9"},
    "denied": {"outcome": "denied"},
    "failed (no row)": {"outcome": "failure"},
    "a person": {"actor": "user_" + "3".rjust(26, "0")},
    "a person, an action": {"actor": "user_" + "3".rjust(26, "0"), "action": "auth.login_failed"},
    "denied, a word": {"outcome": "denied", "query": "sold"},
    "an action, a rare word": {"action": "inventory.adjusted", "query": "walnut"},
    "a day, long ago": {"since": 200, "until": 199},
    "until long ago": {"until": 300},
    "since long ago, a word": {"since": 300, "query": "walnut"},
    "a page in the middle": {"middle": True},
    "a word, in the middle": {"middle": True, "query": "inventory"},
}


async def measure() -> None:
    """Print what each filter takes, short and long, and what writing costs."""
    async with asyncio.timeout(AT_MOST_S), product() as served:
        database = await asyncpg.connect(served.database_url, command_timeout=AT_MOST_S)
        try:
            people = await settle(served.database_url, 40)
            short, long = people[0], people[20]
            await _months(database)
            for one, rows in ((short, SHORT), (long, LONG)):
                fill = _FILL.replace("$1", f"'{one.team_id}'").replace("$2", str(rows))
                await database.execute(fill)
            await database.execute("VACUUM ANALYZE audit_logs")
            await _reads(served, short, long)
            print()
            await _writes(served, database, long)
        finally:
            await database.close()


async def _months(database: asyncpg.Connection) -> None:
    """Partitions for the year that is over."""
    for ago in range(1, 13):
        await database.execute(
            f"""DO $$ DECLARE begins timestamptz := date_trunc('month', now()) - interval '{ago} months';
                BEGIN EXECUTE format(
                    'CREATE TABLE audit_logs_%s PARTITION OF audit_logs FOR VALUES FROM (%L) TO (%L)',
                    to_char(begins, 'YYYYMMDD'), begins, begins + interval '1 month');
                END $$"""
        )


async def _reads(served: Product, short: Someone, long: Someone) -> None:
    rows: list[tuple[str, ...]] = [("", f"{SHORT:,} rows, ms", f"{LONG:,} rows, ms", "ratio")]
    slow: list[str] = []
    async with httpx.AsyncClient(base_url=f"{served.url}/api", timeout=30) as client:
        for name, asked in ASKED.items():
            times: dict[int, list[float]] = {SHORT: [], LONG: []}
            for turn in range(1 + TIMES):
                for one, length in ((short, SHORT), (long, LONG)):
                    took = await _timed(client, one, asked, length)
                    times[length] += (
                        [took] if turn else []
                    )  # the first one leaves a row, and warms what is cold
            few, many = (1e3 * statistics.median(times[length]) for length in (SHORT, LONG))
            rows.append((name, f"{few:.2f}", f"{many:.2f}", f"{many / few:.2f}"))
            slow += [name] if many > SLOW * few else []
    table(rows)
    for name in slow:
        print(f"\n{name}:")
        await _explain(served, long, ASKED[name])


async def _timed(client: httpx.AsyncClient, one: Someone, asked: dict[str, Any], length: int) -> float:
    only, before = _filter(asked, length)
    names = {"since": "from", "until": "to"}
    query = {
        names.get(name, name): value.isoformat().replace("+00:00", "Z")
        if isinstance(value, datetime)
        else value
        for name, value in msgspec.structs.asdict(only).items()
        if value is not None
    }
    token = one.token()
    if before is not None:
        # As the page before it would have sealed it (domain/audit_logs/service.py).
        query["cursor"] = pages.seal([before], scope=f"audit {one.user_id} {one.team_id} {only}")
    path = f"/audit-logs?{urlencode({**query, 'teamId': one.team_id})}"
    begun = time.perf_counter()
    answer = await client.get(path, headers={"Authorization": f"Bearer {token}"})
    took = time.perf_counter() - begun
    if answer.status_code != 200:
        raise Broken(f"{path} answers {answer.status_code}: {answer.text[:200]}")
    return took


def _filter(asked: dict[str, Any], length: int) -> tuple[Filter, int | None]:
    """The filter, with times for days ago; and before which row."""
    given = {
        name: BEGUN - timedelta(days=value) if name in ("since", "until") else value
        for name, value in asked.items()
        if name != "middle"
    }
    return Filter(**given), length // 2 if "middle" in asked else None


async def _explain(served: Product, one: Someone, asked: dict[str, Any]) -> None:
    """The plans of what was asked."""
    said: list[Any] = []
    only, before = _filter(asked, LONG)
    await db.open_pool(served.database_url)
    try:
        async with db.snapshot() as unit:
            unit.connection.add_query_logger(said.append)
            await search.newest(one.team_id, only, before=before, limit=21)
            unit.connection.remove_query_logger(said.append)
            for each in said:
                if each.query.startswith("SET"):
                    continue  # how the next one is to be planned
                for line in await db.fetch(f"EXPLAIN (ANALYZE, BUFFERS) {each.query}", *each.args):
                    if "never executed" not in line[0]:
                        print("   ", line[0])
    finally:
        await db.close_pool()


async def _writes(served: Product, database: asyncpg.Connection, one: Someone) -> None:
    """Rows written in a transaction that is rolled back, with the index dropped in it that is asked about."""
    without: dict[str, Sequence[str]] = {"with all": (), **{f"without {name}": (name,) for name in INDEXES}}
    without["with none of these"] = INDEXES
    took: dict[str, list[float]] = {name: [] for name in without}
    for _ in range(ROUNDS):
        for name, dropped in without.items():
            transaction = database.transaction()
            await transaction.start()
            for index in dropped:
                await database.execute(f"DROP INDEX {index}")
            before = cpu_s(served.postgres_pid)
            await database.execute(_WRITE.replace("{team}", one.team_id))
            took[name].append(1e6 * (cpu_s(served.postgres_pid) - before) / WRITES)
            await transaction.rollback()
    rows: list[tuple[str, ...]] = [("an audit row", "Postgres' CPU, us  (least to most)")]
    table(rows + [(name, Figure(values).said("{:.0f}")) for name, values in took.items()])
