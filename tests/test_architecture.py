"""The house is built as ARCHITECTURE.md says: the rules of tests/architecture.py hold, and each can bite."""

import re
from collections.abc import Callable, Iterable

import asyncpg
import pytest
from piccolo.apps.migrations.commands.new import AutoMigrationManager
from piccolo.columns import ForeignKey, Text
from piccolo.conf.apps import AppConfig
from piccolo.table import Table

from app.config import Config
from domain.piccolo_app import APP_CONFIG
from domain.teams.tables import Teams
from domain.users.tables import Users
from tests import architecture as rules
from tests.architecture import ROOT, Source, findings, sources

PRODUCT = ("app", "channels", "domain", "piccolo_conf.py")
LOCK = ROOT / "requirements.lock"
# Known vulnerabilities below them (DEPENDENCIES.md).
FLOORS = {
    "litestar": "2.25.0",
    "pyjwt": "2.15.1",
    "authlib": "1.9.6",
    "h11": "0.16",
    "uvicorn": "0.54",
    "websockets": "17.4",
    "piccolo": "1.38",
}
# `table.column` -> why the key may be null, or why rows go with what they point at.
LOOSE_KEYS = {
    "one_time_tokens.user_id": "a link may be for an address that nobody has yet",
    "api_keys.team_id": "a key may act for its user alone",
    "team_members.own_role": "a built-in role is in no table",
    "team_invites.own_role": "a built-in role is in no table",
}
WITHOUT_TEAM = {
    "audit_keys": "signs for the installation",
    "api_keys": "belongs to a person, and to a team if it acts for one",
    "idempotency_keys": "belongs to a caller: a user, an API key, or an address",
    "mfa_factors": "belongs to a person",
    "oauth_identities": "belongs to a person",
    "one_time_tokens": "belongs to a person, or to an address",
    "passkeys": "belongs to a person",
    "recovery_codes": "belongs to a person",
    "sign_in_failures": "belongs to an account or an address",
    "user_profiles": "belongs to a person",
    "migration": "Piccolo's own: which migrations are done",
    "pgqueuer": "PgQueuer's own: work of the system, whose payload says for whom",
    "pgqueuer_log": "PgQueuer's own: what became of that work",
    "pgqueuer_schedules": "PgQueuer's own: when periodic work is due",
    "pgqueuer_statistics": "PgQueuer's own, and empty",
    "stream_entries": "belongs to a channel, whose name has the owner",
    "stream_heads": "belongs to a channel, whose name has the owner",
    "teams": "is the team",
    "user_sessions": "belongs to a person",
    "users": "is a person, who may be in many teams",
}


class LooseKeys(Table, tablename="architecture_loose_keys"):
    """What the rule on foreign keys is there to find: Piccolo's defaults."""

    id = Text(primary_key=True)
    nullable = ForeignKey(references=Users)


Rule = Callable[[Source], Iterable[str]]


SLICES = set(rules.slice_graph(sources("domain")))


def in_slices(source: Source) -> Iterable[str]:
    return rules.slice_imports(source, SLICES)


@pytest.mark.parametrize(
    ("rule", "path", "good", "bad"),
    [
        (rules.wrong_directions, "domain/x.py", "from domain import db", "from channels import hub"),
        (rules.wrong_directions, "domain/x.py", "import domain.db", "import app.config"),
        (
            rules.wrong_directions,
            "channels/x.py",
            "from domain import db",
            "def f():\n    from app import main",
        ),
        (rules.wrong_directions, "app/x.py", "from channels import hub", "from tests import factories"),
        (rules.misplaced_packages, "channels/hub.py", "import asyncio", "from redis.asyncio import Redis"),
        (rules.misplaced_packages, "domain/x.py", "import asyncpg", "from litestar import get"),
        (rules.misplaced_packages, "domain/x/service.py", "import msgspec", "import httpx"),
        (rules.misplaced_packages, "app/api/x.py", "import litestar", "import stripe"),
        (rules.relative_imports, "domain/x/service.py", "from domain.x import model", "from . import model"),
        (rules.environment_reads, "app/main.py", "import os\nos.getpid()", "import os\nos.environ['X']"),
        (rules.environment_reads, "domain/x.py", "import os\nos.sep", "import os\nos.getenv('X')"),
        (rules.environment_reads, "app/main.py", "from os import path", "from os import environ"),
        (
            rules.table_imports,
            "domain/teams/service.py",
            "from domain.teams.tables import Teams",
            "from domain.users.tables import Users",
        ),
        (
            rules.table_imports,
            "app/api/x.py",
            "from domain.users import service",
            "from domain.users import tables",
        ),
        (
            in_slices,
            "domain/auth/service.py",
            "from domain.teams import service",
            "from domain.teams import invites",
        ),
        (
            in_slices,
            "domain/auth/tables.py",
            "from domain.users.tables import Users",
            "from domain.users.gateway import X",
        ),
        (rules.oversized, "app/x.py", "x = 1\n" * 350, "x = 1\n" * 351),
        (rules.oversized, "app/x.py", "def f():\n" + "    x = 1\n" * 69, "def f():\n" + "    x = 1\n" * 70),
        (rules.without_docstring, "app/x.py", "x = 1\n" * 20, "x = 1\n" * 21),
    ],
)
def test_each_rule_finds_what_breaks_it_and_lets_pass_what_does_not(
    rule: Rule, path: str, good: str, bad: str
) -> None:
    assert list(rule(Source(path, bad)))
    assert not list(rule(Source(path, good)))


@pytest.mark.parametrize(
    "rule",
    [
        rules.wrong_directions,
        rules.misplaced_packages,
        rules.relative_imports,
        rules.environment_reads,
        rules.table_imports,
        in_slices,
    ],
)
def test_the_product_keeps_the_rule(rule: Rule) -> None:
    files = sources(*PRODUCT)
    assert len(files) > 50, "the tree must be found for this to mean anything"
    assert findings(rule, files) == []


def test_migrations_import_nothing_but_the_domain() -> None:
    assert findings(rules.wrong_directions, sources("migrations")) == []


@pytest.mark.parametrize("rule", [rules.oversized, rules.without_docstring])
def test_files_are_small_and_open_with_what_they_are(rule: Rule) -> None:
    assert findings(rule, sources(*PRODUCT, "tests")) == []


def test_the_graph_of_slices_has_no_cycle() -> None:
    graph = rules.slice_graph(sources("domain"))
    for name, others in graph.items():
        print(f"\n{name} -> {', '.join(sorted(others)) or 'none'}", end="")
    assert len(graph) >= 5
    assert graph["teams"] == {"users"}, "the graph is read right"
    assert rules.cycles(graph) == []


def test_the_graph_of_modules_has_no_cycle() -> None:
    graph = rules.module_graph(sources(*PRODUCT))
    assert "domain.db" in graph["domain.streams"], "the graph is read right"
    assert rules.cycles(graph) == []


def test_a_cycle_is_found_and_shown() -> None:
    files = [
        Source("domain/b/service.py", "from domain.c import service"),
        Source("domain/c/service.py", "from domain import db\nfrom domain.d import model"),
        Source("domain/d/model.py", "import domain.b.model"),
        Source("domain/a/service.py", "from domain.b import service"),
    ]
    graph = rules.slice_graph(files)
    assert graph == {"a": {"b"}, "b": {"c"}, "c": {"d"}, "d": {"b"}}
    assert rules.cycles(graph) == ["b -> c -> d -> b"]
    assert rules.cycles({**graph, "d": set()}) == []


def test_no_foreign_key_may_be_null_or_cascades_unless_somebody_asked_for_it() -> None:
    found = findings(rules.loose_foreign_keys, APP_CONFIG.table_classes)
    assert [finding for finding in found if finding.split()[0] not in LOOSE_KEYS] == []
    assert list(rules.loose_foreign_keys(LooseKeys)) == [
        "architecture_loose_keys.nullable may be null",
        "architecture_loose_keys.nullable says ON DELETE CASCADE",
    ]
    assert any(table._meta.foreign_key_columns for table in APP_CONFIG.table_classes)


async def test_no_foreign_key_of_the_migrated_database_may_be_null_or_cascades(config: Config) -> None:
    connection = await asyncpg.connect(config.database_url)
    try:
        found = await connection.fetch(rules.LOOSE_FOREIGN_KEYS_SQL, "public")
        assert [dict(row) for row in found if row["place"] not in LOOSE_KEYS] == []
        async with _undone(connection):
            await connection.execute(
                """CREATE SCHEMA loose;
                   CREATE TABLE loose.a (id int PRIMARY KEY, team_id text NOT NULL);
                   CREATE TABLE loose.b (kept int NOT NULL REFERENCES loose.a ON DELETE RESTRICT,
                                         nullable int REFERENCES loose.a,
                                         cascades int NOT NULL REFERENCES loose.a ON DELETE CASCADE,
                                         emptied int NOT NULL REFERENCES loose.a ON DELETE SET NULL)"""
            )
            found = await connection.fetch(rules.LOOSE_FOREIGN_KEYS_SQL, "loose")
            assert [row["place"] for row in found] == [
                "loose.b.cascades",
                "loose.b.emptied",
                "loose.b.nullable",
            ]
            assert [row[0] for row in await connection.fetch(rules.TABLES_WITHOUT_TEAM_SQL, "loose")] == ["b"]
    finally:
        await connection.close()


async def test_tables_of_teams_refer_to_each_other_within_a_team(config: Config) -> None:
    connection = await asyncpg.connect(config.database_url)
    try:
        assert [row[0] for row in await connection.fetch(rules.KEYS_ACROSS_TEAMS_SQL, "public")] == []
        async with _undone(connection):
            await connection.execute(
                """CREATE SCHEMA across;
                   CREATE TABLE across.a (id int PRIMARY KEY, team_id text NOT NULL, UNIQUE (team_id, id));
                   CREATE TABLE across.b (team_id text NOT NULL, one int NOT NULL REFERENCES across.a (id),
                                          other int NOT NULL,
                                          FOREIGN KEY (team_id, other) REFERENCES across.a (team_id, id))"""
            )
            found = await connection.fetch(rules.KEYS_ACROSS_TEAMS_SQL, "across")
            assert [row[0] for row in found] == ["across.b.one"]
    finally:
        await connection.close()


async def test_every_table_belongs_to_a_team_or_says_why_not(config: Config) -> None:
    connection = await asyncpg.connect(config.database_url)
    try:
        found = {row["relname"] for row in await connection.fetch(rules.TABLES_WITHOUT_TEAM_SQL, "public")}
    finally:
        await connection.close()
    # Other tests leave no table behind, but one may be running beside this one.
    found = {name for name in found if not name.startswith("scratch_")}
    assert found == set(WITHOUT_TEAM), "a table that is gone, or has a team now, leaves the list"
    declared = {
        table._meta.tablename: {c._meta.name for c in table._meta.columns}
        for table in APP_CONFIG.table_classes
    }
    assert {name for name, columns in declared.items() if "team_id" not in columns} <= set(WITHOUT_TEAM)


async def test_the_migrated_database_has_the_columns_that_the_tables_declare(config: Config) -> None:
    connection = await asyncpg.connect(config.database_url)
    try:
        rows = await connection.fetch(
            """SELECT attrelid::regclass::text AS name, attname, attnotnull FROM pg_attribute
               WHERE attnum > 0 AND NOT attisdropped AND attgenerated = ''"""
        )
    finally:
        await connection.close()
    columns: dict[str, set[tuple[str, bool]]] = {}
    for row in rows:
        columns.setdefault(row["name"], set()).add((row["attname"], row["attnotnull"]))
    for table in APP_CONFIG.table_classes:
        declared = {(column._meta.db_column_name, not column._meta.null) for column in table._meta.columns}
        assert columns[table._meta.tablename] == declared, table._meta.tablename


async def differences(*, tables: list[type[Table]]) -> list[str]:
    """What `piccolo migrations new maycole --auto` would write for these tables."""
    config = AppConfig(APP_CONFIG.app_name, APP_CONFIG.migrations_folder_path, table_classes=tables)
    found = await AutoMigrationManager(auto_input="n").get_alter_statements(config)
    return [statement for alter in found for statement in alter.statements]


async def test_the_migrations_say_all_that_the_tables_say() -> None:
    assert await differences(tables=APP_CONFIG.table_classes) == []
    added = await differences(tables=[*APP_CONFIG.table_classes, LooseKeys])
    assert any("architecture_loose_keys" in statement for statement in added)
    assert await differences(tables=[table for table in APP_CONFIG.table_classes if table is not Teams])


def test_no_locked_package_is_older_than_its_known_vulnerabilities_allow() -> None:
    lock = LOCK.read_text()
    assert list(rules.below_floor(lock, FLOORS)) == []
    assert len(re.findall(rf"(?m)^({'|'.join(FLOORS)})==", lock)) >= 5
    old = "Piccolo==1.9.0 \\\n    --hash=sha256:00\nh11==0.16.0 ; python_version > '3'\n"
    assert list(rules.below_floor(old, FLOORS)) == ["Piccolo 1.9.0 is older than 1.38"]


@pytest.mark.parametrize(
    "line",
    [
        "--index-url https://mirror.example/simple",
        "maycole @ file:///home/ann/maycole",
        "-e .",
        "./vendored/thing",
        "litestar @ git+https://github.com/litestar-org/litestar",
        "litestar>=2.25",
        "    --hash=sha256:00",
        "# from https://mirror.example/simple",
        "    # via -r /home/ann/requirements.in",
        "    # via -r ../requirements.in",
    ],
)
def test_the_lock_holds_exact_versions_and_hashes_and_names_no_place(line: str) -> None:
    lock = LOCK.read_text()
    assert list(rules.unlocked_lines(lock)) == []
    assert lock.count("--hash=sha256:") > lock.count("==") > 50
    assert len(list(rules.unlocked_lines(f"{lock}{line}\n"))) == 1


class _undone:  # noqa: N801 - reads as a word in `async with _undone(…)`
    """A transaction that is always rolled back."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._transaction = connection.transaction()

    async def __aenter__(self) -> None:
        await self._transaction.start()

    async def __aexit__(self, *ending: object) -> None:
        await self._transaction.rollback()
