"""How things of a team are made that take more than a line: what is sealed, offered, deleted, asked for."""

import secrets

from domain import db
from domain.audit_logs import seals
from tests.authz import people
from tests.authz.scene import Scene, Tenant, another
from tests.factories import Person, item


async def size(scene: Scene, tenant: Tenant, person: Person) -> str:
    """How many rows are under the newest checkpoint, which is over all there are."""
    while await seals.seal(tenant.team_id):
        pass
    newest = await seals.newest(tenant.team_id)
    assert newest is not None
    return str(newest.to_seq)


async def row(scene: Scene, tenant: Tenant, person: Person) -> str:
    await size(scene, tenant, person)
    return str(await db.fetchval("SELECT id FROM audit_logs WHERE team_id = $1 AND seq = 1", tenant.team_id))


async def sealed_row(scene: Scene, tenant: Tenant, person: Person) -> str:
    """One more row, under a checkpoint of its own."""
    await item(tenant.owner, tenant.team_id, name=f"{tenant.canary} tea")
    return await row(scene, tenant, person)


async def viewer(scene: Scene, tenant: Tenant, person: Person) -> str:
    return tenant.people["viewer"].id


async def team_on_offer(scene: Scene, tenant: Tenant, person: Person) -> str:
    """A team with the same people, which its owner offers to one more."""
    other = await another(tenant)
    taker = await people.someone(scene.api, f"{tenant.canary} taker")
    await people.into(other.team_id, taker.id, "member")
    made = await tenant.owner.post(f"/teams/{other.team_id}/transfer", {"userId": taker.id})
    assert made.status_code == 201, made.text
    return other.team_id


async def team_offered(scene: Scene, tenant: Tenant, person: Person) -> str:
    """A team of somebody's, offered to the person."""
    giver = await people.someone(scene.api, f"{person.name} giver")
    team_id = str((await giver.post("/teams", {"name": f"{person.name} gift"})).json()["teamId"])
    await people.into(team_id, person.id, "member")
    made = await giver.post(f"/teams/{team_id}/transfer", {"userId": person.id})
    assert made.status_code == 201, made.text
    return team_id


async def team_deleted(scene: Scene, tenant: Tenant, person: Person) -> str:
    """A team that the person has deleted."""
    team_id = str((await person.post("/teams", {"name": f"{person.name} gone"})).json()["teamId"])
    assert (await person.delete(f"/teams/{team_id}")).status_code == 204
    return team_id


async def invite(scene: Scene, tenant: Tenant, person: Person) -> str:
    body = {"email": f"{tenant.canary}.{secrets.token_hex(4)}@example.org", "role": "viewer"}
    made = await tenant.owner.post(f"/teams/{tenant.team_id}/invites", body)
    assert made.status_code == 201, made.text
    return str(made.json()["data"]["id"])


async def role(scene: Scene, tenant: Tenant, person: Person) -> str:
    name = f"r-{tenant.canary}-{secrets.token_hex(3)}"
    body = {"name": name, "permissions": ["inventory:read"]}
    made = await tenant.owner.post(f"/teams/{tenant.team_id}/roles", body)
    assert made.status_code == 201, made.text
    return name
