"""/api/teams: tenants and who is in them."""

from typing import Annotated, Literal

import msgspec
from litestar import Controller, Response, delete, get, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter

from app.api.envelope import Cursor, Limit, Live, Many, One, live, many, one
from app.api.invites import invited
from app.api.openapi import ALSO, Also
from app.pipeline.etag import IfVersion, etag
from app.pipeline.identity import BY_KEY
from app.pipeline.policies import LIMITED_AS_CREATE_TEAM, LIMITED_AS_TEAMS
from domain.actor import Actor
from domain.auth import mfa
from domain.pages import LIMIT_DEFAULT
from domain.teams import deletion, members, transfer
from domain.teams import service as teams
from domain.teams.invites_model import Invite, NewInvite
from domain.teams.model import Member, NewMember, NewTeam, RoleChange, Team, TeamBody
from domain.teams.transfer_model import NewTransfer, Transfer


class CreatedTeam(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A new team; `teamId` stands beside it for clients of the first version."""

    success: Literal[True] = True
    team_id: str
    data: Team


class TeamsController(Controller):
    path = "/api/teams"
    tags = ("teams",)
    opt = LIMITED_AS_TEAMS

    @post("/", opt=LIMITED_AS_CREATE_TEAM)
    async def create(self, data: JSONBody[NewTeam], caller: NamedDependency[Actor]) -> Response[CreatedTeam]:
        """Make a team; you are its owner."""
        team = await teams.create(caller, data)
        return Response(
            CreatedTeam(team_id=team.id, data=team),
            status_code=201,
            headers={"Location": f"/api/teams/{team.id}", "ETag": etag(team.version)},
        )

    @get("/", opt=BY_KEY)
    async def mine(
        self,
        caller: NamedDependency[Actor],
        deleted: Annotated[
            bool, QueryParameter(description="instead those that were deleted and that you may restore")
        ] = False,
        limit: Limit = LIMIT_DEFAULT,
        cursor: Cursor = None,
    ) -> Many[Team]:
        """The teams you are in, newest first."""
        return many(await teams.mine(caller, deleted=deleted, limit=limit, cursor=cursor))

    @get("/{team_id:str}", opt=BY_KEY)
    async def read(self, team_id: FromPath[str], caller: NamedDependency[Actor]) -> Response[One[Team]]:
        """A team that you are in."""
        team = await teams.get(caller, team_id)
        return one(team, version=team.version)

    @put("/{team_id:str}", opt=BY_KEY)
    async def replace(
        self,
        team_id: FromPath[str],
        data: JSONBody[TeamBody],
        caller: NamedDependency[Actor],
        if_version: IfVersion,
    ) -> Response[One[Team]]:
        """Rename a team; slug and metadata stay if left out.

        `If-Match` refuses (412) if it was changed in the meantime.
        """
        team = await teams.change(caller, team_id, data, if_version=if_version)
        return one(team, version=team.version)

    @delete("/{team_id:str}", opt=BY_KEY)
    async def remove(
        self,
        team_id: FromPath[str],
        caller: NamedDependency[Actor],
        if_version: IfVersion,
    ) -> None:
        """Delete a team, as its owner; for 30 days it can be restored."""
        await deletion.delete(caller, team_id, if_version=if_version)

    @post("/{team_id:str}/restore", status_code=200)
    async def restore(
        self,
        team_id: FromPath[str],
        caller: NamedDependency[Actor],
        if_version: IfVersion,
    ) -> Response[One[Team]]:
        """Have a deleted team back as it was, if you owned it."""
        team = await deletion.restore(caller, team_id, if_version=if_version)
        return one(team, version=team.version)

    @post("/{team_id:str}/transfer")
    async def offer_transfer(
        self, team_id: FromPath[str], data: JSONBody[NewTransfer], caller: NamedDependency[Actor]
    ) -> Response[One[Transfer]]:
        """Offer a member your ownership; they have seven days to accept.

        Asks who you are, like all that is sensitive (403 `step_up_required`).
        """
        await mfa.require_fresh(caller)
        made = await transfer.offer(caller, team_id, data)
        return one(made, at=f"/api/teams/{team_id}/transfer")

    @get("/{team_id:str}/transfer")
    async def transfer(self, team_id: FromPath[str], caller: NamedDependency[Actor]) -> One[Transfer]:
        """The offer of ownership that waits for an answer."""
        return One(data=await transfer.get(caller, team_id))

    @delete("/{team_id:str}/transfer")
    async def withdraw_transfer(self, team_id: FromPath[str], caller: NamedDependency[Actor]) -> None:
        """Take the offer of ownership back."""
        await transfer.withdraw(caller, team_id)

    @post("/{team_id:str}/transfer/accept", status_code=200)
    async def accept_transfer(self, team_id: FromPath[str], caller: NamedDependency[Actor]) -> One[Transfer]:
        """Become the owner; whoever offered it is an admin from then on."""
        return One(data=await transfer.accept(caller, team_id))

    @post("/{team_id:str}/transfer/decline", status_code=204)
    async def decline_transfer(self, team_id: FromPath[str], caller: NamedDependency[Actor]) -> None:
        """Do not become the owner."""
        await transfer.decline(caller, team_id)

    @get("/{team_id:str}/members", opt=BY_KEY)
    async def members(
        self,
        team_id: FromPath[str],
        caller: NamedDependency[Actor],
        limit: Limit = LIMIT_DEFAULT,
        cursor: Cursor = None,
    ) -> Live[Member]:
        """Who is in the team; `position` is that of `team:<teamId>`."""
        return live(*await members.page(caller, team_id, limit=limit, cursor=cursor))

    @post("/{team_id:str}/members", opt={**BY_KEY, ALSO: (Also(One[Invite], status=202),)})
    async def add_member(
        self, team_id: FromPath[str], data: JSONBody[NewMember], caller: NamedDependency[Actor]
    ) -> Response[One[Member]]:
        """Put a user into the team by id, or invite somebody by e-mail address.

        By address: 202 with the invitation, the same whether somebody has an account with it or not.
        """
        if data.email is not None and data.user_id is None:
            return await invited(caller, team_id, NewInvite(email=data.email, role=data.role))
        member = await members.add(caller, team_id, data)
        return one(member, at=f"/api/teams/{team_id}/members/{member.user_id}")

    @put("/{team_id:str}/members/{user_id:str}", opt=BY_KEY)
    async def change_role(
        self,
        team_id: FromPath[str],
        user_id: FromPath[str],
        data: JSONBody[RoleChange],
        caller: NamedDependency[Actor],
    ) -> One[Member]:
        """Give a member another role."""
        return One(data=await members.change_role(caller, team_id, _whom(caller, user_id), data))

    @delete("/{team_id:str}/members/{user_id:str}", opt=BY_KEY)
    async def remove_member(
        self, team_id: FromPath[str], user_id: FromPath[str], caller: NamedDependency[Actor]
    ) -> None:
        """Take a member out of the team, or leave it yourself (`me`)."""
        await members.remove(caller, team_id, _whom(caller, user_id))


def _whom(caller: Actor, user_id: str) -> str:
    return caller.user if user_id == "me" else user_id
