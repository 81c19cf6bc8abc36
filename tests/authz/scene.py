"""Two tenants and everybody who might ask: Acme, which is asked about, and Bolt, whose things are foreign.

Every text that a tenant owns has the tenant's canary in it. One scene serves all cases of a module; what a
case uses up is made anew for it (things.py).
"""

import dataclasses
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from domain import channels, db
from domain.teams.policy import LEAST
from tests.authz import people
from tests.authz.matrix import ROLES, Route
from tests.factories import Api, Person, item
from tests.keys import new_key

# Callers without a key. `unverified` is an owner who has not confirmed the address; `former` was a member and
# still has the token of that time; `elsewhere` owns Bolt; `staff` is the platform's, and in neither team.
PEOPLE: Final = ("nobody", "unverified", *ROLES, "former", "elsewhere", "staff")


@dataclass
class Tenant:
    """A team, its people by role, and its canary: a word that is in all that it owns."""

    canary: str
    team_id: str
    people: dict[str, Person]
    item: dict[str, Any]
    things: dict[str, str] = field(default_factory=dict)

    @property
    def owner(self) -> Person:
        return self.people["owner"]


@dataclass
class Scene:
    """The world of the matrix. `keys` holds API keys by user, scopes and team."""

    api: Api
    acme: Tenant
    bolt: Tenant
    former: Person
    staff: Person
    keys: dict[tuple[str, tuple[str, ...], str | None], str] = field(default_factory=dict)

    def person(self, caller: str) -> Person | None:
        """Who plays this part; None for nobody."""
        if caller == "elsewhere":
            return self.bolt.owner
        if caller in ("former", "staff"):
            return self.former if caller == "former" else self.staff
        if caller.startswith("key"):
            return self.acme.people["viewer" if caller == "key of viewer" else "owner"]
        return self.acme.people.get(caller)

    async def token(self, caller: str, route: Route) -> str | None:
        """What this caller comes with."""
        person = self.person(caller)
        if person is None or not caller.startswith("key"):
            return person.token if person else None
        scopes, team = sorted(LEAST), None
        if caller == "key":
            scopes = route.key_scopes or []
        elif caller == "key elsewhere":
            team = person.personal_team_id
        elif caller.startswith("key without"):
            scopes = [scope for scope in scopes if scope != caller.removeprefix("key without ")]
        return await self.key(person, scopes, team)

    async def key(self, person: Person, scopes: Iterable[str], team_id: str | None = None) -> str:
        """The text of a key of this person."""
        known = (person.id, tuple(scopes), team_id)
        if known not in self.keys:
            more = {"teamId": team_id} if team_id else {}
            made = await new_key(person, *known[1], **more, name=f"{person.name} robot")
            self.keys[known] = made["key"]
        return self.keys[known]

    def foreign_to(self, caller: str) -> list[str]:
        """The canaries that nothing said to this caller may have in it."""
        if caller == "elsewhere":
            return [self.acme.canary]
        if caller in ("nobody", "former", "staff"):
            return [self.acme.canary, self.bolt.canary]
        return [self.bolt.canary]


def callers(route: Route) -> list[str]:
    """Everybody who asks for this route. `key` has the scopes that it takes and no more."""
    by_key = ["key", "key of viewer", "key elsewhere"] if route.section == "team" else ["key"]
    lacking = [f"key without {scope}" for scope in route.key_scopes or []]
    return [*PEOPLE, *by_key, *lacking]


async def settle(api: Api) -> Scene:
    """The scene, with some history in both teams."""
    acme, bolt = await _tenant(api, "acme"), await _tenant(api, "bolt")
    former = await people.someone(api, "Former")
    staff = await people.someone(api, "Staff", staff=True)
    added = await acme.owner.post(f"/teams/{acme.team_id}/members", {"userId": former.id, "role": "admin"})
    assert added.status_code == 201, added.text
    assert (await former.get(f"/teams/{acme.team_id}")).status_code == 200, "the token was good there"
    left = await acme.owner.delete(f"/teams/{acme.team_id}/members/{former.id}")
    assert left.status_code == 204, left.text
    return Scene(api, acme, bolt, former, staff)


async def _tenant(api: Api, name: str) -> Tenant:
    canary = f"{name}{secrets.token_hex(5)}"
    verified = {role: role != "unverified" for role in ("unverified", *ROLES)}
    who = {
        role: await people.someone(api, f"{canary} {role}", verified=is_verified)
        for role, is_verified in verified.items()
    }
    owner = who["owner"]
    made = await owner.post("/teams", {"name": f"{canary} team", "slug": f"{canary}-team"})
    assert made.status_code == 201, made.text
    team_id: str = made.json()["teamId"]
    for role in ("viewer", "member", "admin"):
        body = {"userId": who[role].id, "role": role}
        assert (await owner.post(f"/teams/{team_id}/members", body)).status_code == 201
    await people.into(team_id, who["unverified"].id, "owner")
    thing = await _item(owner, team_id, canary)
    adjusted = {"delta": 1, "reason": f"{canary} counted", "reference": f"{canary} note"}
    assert (await owner.post(f"/inventory/{thing['id']}/adjust", adjusted)).status_code == 200
    return Tenant(canary, team_id, who, thing)


async def another(tenant: Tenant) -> Tenant:
    """Another team of the same people, in the same roles."""
    made = await tenant.owner.post("/teams", {"name": f"{tenant.canary} other team"})
    assert made.status_code == 201, made.text
    team_id: str = made.json()["teamId"]
    for role in ("viewer", "member", "admin", "unverified"):
        await people.into(team_id, tenant.people[role].id, "owner" if role == "unverified" else role)
    return dataclasses.replace(tenant, team_id=team_id, things={})


async def _item(owner: Person, team_id: str, canary: str) -> dict[str, Any]:
    more = {"sku": f"{canary}-1", "category": f"{canary} shelf", "attributes": {"of": canary}}
    for number in (2, 3):
        await item(owner, team_id, name=f"{canary} tea {number}", category=f"{canary} shelf")
    return await item(owner, team_id, name=f"{canary} tea", **more)


class Ledger:
    """What there is of some teams and people, as one mark for each table and each channel.

    Left out is what a refusal may change: rows and news of refusals, and when something was last used.
    """

    def __init__(self, teams: Sequence[str], users: Sequence[str]) -> None:
        self._teams, self._users = list(teams), list(users)
        self._sql = ""

    async def marks(self) -> dict[str, str]:
        """The marks, by name of table or channel."""
        if not self._sql:
            self._sql = await _marks_sql()
        heads = [f"{kind.name}:{owner}" for kind in _heads() for owner in self._of(kind.owner)]
        rows = await db.fetch(self._sql, self._teams, self._users, heads)
        return {row["name"]: row["mark"] for row in rows}

    def _of(self, owner: str) -> list[str]:
        return self._users if owner == "user" else self._teams


def _heads() -> list[channels.Kind]:
    """Kinds whose heads stand still while everybody is refused: the trail also tells of refusals."""
    return [kind for kind in channels.KINDS.values() if kind.name not in ("audit", "checkpoints")]


async def _marks_sql() -> str:
    """Every table with a team or a user in it, so that the ones to come are held, too."""
    rows = await db.fetch(
        """SELECT c.relname AS name, array_agg(a.attname::text) AS owners
           FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
           WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
             AND NOT c.relispartition AND a.attname IN ('team_id', 'user_id') AND NOT a.attisdropped
           GROUP BY c.relname ORDER BY c.relname"""
    )
    # The trail is counted below; what seals it goes on by itself.
    owned = {row["name"]: row["owners"] for row in rows if not row["name"].startswith("audit_")}
    parts = [
        _part(table, " OR ".join(f"{owner} = ANY({_PARAMETER[owner]})" for owner in owners))
        for table, owners in owned.items()
    ]
    parts += [_part("teams", "id = ANY($1)"), _part("users", "id = ANY($2)")]
    parts.append("SELECT channel, top::text FROM stream_heads WHERE channel = ANY($3) AND top > 0")
    parts.append(
        "SELECT 'audit_logs', count(*)::text FROM audit_logs WHERE team_id = ANY($1) AND outcome = 'success'"
    )
    return f"WITH marks (name, mark) AS ({' UNION ALL '.join(parts)}) SELECT name, mark FROM marks"  # noqa: S608


_PARAMETER: Final = {"team_id": "$1", "user_id": "$2"}


def _part(table: str, condition: str) -> str:
    noted = "ARRAY['last_used', 'last_used_at', 'last_seen_at']"
    return f"""SELECT '{table}', md5(coalesce(string_agg(row, ',' ORDER BY row), '')) FROM (
        SELECT (to_jsonb(t) - {noted})::text AS row FROM {table} t WHERE {condition}) AS rows"""  # noqa: S608
