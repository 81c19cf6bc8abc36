"""/api/auth/oauth and /api/auth/identities: signing in with a provider, and linking accounts there.

A browser goes to the provider and comes back; between the two a cookie, which no script and no other site
can read, says that it is the same browser. Tokens never travel in an address: a page that was named as
`returnTo` gets a code in the fragment of its address, and exchanges it here. Why: docs/decisions/0021.
"""

from typing import Annotated, Any, Final
from urllib.parse import urlencode

from litestar import Controller, Request, Response, delete, get, post
from litestar.datastructures import Cookie
from litestar.di import NamedDependency
from litestar.enums import MediaType
from litestar.params import FromPath, JSONBody, QueryParameter

from app.adapters.oauth import Providers
from app.api import cookies
from app.api.envelope import Cursor, Limit, Many, One, many, one
from domain.actor import Actor
from domain.auth import oauth, oauth_flows
from domain.auth.model import SignedIn
from domain.auth.oauth_model import Flow, OauthAddress, OauthCode, OauthIdentity, OauthLink, Profile
from domain.errors import DomainError, Forbidden, Unauthenticated
from domain.pages import LIMIT_DEFAULT

COOKIE: Final = "maycole_oauth"
LASTS_S: Final = int(oauth_flows.STATE_LASTS.total_seconds())

AnyRequest = Request[Any, Any, Any]
ReturnTo = Annotated[
    str | None,
    QueryParameter(
        name="returnTo", max_length=2000, description="the page that goes on: a path, or on an allowed origin"
    ),
]
Code = Annotated[str | None, QueryParameter(max_length=4000, description="from the provider")]
State = Annotated[
    str | None, QueryParameter(name="state", max_length=200, description="as it was sent to the provider")
]
Failure = Annotated[
    str | None, QueryParameter(name="error", max_length=200, description="why the provider sends nobody")
]
Issuer = Annotated[
    str | None, QueryParameter(name="iss", max_length=500, description="who answers (RFC 9207)")
]


class OauthController(Controller):
    path = "/api/auth"
    tags = ("auth",)

    @get("/oauth/{provider:str}/start", status_code=302)
    async def oauth_start(
        self, provider: FromPath[str], request: AnyRequest, return_to: ReturnTo = None
    ) -> Response[None]:
        """Go to a provider to sign in: open this in a browser; it comes back to `returnTo`, with a code."""
        providers = _providers(request)
        chosen = providers.find(provider)
        landing = providers.landing(return_to) if return_to is not None else None
        await chosen.ready()
        begun = await oauth_flows.begin(provider, return_to=landing)
        response = _go(await chosen.address(begun))
        response.set_cookie(_cookie(providers, begun.browser))
        return response

    @post("/oauth/{provider:str}/link", status_code=200)
    async def oauth_link(
        self,
        provider: FromPath[str],
        data: JSONBody[OauthLink],
        request: AnyRequest,
        caller: NamedDependency[Actor],
    ) -> Response[One[OauthAddress]]:
        """Link an account at a provider to yours: open the `url` that this answers, in the same browser."""
        providers = _providers(request)
        chosen = providers.find(provider)
        landing = providers.landing(data.return_to)
        await oauth.may_link(caller)
        await chosen.ready()
        begun = await oauth_flows.begin(provider, return_to=landing, linking=caller)
        response = one(OauthAddress(url=await chosen.address(begun)))
        response.set_cookie(_cookie(providers, begun.browser))
        return response

    @get("/oauth/{provider:str}/callback")
    async def oauth_callback(
        self,
        provider: FromPath[str],
        request: AnyRequest,
        actor: NamedDependency[Actor],
        code: Code = None,
        given: State = None,
        failure: Failure = None,
        issuer: Issuer = None,
    ) -> Response[One[SignedIn]]:
        """Where providers send browsers back to: on to `returnTo`, or, where none was named, a new session.

        The fragment of the page's address has `code`, `linked`, or `error` (the code of a problem).
        """
        providers = _providers(request)
        chosen = providers.find(provider)
        browser = request.cookies.get(_name(providers))
        flow = await oauth_flows.take(provider, given, browser)
        assert browser is not None, "a flow is found by its browser"
        try:
            if failure is not None or not code:
                raise _failed(failure)
            profile = await chosen.profile(flow, code, issuer)
            if flow.return_to is None:
                response = one(await oauth.sign_in(actor, profile))
                response.set_cookie(_cookie(providers, None))
                return response
            return _go(f"{flow.return_to}#{urlencode(await _outcome(actor, flow, profile, browser))}")
        except DomainError as refusal:
            if flow.return_to is None:
                raise
            return _go(f"{flow.return_to}#{urlencode({'error': refusal.problem})}")

    @post("/oauth/exchange", status_code=200)
    async def oauth_exchange(
        self, data: JSONBody[OauthCode], request: AnyRequest, actor: NamedDependency[Actor]
    ) -> Response[One[SignedIn]]:
        """Sign in with the code that the browser came back with: once, within a minute, in that browser."""
        providers = _providers(request)
        profile = await oauth_flows.redeem(data.code, request.cookies.get(_name(providers)))
        response = cookies.signed_in(request, await oauth.sign_in(actor, profile), data.mode)
        response.set_cookie(_cookie(providers, None))
        return response

    @get("/identities")
    async def identities(
        self, caller: NamedDependency[Actor], limit: Limit = LIMIT_DEFAULT, cursor: Cursor = None
    ) -> Many[OauthIdentity]:
        """Your accounts at providers, newest first."""
        return many(await oauth.listed(caller, limit=limit, cursor=cursor))

    @delete("/identities/{identity_id:str}", status_code=204)
    async def unlink(self, identity_id: FromPath[str], caller: NamedDependency[Actor]) -> None:
        """Unlink an account at a provider; the last way in stays."""
        await oauth.unlink(caller, identity_id)


async def _outcome(actor: Actor, flow: Flow, profile: Profile, browser: str) -> dict[str, str]:
    """What the page is told."""
    if flow.user_id is None:
        return {"code": await oauth_flows.leave(profile, browser)}
    await oauth.link(actor, flow, profile)
    return {"linked": profile.provider}


def _failed(failure: str | None) -> DomainError:
    if failure == "access_denied":
        return Forbidden("You were not let through at the provider.", code="oauth_denied")
    return Unauthenticated("Signing in with this provider did not work.", code="oauth_failed")


def _go(address: str) -> Response[Any]:
    """Not Litestar's Redirect, which would quote the address once more."""
    return Response(b"", status_code=302, headers={"Location": address}, media_type=MediaType.TEXT)


def _providers(request: AnyRequest) -> Providers:
    providers: Providers = request.app.state.oauth
    return providers


def _name(providers: Providers) -> str:
    """`__Host-`: no other host of the same domain can set it (RFC 6265bis section 4.1.3.2)."""
    return f"__Host-{COOKIE}" if _behind_tls(providers) else COOKIE


def _cookie(providers: Providers, browser: str | None) -> Cookie:
    """The newest flow's; None takes it away. Lax, for it has to come along when the provider sends back."""
    return Cookie(
        key=_name(providers),
        value=browser or "",
        path="/",
        max_age=LASTS_S if browser else 0,
        secure=_behind_tls(providers),
        httponly=True,
        samesite="lax",
    )


def _behind_tls(providers: Providers) -> bool:
    return providers.public_url.startswith("https://")
