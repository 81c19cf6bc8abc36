"""/api/teams/{id}/roles: the roles that members of a team may have, built in and of the team's own."""

from litestar import Controller, Response, delete, get, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from app.api.envelope import Live, One, live, one
from app.pipeline.etag import IfVersion
from app.pipeline.identity import BY_KEY
from app.pipeline.policies import LIMITED_AS_TEAMS
from domain.actor import Actor
from domain.pages import Page
from domain.teams import roles
from domain.teams.roles_model import NewRole, RoleBody, TeamRole


class RolesController(Controller):
    path = "/api/teams/{team_id:str}/roles"
    tags = ("teams",)
    opt = BY_KEY | LIMITED_AS_TEAMS

    @get("/")
    async def roles(self, team_id: FromPath[str], caller: NamedDependency[Actor]) -> Live[TeamRole]:
        """Every role of the team with its permissions; `position` is that of `team:<teamId>`."""
        found, head = await roles.listed(caller, team_id)
        return live(Page(found, None), head)

    @post("/")
    async def define_role(
        self, team_id: FromPath[str], data: JSONBody[NewRole], caller: NamedDependency[Actor]
    ) -> Response[One[TeamRole]]:
        """Make a role of permissions that you have yourself."""
        role = await roles.define(caller, team_id, data)
        return one(role, version=role.version, at=f"/api/teams/{team_id}/roles/{role.name}")

    @put("/{role:str}")
    async def redefine_role(
        self,
        team_id: FromPath[str],
        role: FromPath[str],
        data: JSONBody[RoleBody],
        caller: NamedDependency[Actor],
        if_version: IfVersion,
    ) -> Response[One[TeamRole]]:
        """Give a role other permissions; everyone who has it feels it at once."""
        changed = await roles.redefine(caller, team_id, role, data, if_version=if_version)
        return one(changed, version=changed.version)

    @delete("/{role:str}")
    async def remove_role(
        self,
        team_id: FromPath[str],
        role: FromPath[str],
        caller: NamedDependency[Actor],
        if_version: IfVersion,
    ) -> None:
        """Remove a role that nobody has; 409 `role_in_use` while somebody does."""
        await roles.remove(caller, team_id, role, if_version=if_version)
