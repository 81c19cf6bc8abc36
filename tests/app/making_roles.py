"""A team's own roles, made and given over REST."""

from typing import Any

import httpx

from tests.factories import Person


async def define(who: Person, team: str, name: str, *permissions: str) -> dict[str, Any]:
    """A role of the team's own, once it is made."""
    answer = await who.post(f"/teams/{team}/roles", {"name": name, "permissions": list(permissions)})
    assert answer.status_code == 201, answer.text
    role: dict[str, Any] = answer.json()["data"]
    return role


async def give(by: Person, team: str, who: Person, role: str) -> int:
    return (await by.put(f"/teams/{team}/members/{who.id}", {"role": role})).status_code


async def roles_happen(ann: Person, bob: Person, team: str) -> list[httpx.Response]:
    """A role is made, had, changed and removed."""
    role, member = f"/teams/{team}/roles/taker", f"/teams/{team}/members/{bob.id}"
    return [
        await ann.post(f"/teams/{team}/roles", {"name": "taker", "permissions": ["inventory:read"]}),
        await ann.put(member, {"role": "taker"}),
        await ann.put(role, {"permissions": ["inventory:write"]}),
        await ann.put(member, {"role": "member"}),
        await ann.delete(role),
    ]
