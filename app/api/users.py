"""/api/users: accounts and profiles."""

from typing import Annotated

from litestar import Controller, Response, delete, get, patch, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter

from app.api import cookies
from app.api.cookies import AnyRequest
from app.api.envelope import Cursor, Limit, Many, One, many, one
from app.pipeline.etag import IfVersion
from app.pipeline.identity import BY_KEY, FOR_STAFF
from domain.actor import Actor
from domain.auth import accounts
from domain.auth.accounts import Copy
from domain.pages import LIMIT_DEFAULT
from domain.teams import members, policy
from domain.users import service as users
from domain.users.model import NewProfile, Profile, PublicUser, StaffPatch, StaffUser, User, UserPatch

Words = Annotated[
    str | None, QueryParameter(name="query", max_length=254, description="a part of name or address")
]


class UsersController(Controller):
    path = "/api/users"
    tags = ("users",)

    @get("/me", opt=BY_KEY)
    async def me(self, caller: NamedDependency[Actor]) -> Response[One[User]]:
        """Your own account."""
        user = await users.me(caller)
        return one(user, version=user.version)

    @patch("/me")
    async def change(
        self,
        data: JSONBody[UserPatch],
        caller: NamedDependency[Actor],
        if_version: IfVersion,
    ) -> Response[One[User]]:
        """Change your own account; what is left out stays."""
        user = await members.change_account(caller, data, if_version=if_version)
        return one(user, version=user.version)

    @delete("/me", status_code=204)
    async def close(self, request: AnyRequest, caller: NamedDependency[Actor]) -> Response[None]:
        """Close your account, for good: signed out everywhere, out of every team, forgotten."""
        await accounts.close(caller)
        return cookies.forgotten(request)

    @get("/me/profile")
    async def profile(self, caller: NamedDependency[Actor]) -> Response[One[Profile]]:
        """What you say of yourself, and how you like things."""
        own = await users.profile(caller)
        return one(own, version=own.version)

    @put("/me/profile")
    async def put_profile(
        self,
        data: JSONBody[NewProfile],
        caller: NamedDependency[Actor],
        if_version: IfVersion,
    ) -> Response[One[Profile]]:
        """Replace your profile."""
        own = await users.put_profile(caller, data, if_version=if_version)
        return one(own, version=own.version)

    @post("/me/export", status_code=200)
    async def export(self, caller: NamedDependency[Actor]) -> Response[One[Copy]]:
        """All that is kept of you."""
        return one(await accounts.copy(caller))

    @get("/", opt=FOR_STAFF)
    async def listed(
        self,
        caller: NamedDependency[Actor],
        words: Words = None,
        limit: Limit = LIMIT_DEFAULT,
        cursor: Cursor = None,
    ) -> Many[StaffUser]:
        """All accounts, newest first; for staff."""
        policy.require_staff(caller)
        return many(await users.listed(caller, words, limit=limit, cursor=cursor))

    @get("/{user_id:str}", opt=BY_KEY)
    async def read(self, user_id: FromPath[str], caller: NamedDependency[Actor]) -> One[PublicUser]:
        """The public face of someone who shares a team with you."""
        return One(data=await members.teammate(caller, caller.user if user_id == "me" else user_id))

    @patch("/{user_id:str}", opt=FOR_STAFF)
    async def staff_change(
        self,
        user_id: FromPath[str],
        data: JSONBody[StaffPatch],
        caller: NamedDependency[Actor],
        if_version: IfVersion,
    ) -> Response[One[StaffUser]]:
        """Shut an account or open it again; for staff."""
        user = await accounts.staff_change(caller, user_id, data, if_version=if_version)
        return one(user, version=user.version)
