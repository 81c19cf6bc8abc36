"""/api/auth/passkeys: passkeys, and signing in with them."""

from litestar import Controller, Response, delete, get, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from msgspec import UNSET

from app.api import cookies
from app.api.cookies import AnyRequest
from app.api.envelope import Many, One, one
from domain.actor import Actor
from domain.auth import passkeys, second_step
from domain.auth.model import SignedIn
from domain.auth.passkeys_model import AskedFor, NewPasskey, Options, Passkey, PasskeyLogin, PasskeyPatch


class PasskeysController(Controller):
    path = "/api/auth/passkeys"
    tags = ("auth",)

    @post("/register/options", status_code=200)
    async def passkey_options(self, caller: NamedDependency[Actor]) -> Response[One[Options]]:
        """A challenge for a new passkey: what `navigator.credentials.create` takes."""
        return one(await passkeys.registration_options(caller))

    @post("/register/verify")
    async def add_passkey(
        self, data: JSONBody[NewPasskey], caller: NamedDependency[Actor]
    ) -> Response[One[Passkey]]:
        """Add the passkey that the browser has made."""
        passkey = await passkeys.add(caller, data)
        return one(passkey, at=f"/api/auth/passkeys/{passkey.id}")

    @post("/login/options", status_code=200)
    async def passkey_login_options(self, data: JSONBody[AskedFor]) -> Response[One[Options]]:
        """A challenge to sign in with: for whichever passkey the user chooses, or for the second step."""
        if data.mfa_token is UNSET:
            return one(await passkeys.login_options())
        return one(await second_step.options(data.mfa_token))

    @post("/login/verify", status_code=200)
    async def passkey_login(
        self, request: AnyRequest, data: JSONBody[PasskeyLogin], actor: NamedDependency[Actor]
    ) -> Response[One[SignedIn]]:
        """Sign in with a passkey: a new session."""
        return cookies.signed_in(request, await passkeys.login(actor, data), data.mode)

    @get("/")
    async def passkeys(self, caller: NamedDependency[Actor]) -> Many[Passkey]:
        """Your passkeys, oldest first; all on one page."""
        return Many(data=await passkeys.listed(caller), next_cursor=None)

    @patch("/{passkey_id:str}")
    async def rename_passkey(
        self, passkey_id: FromPath[str], data: JSONBody[PasskeyPatch], caller: NamedDependency[Actor]
    ) -> Response[One[Passkey]]:
        """Give a passkey another name."""
        return one(await passkeys.rename(caller, passkey_id, data))

    @delete("/{passkey_id:str}", status_code=204)
    async def remove_passkey(self, passkey_id: FromPath[str], caller: NamedDependency[Actor]) -> None:
        """Remove a passkey. Your last way in stays."""
        await passkeys.remove(caller, passkey_id)
