"""/api/auth: signing in, staying signed in, signing out."""

from litestar import Controller, Response, post
from litestar.di import NamedDependency
from litestar.params import JSONBody

from app.api.envelope import One, one
from domain.actor import Actor
from domain.auth import service as auth
from domain.auth.model import Login, Refresh, Registration, SignedIn


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
        return one(await auth.refresh(actor, data))

    @post("/logout", status_code=204)
    async def logout(self, caller: NamedDependency[Actor]) -> None:
        """End this session; its tokens and open websockets end with it."""
        await auth.logout(caller)
