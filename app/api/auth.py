"""/api/auth: signing in, staying signed in, signing out."""

from typing import Annotated, Literal

from litestar import Controller, Response, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter

from app.api.envelope import Cursor, Limit, Many, One, many, one
from domain.actor import Actor
from domain.auth import service as auth
from domain.auth import sessions
from domain.auth.model import Login, Refresh, Registration, Session, SignedIn
from domain.pages import LIMIT_DEFAULT

Which = Annotated[Literal["current", "others", "all"], QueryParameter(name="scope", description="what ends")]


class AuthController(Controller):
    path = "/api/auth"
    tags = ("auth",)

    @post("/register")
    async def register(
        self, data: JSONBody[Registration], actor: NamedDependency[Actor]
    ) -> Response[One[SignedIn]]:
        """Make an account with its personal team, and sign in."""
        return one(await auth.register(actor, data), at="/api/users/me")

    @post("/login", status_code=200)
    async def login(self, data: JSONBody[Login], actor: NamedDependency[Actor]) -> Response[One[SignedIn]]:
        """Sign in: a new session."""
        return one(await auth.login(actor, data))

    @post("/refresh", status_code=200)
    async def refresh(
        self, data: JSONBody[Refresh], actor: NamedDependency[Actor]
    ) -> Response[One[SignedIn]]:
        """Exchange a refresh token, once, for the next pair of tokens."""
        return one(await sessions.refresh(actor, data))

    @post("/logout", status_code=204)
    async def logout(self, caller: NamedDependency[Actor], which: Which = "current") -> None:
        """End this session, the others, or all; tokens and open websockets end with them."""
        assert caller.session_id is not None, "a caller has a session"
        if which == "current":
            await sessions.end(caller, caller.session_id)
        else:
            await sessions.end_all(caller, "logout", but=caller.session_id if which == "others" else None)

    @get("/sessions")
    async def signed_in(
        self, caller: NamedDependency[Actor], limit: Limit = LIMIT_DEFAULT, cursor: Cursor = None
    ) -> Many[Session]:
        """Where you are signed in, newest first."""
        return many(await sessions.listed(caller, limit=limit, cursor=cursor))

    @delete("/sessions/{session_id:str}", status_code=204)
    async def end(self, session_id: FromPath[str], caller: NamedDependency[Actor]) -> None:
        """Sign out there; tokens and open websockets of that session end."""
        await sessions.end(caller, session_id)
