"""/api/auth/mfa: second factors, the second step of signing in, and showing one again."""

from litestar import Controller, Response, delete, get, post
from litestar.di import NamedDependency
from litestar.params import JSONBody

from app.api import cookies
from app.api.cookies import AnyRequest
from app.api.envelope import One, one
from domain.actor import Actor
from domain.auth import enrolment, mfa, second_step, step_up
from domain.auth.mfa_model import (
    Confirmation,
    NewTotp,
    SecondFactors,
    SecondStep,
    ShownCodes,
    SteppedUpUntil,
    StepUp,
)
from domain.auth.model import SignedIn
from domain.auth.passkeys_model import Options


class MfaController(Controller):
    path = "/api/auth/mfa"
    tags = ("auth",)

    @get("/")
    async def second_factors(self, caller: NamedDependency[Actor]) -> One[SecondFactors]:
        """Which second factors you have, and how many recovery codes are left."""
        return One(data=await mfa.enrolled(caller))

    @post("/totp", status_code=200)
    async def start_totp(self, caller: NamedDependency[Actor]) -> Response[One[NewTotp]]:
        """Begin to enrol an authenticator app: its secret, which counts once a code of it is confirmed."""
        return one(await enrolment.start(caller))

    @post("/totp/confirm", status_code=200)
    async def confirm_totp(
        self, data: JSONBody[Confirmation], caller: NamedDependency[Actor]
    ) -> Response[One[ShownCodes]]:
        """Confirm the app with a code of it: from now on signing in asks for one. Answers recovery codes."""
        return one(await enrolment.confirm(caller, data.code))

    @delete("/totp", status_code=204)
    async def remove_totp(self, caller: NamedDependency[Actor]) -> None:
        """Remove the app and the recovery codes: signing in asks for no second factor any more."""
        await enrolment.remove(caller)

    @post("/recovery-codes", status_code=200)
    async def renew_recovery_codes(self, caller: NamedDependency[Actor]) -> Response[One[ShownCodes]]:
        """Ten new recovery codes; the old ones are void."""
        return one(await enrolment.renew_codes(caller))

    @post("/verify", status_code=200)
    async def verify_second_factor(
        self, request: AnyRequest, data: JSONBody[SecondStep], actor: NamedDependency[Actor]
    ) -> Response[One[SignedIn]]:
        """The second step of signing in: a code or a passkey, after `second_factor_required`."""
        return cookies.signed_in(request, await second_step.verify(actor, data), data.mode)

    @post("/step-up/options", status_code=200)
    async def step_up_options(self, caller: NamedDependency[Actor]) -> Response[One[Options]]:
        """A challenge for one of your passkeys, to step up with."""
        return one(await mfa.step_up_options(caller))

    @post("/step-up", status_code=200)
    async def step_up(
        self, data: JSONBody[StepUp], caller: NamedDependency[Actor]
    ) -> Response[One[SteppedUpUntil]]:
        """Show again who you are: for ten minutes this session may do what is sensitive.

        With a second factor, where the account has one that is asked for; otherwise with the password.
        """
        return one(await step_up.step_up(caller, data))
