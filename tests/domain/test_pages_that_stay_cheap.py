"""A page of a long list costs what a page of a short one does, also with the plan that Postgres keeps."""

import json
from collections.abc import Iterator
from typing import Any, get_args

import asyncpg
import pytest

from domain import db
from domain.inventory import service as inventory
from domain.inventory.model import Filter, NewItem, Sort
from tests.domain.people import somebody, team_of

ITEMS = 3000
LIMIT = 20

Asked = tuple[str, tuple[Any, ...]]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Asked]:
    """The statements of this test that read rows."""
    real, heard = db.fetch, []

    async def fetch(sql: str, *args: Any) -> list[asyncpg.Record]:
        heard.append((sql, args))
        return await real(sql, *args)

    monkeypatch.setattr(db, "fetch", fetch)
    return heard


@pytest.mark.parametrize("sort", get_args(Sort))
async def test_a_page_reads_its_own_rows_and_no_others(
    outside: asyncpg.Connection, asked: list[Asked], sort: Sort
) -> None:
    ann = await somebody()
    team = await team_of(ann)
    await inventory.create(ann, NewItem(name="Tea 0", quantity=0, category="tea", team_id=team))
    await outside.execute(
        """INSERT INTO inventory (id, team_id, user_id, name, category, quantity, reserved, unit,
                                  low_stock_threshold, attributes, version, created_at, updated_at)
           SELECT id || n, team_id, user_id, 'Tea ' || n, category, n, 0, unit, low_stock_threshold,
                  attributes, 1, created_at, updated_at
           FROM inventory, generate_series(1, $2) n WHERE team_id = $1""",
        team,
        ITEMS - 1,
    )
    await outside.execute("ANALYZE inventory")
    cursor = None
    for only in (Filter(), Filter(), Filter(category="tea")):
        asked.clear()
        page, _ = await inventory.page(ann, team, only, sort=sort, limit=LIMIT, cursor=cursor)
        assert len(page.items) == LIMIT
        cursor = page.next_cursor if only == Filter() and cursor is None else None
        [(sql, args)] = [(sql, args) for sql, args in asked if "FROM inventory" in sql]
        assert await read(outside, sql, args) == LIMIT + 1  # one more tells whether there is more


async def read(outside: asyncpg.Connection, sql: str, args: tuple[Any, ...]) -> int:
    """How many rows of the table are looked at, with a plan that fits any values."""
    await outside.execute("SET plan_cache_mode = force_generic_plan")
    await outside.execute(f"PREPARE page AS {sql}")
    given = ", ".join([await outside.fetchval("SELECT quote_literal($1::text)", str(arg)) for arg in args])
    said = await outside.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) EXECUTE page({given})")
    await outside.execute("DEALLOCATE page")
    scans = [node for node in _nodes(json.loads(said)[0]["Plan"]) if node.get("Relation Name") == "inventory"]
    assert scans
    return sum(round(scan["Actual Rows"]) + scan.get("Rows Removed by Filter", 0) for scan in scans)


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for below in plan.get("Plans", ()):
        yield from _nodes(below)
