"""/api/teams: tenants and who is in them."""

from typing import Literal

import msgspec
from litestar import Controller, Response, delete, get, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from app.api.envelope import Cursor, Limit, Live, Many, One, live, many, one
from app.api.invites import invited
from app.pipeline.etag import etag
from app.pipeline.identity import BY_KEY
from domain.actor import Actor
from domain.pages import LIMIT_DEFAULT
from domain.teams import members
from domain.teams import service as teams
from domain.teams.invites_model import NewInvite
from domain.teams.model import Member, NewMember, NewTeam, RoleChange, Team


class CreatedTeam(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A new team; `teamId` stands beside it for clients of the first version."""

    success: Literal[True] = True
    team_id: str
    data: Team


class TeamsController(Controller):
    path = "/api/teams"
    tags = ("teams",)

    @post("/")
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
        self, caller: NamedDependency[Actor], limit: Limit = LIMIT_DEFAULT, cursor: Cursor = None
    ) -> Many[Team]:
        """The teams you are in, newest first."""
        return many(await teams.mine(caller, limit=limit, cursor=cursor))

    @get("/{team_id:str}", opt=BY_KEY)
    async def read(self, team_id: FromPath[str], caller: NamedDependency[Actor]) -> Response[One[Team]]:
        """A team that you are in."""
        team = await teams.get(caller, team_id)
        return one(team, version=team.version)

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

    @post("/{team_id:str}/members", opt=BY_KEY)
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
