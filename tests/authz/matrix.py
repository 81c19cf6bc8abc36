"""The matrix, read: what tests/authz_matrix.toml says, and what follows from it for each caller.

`expected(route, caller, resource)` is a cell: a status and the codes that a refusal may have. What a row of
the file means is said at its top, and in docs/authorization.md.
"""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import msgspec

from domain.teams.policy import LEAST

FILE: Final = Path(__file__).parent.parent / "authz_matrix.toml"
ROLES: Final = ("viewer", "member", "admin", "owner")
Resource = Literal["own", "teammate", "foreign", "absent"]
Section = Literal["team", "account", "staff", "public", "transport"]
SECTIONS: Final[tuple[Section, ...]] = ("team", "account", "staff", "public", "transport")
_PLACE: Final = re.compile(r"{(\w+)}")


class Cell(NamedTuple):
    """What a caller is told: a status, and for a refusal the codes that it may have."""

    status: int
    codes: tuple[str, ...] = ()


NOBODY: Final = Cell(401, ("no_token",))
STRANGER: Final = Cell(404, ("not_found",))
FORBIDDEN: Final = Cell(403, ("forbidden",))
CLOSED_TO_KEYS: Final = Cell(403, ("session_required",))
LACKING: Final = Cell(403, ("missing_scope", "role_above_own"))
STAFF_ONLY: Final = Cell(403, ("staff_only",))


class Route(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """One row: a route as Litestar has it, perhaps with `# a case of it` after it. The file explains them."""

    name: str
    section: Section
    needs: str | None = None
    roles: dict[str, int] = {}
    answers: int = 200
    scopes: list[str] | Literal["session"] | None = None
    query: dict[str, Any] = {}
    body: dict[str, Any] | None = None
    filters: dict[str, str] = {}
    lists: str | None = None
    fresh: bool = False
    things: dict[str, str] = {}
    finds: list[str] = []
    disposable: bool = False
    shows_all: bool = False
    personal: bool = False
    file: bool = False

    @property
    def route(self) -> str:
        """`PUT /api/teams/{team_id}`, without the case."""
        return self.name.partition(" # ")[0]

    @property
    def method(self) -> str:
        return self.route.split(" ")[0]

    @property
    def path(self) -> str:
        return self.route.split(" ")[1]

    @property
    def places(self) -> list[str]:
        """The names of ids in path, query and body, in this order."""
        text = f"{self.path} {self.query} {self.body}"
        return list(dict.fromkeys(_PLACE.findall(text)))

    @property
    def is_for_keys(self) -> bool:
        return self.key_scopes is not None

    @property
    def key_scopes(self) -> list[str] | None:
        """The scopes that a key needs, `role:…` written out; None where it takes a session."""
        if self.scopes == "session":
            return None
        if self.scopes is None:
            return [self.needs] if self.section == "team" and self.needs else None
        named: set[str] = set()
        for scope in self.scopes:
            kind, _, role = scope.partition(":")
            named |= set(granted(role)) if kind == "role" else {scope}
        return sorted(named)

    @property
    def is_read(self) -> bool:
        return self.method in ("GET", "HEAD")


class Channel(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A kind of channel: what the commands answer to who may follow it; everyone else is told 103."""

    name: str
    owner: Literal["user", "team", "staff"]
    needs: str | None = None
    roles: dict[str, int | Literal["ok"]] = {}
    answers: dict[str, int | Literal["ok"]] = {}


class Command(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A websocket command: about a channel, the credential, a route, or refused to all with `answers`."""

    name: str
    about: Literal["channel", "credential", "route", "nothing"]
    answers: int | None = None


class Matrix(msgspec.Struct):
    routes: list[Route]
    channels: list[Channel]
    commands: list[Command]

    def of(self, *sections: Section) -> list[Route]:
        return [route for route in self.routes if route.section in sections]


def granted(role: str) -> Iterator[str]:
    """The permissions of a built-in role, as the policy has them."""
    return (each for each, least in LEAST.items() if ROLES.index(least) <= ROLES.index(role))


def read() -> Matrix:
    """The file. Raises msgspec.ValidationError for a row with a word that no row has."""
    said = tomllib.loads(FILE.read_text())
    answers = said.pop("answers")

    def rows(kind: Any, table: str, **more: Any) -> list[Any]:
        return [
            msgspec.convert({**row, "name": name, **more}, kind) for name, row in said.pop(table, {}).items()
        ]

    matrix = Matrix(
        [route for section in SECTIONS for route in rows(Route, section, section=section)],
        rows(Channel, "channel"),
        rows(Command, "command"),
    )
    for channel in matrix.channels:
        channel.answers = {**answers, **channel.answers}
    assert not said, f"no section of the matrix: {sorted(said)}"
    return matrix


def expected(route: Route, caller: str, resource: Resource) -> Cell | None:
    """The cell, or None where there is none: what is foreign to one tenant is the other's own."""
    if caller == "nobody":
        return NOBODY
    is_key = caller.startswith("key")
    if is_key and not route.is_for_keys:
        return CLOSED_TO_KEYS
    return _CELLS[route.section](route, caller, resource)


def _team(route: Route, caller: str, resource: Resource) -> Cell | None:
    if resource != "own":
        if caller == "elsewhere" and resource == "foreign":
            return None
        if caller.startswith("key without"):
            return Cell(0, ("missing_scope", "role_above_own", "not_found"))
        return STRANGER
    if caller in ("former", "elsewhere", "staff", "key elsewhere"):
        return STRANGER
    if caller.startswith("key without"):
        return LACKING
    status = route.roles[
        {"unverified": "owner", "key": "owner", "key of viewer": "viewer"}.get(caller, caller)
    ]
    return FORBIDDEN if status == 403 else Cell(status)


def _account(route: Route, caller: str, resource: Resource) -> Cell | None:
    if caller.startswith("key without"):
        return LACKING
    return Cell(route.answers) if resource == "own" else STRANGER


def _staff(route: Route, caller: str, resource: Resource) -> Cell | None:
    if caller != "staff":
        return STAFF_ONLY
    return STRANGER if resource == "absent" else Cell(route.answers)


_CELLS: Final = {"team": _team, "account": _account, "staff": _staff}
