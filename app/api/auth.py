"""/api/auth: signing in, staying signed in, signing out."""

from typing import Annotated, Literal

from litestar import Controller, Response, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter
from msgspec import UNSET

from app.api import cookies
from app.api.cookies import AnyRequest
from app.api.envelope import Cursor, Limit, Many, One, many
from app.api.mails import accepted
from domain.actor import Actor
from domain.auth import service as auth
from domain.auth import sessions, verification
from domain.auth.model import Login, Refresh, Registration, Session, SignedIn
from domain.errors import FieldError, Invalid
from domain.pages import LIMIT_DEFAULT

Which = Annotated[Literal["current", "others", "all"], QueryParameter(name="scope", description="what ends")]


class AuthController(Controller):
    path = "/api/auth"
    tags = ("auth",)

    @post("/register")
    async def register(
        self, request: AnyRequest, data: JSONBody[Registration], actor: NamedDependency[Actor]
    ) -> Response[One[SignedIn]]:
        """Make an account with its personal team, and sign in.

        Where addresses are to be confirmed first: 202 for every address, and a mail says what came of it.
        """
        if verification.is_required():
            await verification.apply(actor, data)
            return accepted()
        return cookies.signed_in(request, await auth.register(actor, data), data.mode, at="/api/users/me")

    @post("/login", status_code=200)
    async def login(
        self, request: AnyRequest, data: JSONBody[Login], actor: NamedDependency[Actor]
    ) -> Response[One[SignedIn]]:
        """Sign in: a new session."""
        return cookies.signed_in(request, await auth.login(actor, data), data.mode)

    @post("/refresh", status_code=200)
    async def refresh(
        self, request: AnyRequest, data: JSONBody[Refresh], actor: NamedDependency[Actor]
    ) -> Response[One[SignedIn]]:
        """Exchange a refresh token, once, for the next pair of tokens."""
        token = cookies.refresh_token(request) if data.mode == "cookie" else data.refresh_token
        if token is UNSET:
            detail = "Send the refresh token, or ask in cookie mode."
            raise Invalid(detail, errors=(FieldError("/refreshToken", "required", detail),))
        return cookies.signed_in(request, await sessions.refresh(actor, token), data.mode)

    @post("/logout", status_code=204)
    async def logout(
        self, request: AnyRequest, caller: NamedDependency[Actor], which: Which = "current"
    ) -> Response[None]:
        """End this session, the others, or all; tokens and open websockets end with them."""
        assert caller.session_id is not None, "a caller has a session"
        if which == "current":
            await sessions.end(caller, caller.session_id)
        else:
            await sessions.end_all(caller, "logout", but=caller.session_id if which == "others" else None)
        return cookies.forgotten(request) if which != "others" else Response(None, status_code=204)

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
