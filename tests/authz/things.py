"""The ids of a case: those of a caller's own things, of foreign ones, and of things that never were.

`PLACES` says what each name in a path, a query or a body of the matrix stands for. A name that is not there
fails with KeyError: add how such a thing is made.
"""

import dataclasses
import secrets
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

from domain import ids
from tests.authz import makers, people
from tests.authz.matrix import Resource, Route
from tests.authz.scene import Scene, Tenant, another
from tests.factories import Person, item
from tests.keys import new_key

# Something of a tenant's, or of this person's in it; its id.
Make = Callable[[Scene, Tenant, Person], Awaitable[str]]
CONSTANTS: Final = {"provider": "elsewhere"}
# Texts that are new each time, and nobody's.
NEW: Final[dict[str, Callable[[], str]]] = {
    "fresh_email": lambda: f"{secrets.token_hex(6)}@example.org",
    "new_role": lambda: f"r-{secrets.token_hex(6)}",
}
# How each name reads for something that never was.
ABSENT: Final[dict[str, Callable[[], str]]] = {
    "team_id": partial(ids.new, "team"),
    "item_id": partial(ids.new, "item"),
    "user_id": partial(ids.new, "user"),
    "new_id": partial(ids.new, "user"),
    "session_id": partial(ids.new, "sess"),
    "key_id": partial(ids.new, "key"),
    "team_key_id": partial(ids.new, "key"),
    "passkey_id": partial(ids.new, "pkey"),
    "identity_id": partial(ids.new, "oid"),
    "row_id": partial(ids.new, "aud"),
    "size": lambda: "1",
    "viewer_id": partial(ids.new, "user"),
    "team_on_offer": partial(ids.new, "team"),
    "team_offered": partial(ids.new, "team"),
    "team_deleted": partial(ids.new, "team"),
    "invite_id": partial(ids.new, "inv"),
    "role": lambda: f"r-nope{secrets.token_hex(5)}-{secrets.token_hex(3)}",  # as long as those there are
}


async def _team(scene: Scene, tenant: Tenant, person: Person) -> str:
    return tenant.team_id


async def _item(scene: Scene, tenant: Tenant, person: Person) -> str:
    made = await item(tenant.owner, tenant.team_id, name=f"{tenant.canary} tea")
    return str(made["id"])


async def _member(scene: Scene, tenant: Tenant, person: Person) -> str:
    member = await people.someone(scene.api, f"{tenant.canary} joiner")
    await people.into(tenant.team_id, member.id, "member")
    return member.id


async def _outsider(scene: Scene, tenant: Tenant, person: Person) -> str:
    """For Bolt one of its members: a user whom Acme has nothing to do with."""
    if tenant is scene.bolt:
        return tenant.people["viewer"].id
    return (await people.someone(scene.api, f"{tenant.canary} newcomer")).id


async def _session(scene: Scene, tenant: Tenant, person: Person) -> str:
    return await people.session(person.id, agent=person.name)


async def _key(scene: Scene, tenant: Tenant, person: Person) -> str:
    return str((await new_key(person, name=f"{person.name} key"))["id"])


async def _team_key(scene: Scene, tenant: Tenant, person: Person) -> str:
    return str((await new_key(tenant.owner, teamId=tenant.team_id))["id"])


async def _passkey(scene: Scene, tenant: Tenant, person: Person) -> str:
    return await people.passkey(person.id, name=f"{person.name} passkey")


async def _identity(scene: Scene, tenant: Tenant, person: Person) -> str:
    return await people.identity(person.id, name=tenant.canary)


PLACES: Final[dict[str, Make]] = {
    "team_id": _team,
    "item_id": _item,
    "user_id": _member,
    "new_id": _outsider,
    "session_id": _session,
    "key_id": _key,
    "team_key_id": _team_key,
    "passkey_id": _passkey,
    "identity_id": _identity,
    "row_id": makers.row,
    "sealed_row_id": makers.sealed_row,
    "size": makers.size,
    "viewer_id": makers.viewer,
    "team_on_offer": makers.team_on_offer,
    "team_offered": makers.team_offered,
    "team_deleted": makers.team_deleted,
    "invite_id": makers.invite,
    "role": makers.role,
}
# What is the caller's own, not a team's.
PERSONAL: Final = frozenset(
    {"session_id", "key_id", "passkey_id", "identity_id", "team_offered", "team_deleted"}
)


async def ids_for(
    scene: Scene, route: Route, caller: str, resource: Resource, *, person: Person | None = None, anew: bool
) -> dict[str, str]:
    """What the names in the row stand for. With `anew` nothing that another case will need again."""
    if anew and route.fresh and resource == "own":
        scene = dataclasses.replace(scene, acme=await another(scene.acme))
    return {
        name: await one(scene, route.things.get(name, name), caller, resource, person=person, anew=anew)
        for name in route.places
    }


async def one(
    scene: Scene, name: str, caller: str, resource: Resource, *, person: Person | None = None, anew: bool
) -> str:
    """The id of a thing by its name in PLACES."""
    if name in CONSTANTS:
        return CONSTANTS[name]
    if name in NEW:
        return NEW[name]()
    if resource == "absent":
        return ABSENT[name]()
    tenant, whose = _whose(scene, name, caller, resource, person)
    if anew:
        return await PLACES[name](scene, tenant, whose)
    known = f"{name} of {whose.id if name in PERSONAL else tenant.team_id}"
    if known not in tenant.things:
        tenant.things[known] = (
            tenant.item["id"] if name == "item_id" else await PLACES[name](scene, tenant, whose)
        )
    return tenant.things[known]


def _whose(
    scene: Scene, name: str, caller: str, resource: Resource, person: Person | None
) -> tuple[Tenant, Person]:
    """The tenant and the person whose thing it is."""
    if name not in PERSONAL:
        tenant = scene.bolt if resource == "foreign" else scene.acme
        return tenant, tenant.owner
    home, other = (scene.bolt, scene.acme) if caller == "elsewhere" else (scene.acme, scene.bolt)
    if resource == "foreign":
        return other, other.owner
    if resource == "teammate":
        return home, home.people["admin" if caller == "member" else "member"]
    return home, person or scene.person(caller) or home.owner


def filled(value: Any, given: dict[str, str]) -> Any:
    """A query or a body with its names replaced."""
    if isinstance(value, dict):
        return {name: filled(inner, given) for name, inner in value.items()}
    if isinstance(value, list):
        return [filled(inner, given) for inner in value]
    return value.format(**given) if isinstance(value, str) and "{" in value else value
