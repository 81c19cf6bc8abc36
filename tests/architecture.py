"""The rules of the house, as functions: source or tables in, findings out (for tests/test_architecture.py).

A finding is one line that says where and what. No finding means that the rule holds.
"""

import ast
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
from packaging.version import Version
from piccolo.columns import ForeignKey, OnDelete
from piccolo.table import Table

ROOT: Final = Path(__file__).parent.parent
# app -> channels -> domain, never back. What stands on the left may import what stands on its right.
MAY_IMPORT: Final = {
    "app": {"app", "channels", "domain"},
    "channels": {"channels", "domain"},
    "domain": {"domain"},
    "migrations": {"domain"},
    "piccolo_conf": {"app", "domain"},
}
# Besides the standard library. `app` may use anything that no other rule keeps to one place.
PACKAGES: Final = {
    "domain": {
        "argon2",
        "asyncpg",
        "cryptography",
        "jwt",
        "msgspec",
        "pgqueuer",
        "piccolo",
        "pyotp",
        "webauthn",
    },
    "channels": {
        "asyncpg",
        "google",
        "hiredis",
        "httptools",
        "litestar",
        "msgspec",
        "redis",
        "uvicorn",
        "wsproto",
    },
}
VENDORS: Final = ("aioboto3", "authlib", "boto3", "botocore", "httpx2", "pywebpush", "sendgrid", "stripe")
# A package that has few places -> those places; a name that ends in / stands for everything below it.
PLACES: Final = {
    "redis": {"channels/bus.py", "channels/presence.py", "app/pipeline/limiter.py"},
    **{vendor: {"app/adapters/"} for vendor in VENDORS},
}
# What a slice may use of another one.
OPEN_TO_SLICES: Final = {"model", "policy", "service"}
ENVIRONMENT: Final = {"environ", "environb", "getenv", "getenvb", "putenv", "unsetenv"}
FILE_LINES_MAX: Final = 350
FUNCTION_LINES_MAX: Final = 70
LINES_WITHOUT_DOCSTRING: Final = 20


class Source(msgspec.Struct, frozen=True):
    """One Python file: its path from the root, and its text."""

    path: str
    text: str

    @property
    def module(self) -> str:
        return self.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")

    @property
    def layer(self) -> str:
        return self.module.split(".")[0]

    @property
    def slice(self) -> str | None:
        """The folder of domain/ that the file is in."""
        parts = self.path.split("/")
        return parts[1] if parts[0] == "domain" and len(parts) > 2 else None

    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    def imports(self) -> Iterator[tuple[int, str]]:
        """Line and full name of everything that is imported, wherever in the file."""
        for node in ast.walk(self.tree()):
            if isinstance(node, ast.Import):
                yield from ((node.lineno, name.name) for name in node.names)
            elif isinstance(node, ast.ImportFrom):
                yield from ((node.lineno, f"{node.module or ''}.{name.name}") for name in node.names)


def sources(*folders: str) -> list[Source]:
    """The files of ours in these folders (or single files)."""
    paths = [
        path
        for folder in folders
        for path in ([ROOT / folder] if folder.endswith(".py") else sorted((ROOT / folder).rglob("*.py")))
    ]
    return [Source(path.relative_to(ROOT).as_posix(), path.read_text()) for path in paths]


def wrong_directions(source: Source) -> Iterator[str]:
    """`app` -> `channels` -> `domain`, never back; and nobody imports tests."""
    for line, name in source.imports():
        layer = name.split(".")[0]
        if layer in {*MAY_IMPORT, "tests"} and layer not in MAY_IMPORT[source.layer]:
            yield f"{source.path}:{line}: {source.layer} may not import {name}"


def misplaced_packages(source: Source) -> Iterator[str]:
    """Redis, the vendors and the web framework, each only where it belongs."""
    allowed = PACKAGES.get(source.layer)
    for line, name in source.imports():
        package = name.split(".")[0]
        places = PLACES.get(package)
        if places is not None:
            if not any(
                source.path == place or (place[-1] == "/" and source.path.startswith(place))
                for place in places
            ):
                yield f"{source.path}:{line}: {package} belongs in {', '.join(sorted(places))}"
        elif allowed is not None and package not in {*allowed, *MAY_IMPORT, *sys.stdlib_module_names}:
            yield f"{source.path}:{line}: {source.layer} does without {package}"


def relative_imports(source: Source) -> Iterator[str]:
    for node in ast.walk(source.tree()):
        if isinstance(node, ast.ImportFrom) and node.level:
            yield f"{source.path}:{node.lineno}: a relative import"


def environment_reads(source: Source) -> Iterator[str]:
    """The environment is read in app/config.py alone."""
    if source.path == "app/config.py":
        return
    for node in ast.walk(source.tree()):
        used = isinstance(node, ast.Attribute) and node.attr in ENVIRONMENT and _is_os(node.value)
        named = isinstance(node, ast.ImportFrom) and node.module == "os"
        if used or (named and ENVIRONMENT & {name.name for name in node.names}):
            yield f"{source.path}:{node.lineno}: reads the environment"


def table_imports(source: Source) -> Iterator[str]:
    """Tables belong to their slice; another slice's tables.py may name them for a foreign key."""
    for line, name in source.imports():
        parts = name.split(".")
        if parts[0] != "domain" or "tables" not in parts[2:]:
            continue
        owned = source.slice == parts[1]
        foreign_key = source.slice is not None and source.path.endswith("/tables.py")
        if not owned and not foreign_key and source.path != "domain/piccolo_app.py":
            yield f"{source.path}:{line}: uses {name}"


def slice_imports(source: Source, slices: set[str]) -> Iterator[str]:
    """A slice uses another slice's service, model and policy, nothing else of it."""
    for line, other, rest in _of_other_slices(source, slices):
        part = rest.split(".")[0]
        if part not in OPEN_TO_SLICES and not (part == "tables" and source.path.endswith("/tables.py")):
            yield f"{source.path}:{line}: {source.slice} uses {other}'s {part or 'package'}"


def slice_graph(files: Iterable[Source]) -> dict[str, set[str]]:
    """slice -> the slices it imports. Foreign keys count: a table is there before another points at it."""
    files = list(files)
    slices = {source.slice for source in files if source.slice}
    graph: dict[str, set[str]] = {name: set() for name in sorted(slices)}
    for source in files:
        if source.slice:
            graph[source.slice] |= {other for _, other, _ in _of_other_slices(source, slices)}
    return graph


def module_graph(files: Iterable[Source]) -> dict[str, set[str]]:
    """module -> the modules of ours it imports, whether it names the module or something in it."""
    files = list(files)
    modules = {source.module for source in files}
    graph: dict[str, set[str]] = {}
    for source in files:
        names = {name for _, name in source.imports()}
        graph[source.module] = {
            module for name in names for module in (name, name.rpartition(".")[0]) if module in modules
        } - {source.module}
    return graph


def cycles(graph: Mapping[str, set[str]]) -> list[str]:
    """Every way round: `a -> b -> a`, found from its first node in alphabetical order."""
    found = set()

    def walk(node: str, path: tuple[str, ...]) -> None:
        if node in path:
            ring = path[path.index(node) :]
            first = ring.index(min(ring))
            found.add(" -> ".join((*ring[first:], *ring[:first], ring[first])))
            return
        if node not in done:
            for other in sorted(graph.get(node, ())):
                walk(other, (*path, node))
            done.add(node)

    done: set[str] = set()
    for node in sorted(graph):
        walk(node, ())
    return sorted(found)


def oversized(source: Source) -> Iterator[str]:
    """Files and functions that have outgrown their idea."""
    lines = len(source.text.splitlines())
    if lines > FILE_LINES_MAX:
        yield f"{source.path}: {lines} lines"
    for node in ast.walk(source.tree()):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > FUNCTION_LINES_MAX:
                yield f"{source.path}:{node.lineno}: {node.name} has {length} lines"


def without_docstring(source: Source) -> Iterator[str]:
    """A file opens with what it is."""
    if len(source.text.splitlines()) > LINES_WITHOUT_DOCSTRING and not ast.get_docstring(source.tree()):
        yield f"{source.path}: no opening docstring"


def loose_foreign_keys(table: type[Table]) -> Iterator[str]:
    """Keys that may be null, or delete or empty what points at a row together with it."""
    for column in table._meta.foreign_key_columns:
        assert isinstance(column, ForeignKey)
        where = f"{table._meta.tablename}.{column._meta.name}"
        if column._meta.null:
            yield f"{where} may be null"
        if column._foreign_key_meta.on_delete not in (OnDelete.restrict, OnDelete.no_action):
            yield f"{where} says ON DELETE {column._foreign_key_meta.on_delete.value}"


# $1 is a schema. confdeltype: a no action, r restrict, c cascade, n set null, d set default.
LOOSE_FOREIGN_KEYS_SQL: Final = """
    SELECT format('%s.%s', c.conrelid::regclass, a.attname) AS place,
           CASE WHEN a.attnotnull THEN format('says ON DELETE %s', c.confdeltype) ELSE 'may be null' END AS
           what
    FROM pg_constraint c
    JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = ANY (c.conkey)
    WHERE c.contype = 'f' AND c.connamespace = $1::text::regnamespace
      AND (c.confdeltype NOT IN ('a', 'r') OR NOT a.attnotnull)
    ORDER BY 1, 2
"""
# $1 is a schema. Partitions are their table's affair.
# Foreign keys between two tables that both have a team, which no key of (team_id, …) goes along with.
KEYS_ACROSS_TEAMS_SQL = """
    WITH keys AS (
        SELECT c.conrelid, c.confrelid, c.conkey, c.conrelid::regclass::text AS name,
               ARRAY(SELECT attname FROM pg_attribute
                     WHERE attrelid = c.conrelid AND attnum = ANY(c.conkey)) AS columns
        FROM pg_constraint c
        WHERE c.contype = 'f' AND c.conparentid = 0 AND c.connamespace = $1::text::regnamespace
          AND 2 = (SELECT count(*) FROM pg_attribute
                   WHERE attrelid IN (c.conrelid, c.confrelid) AND attname = 'team_id')
    )
    SELECT name || '.' || one.columns[1] FROM keys one
    WHERE NOT 'team_id' = ANY(one.columns) AND NOT EXISTS (
        SELECT FROM keys pair WHERE pair.conrelid = one.conrelid AND pair.confrelid = one.confrelid
        AND 'team_id' = ANY(pair.columns) AND pair.conkey @> one.conkey)
    ORDER BY 1"""
TABLES_WITHOUT_TEAM_SQL: Final = """
    SELECT relname FROM pg_class c
    WHERE relkind IN ('r', 'p') AND NOT relispartition AND relnamespace = $1::text::regnamespace
      AND NOT EXISTS (SELECT FROM pg_attribute
                      WHERE attrelid = c.oid AND attname = 'team_id' AND attnotnull AND NOT attisdropped)
    ORDER BY relname
"""


def below_floor(lock: str, floors: Mapping[str, str]) -> Iterator[str]:
    """Locked versions with known vulnerabilities. A package that is not locked is not used."""
    for name, version in re.findall(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", lock, re.MULTILINE):
        floor = floors.get(re.sub(r"[-_.]+", "-", name).lower())
        if floor is not None and Version(version) < Version(floor):
            yield f"{name} {version} is older than {floor}"


def unlocked_lines(lock: str) -> Iterator[str]:
    """Lines of a lock file that are no exact version, no hash, and no comment without a place in it."""
    for number, line in enumerate(lock.splitlines(), 1):
        if line.lstrip().startswith("#"):
            if re.search(r"://|(^|[\s=@])(/|~|\.{1,2}/|[A-Za-z]:\\)", line):
                yield f"{number}: {line.strip()}"
        elif not _LOCKED.fullmatch(line):
            yield f"{number}: {line.strip()}"


def findings(rule: Callable[[Any], Iterable[str]], things: Iterable[Any]) -> list[str]:
    """What a rule finds in all of these."""
    return [finding for thing in things for finding in rule(thing)]


_LOCKED = re.compile(
    r"([a-z0-9][a-z0-9._-]*==[A-Za-z0-9.!+_]+( ; [^@/\\]+)?|    --hash=sha256:[0-9a-f]{64})( \\)?"
)


def _is_os(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == "os"


def _of_other_slices(source: Source, slices: set[str]) -> Iterator[tuple[int, str, str]]:
    """Line, other slice, and what of it (`service.page`), for each import across slices."""
    for line, name in source.imports():
        layer, _, rest = name.partition(".")
        other, _, part = rest.partition(".")
        if source.slice and layer == "domain" and other in slices and other != source.slice:
            yield line, other, part
