"""/api/users: accounts."""

from litestar import Controller, Response, get, patch
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from app.api.envelope import One, one
from domain.actor import Actor
from domain.teams import service as teams
from domain.users import service as users
from domain.users.model import PublicUser, User, UserPatch


class UsersController(Controller):
    path = "/api/users"
    tags = ("users",)

    @get("/me")
    async def me(self, caller: NamedDependency[Actor]) -> Response[One[User]]:
        """Your own account."""
        user = await users.me(caller)
        return one(user, version=user.version)

    @patch("/me")
    async def change(
        self,
        data: JSONBody[UserPatch],
        caller: NamedDependency[Actor],
        if_version: NamedDependency[int | None],
    ) -> Response[One[User]]:
        """Change your own account; what is left out stays."""
        user = await teams.change_account(caller, data, if_version=if_version)
        return one(user, version=user.version)

    @get("/{user_id:str}")
    async def read(self, user_id: FromPath[str], caller: NamedDependency[Actor]) -> One[PublicUser]:
        """The public face of someone who shares a team with you."""
        return One(data=await teams.teammate(caller, caller.user if user_id == "me" else user_id))
