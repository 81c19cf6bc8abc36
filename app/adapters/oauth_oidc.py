"""OpenID Connect: Google, and any issuer that is configured.

What the issuer says of itself (discovery) and its keys are kept for an hour. A token that is signed with a
key we do not know has us look again, at most once a minute: a made-up one makes us ask nobody. Of each there
is one request at a time, whose answer or failure is that of all who wait: nobody queues for a silent issuer.
"""

import hmac
import time
from typing import Any, Final

import msgspec
from authlib.integrations.httpx_client import AsyncOAuth2Client
from jwt import PyJWK

from app.adapters import oauth_id_token as id_token
from app.adapters.in_flight import InFlight
from app.adapters.oauth_http import SECRET_IN_BODY, Http, Wrong, address, asking, get, kept, text, tokens
from app.adapters.outgoing import Dependency
from app.config_oauth import Provider
from domain.auth.oauth_model import Begun, Flow, Profile
from domain.errors import Unauthenticated

KEPT_S: Final = 3600.0
LOOKS_AGAIN_S: Final = 60.0
SCOPE: Final = "openid email profile"


class _Metadata(msgspec.Struct, frozen=True):
    """OpenID Connect Discovery 1.0 section 3, as much of it as we use."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str | None = None
    # Left out, they stand for RS256 and for client_secret_basic.
    id_token_signing_alg_values_supported: tuple[str, ...] = ("RS256",)
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic",)
    authorization_response_iss_parameter_supported: bool = False


class _Keys(msgspec.Struct, frozen=True):
    keys: list[dict[str, Any]]


class Oidc:
    """One issuer."""

    def __init__(self, config: Provider, redirect_uri: str, http: Http, dependency: Dependency) -> None:
        assert config.issuer is not None, "an OpenID provider has an issuer (app/config_oauth.py)"
        self.name, self.dependency = config.name, dependency
        self._config = config
        self._issuer = config.issuer
        self._redirect_uri = redirect_uri
        self._http = http
        self._metadata: tuple[float, _Metadata] | None = None
        self._keys: tuple[float, list[dict[str, Any]]] | None = None
        self._looked_again = -LOOKS_AGAIN_S
        self._discovering = InFlight[_Metadata]()
        self._fetching = InFlight[None]()

    async def ready(self) -> None:
        """Raise unless the issuer can be asked: nobody is sent away before that."""
        await self._discover()

    async def address(self, begun: Begun) -> str:
        """Where to send the browser."""
        metadata = await self._discover()
        return address(self._client(metadata), metadata.authorization_endpoint, begun, nonce=begun.nonce)

    async def profile(self, flow: Flow, code: str, issuer: str | None) -> Profile:
        """Who came back. `issuer` is what the browser brought as `iss` (RFC 9207).

        Raises Unauthenticated `oauth_failed`, and as `asking` does.
        """
        metadata = await self._discover()
        if issuer is None and metadata.authorization_response_iss_parameter_supported:
            raise Unauthenticated("The provider did not say who it is.", code="oauth_failed")
        if issuer is not None and not hmac.compare_digest(issuer.encode(), self._issuer.encode()):
            raise Unauthenticated("Another provider has answered than was asked.", code="oauth_failed")
        client = self._client(metadata)
        given = await tokens(client, self.dependency, metadata.token_endpoint, code, flow.verifier)
        with asking(self.dependency):
            said = await self._believed(metadata, given, flow)
        if "email" not in said and metadata.userinfo_endpoint is not None:
            said = await self._more(client, metadata.userinfo_endpoint, given, said)
        return Profile(
            provider=self.name,
            subject=said["sub"],
            email=text(said.get("email")),
            # Some say it as text; 1 is neither.
            email_verified=said.get("email_verified") is True or said.get("email_verified") == "true",
            name=text(said.get("name")),
            tokens=kept(given),
        )

    async def _believed(self, metadata: _Metadata, given: dict[str, Any], flow: Flow) -> dict[str, Any]:
        token = given.get("id_token")
        algorithm, kid = id_token.header(token, metadata.id_token_signing_alg_values_supported)
        return id_token.claims(
            str(token),
            await self._key(metadata, algorithm, kid),
            issuer=self._issuer,
            client_id=self._config.client_id,
            nonce=flow.nonce,
            access_token=given["access_token"],
        )

    async def _more(
        self, client: AsyncOAuth2Client, url: str, given: dict[str, Any], said: dict[str, Any]
    ) -> dict[str, Any]:
        """What the issuer tells only where it is asked; it must speak of the same person (section 5.3.2)."""
        more = await get(client, self.dependency, url, dict[str, Any], token=given["access_token"])
        with asking(self.dependency):
            if more.get("sub") != said["sub"]:
                raise Wrong("the userinfo is somebody else's")
        return {**more, **said}

    async def close(self) -> None:
        """Ask no more."""
        await self._discovering.stop()
        await self._fetching.stop()

    async def _discover(self) -> _Metadata:
        if self._metadata is None or time.monotonic() - self._metadata[0] > KEPT_S:
            return await self._discovering.join(self._look_up)
        return self._metadata[1]

    async def _look_up(self) -> _Metadata:
        url = f"{self._issuer.rstrip('/')}/.well-known/openid-configuration"
        found = await get(self._client(), self.dependency, url, _Metadata)
        with asking(self.dependency):
            self._check(found)
        self._metadata = (time.monotonic(), found)
        return found

    def _check(self, found: _Metadata) -> None:
        """It is about this issuer (Discovery 1.0 section 4.3), and sends nobody over an open wire."""
        if found.issuer != self._issuer:
            raise Wrong("the discovery document is of another issuer")
        scheme = self._issuer.partition("://")[0]
        endpoints = [
            found.authorization_endpoint,
            found.token_endpoint,
            found.jwks_uri,
            found.userinfo_endpoint or "https://",
        ]
        if not all(endpoint.startswith(("https://", f"{scheme}://")) for endpoint in endpoints):
            raise Wrong("an endpoint is not https")

    async def _key(self, metadata: _Metadata, algorithm: str, kid: str | None) -> PyJWK:
        at = time.monotonic()
        if self._keys is None or at - self._keys[0] > KEPT_S:
            await self._fetching.join(lambda: self._fetch(metadata))
        found = self._find(algorithm, kid)
        if found is None and (self._fetching.is_under_way or at - self._looked_again >= LOOKS_AGAIN_S):
            if not self._fetching.is_under_way:
                self._looked_again = at
            await self._fetching.join(lambda: self._fetch(metadata))
            found = self._find(algorithm, kid)
        if found is None:
            raise Wrong("the id_token is signed with a key that the issuer does not have")
        return found

    async def _fetch(self, metadata: _Metadata) -> None:
        document = await get(self._client(), self.dependency, metadata.jwks_uri, _Keys)
        self._keys = (time.monotonic(), document.keys)

    def _find(self, algorithm: str, kid: str | None) -> PyJWK | None:
        return id_token.key(self._keys[1], algorithm, kid) if self._keys else None

    def _client(self, metadata: _Metadata | None = None) -> AsyncOAuth2Client:
        methods = metadata.token_endpoint_auth_methods_supported if metadata else ()
        return self._http.client(
            self._config.client_id,
            self._config.client_secret,
            token_endpoint_auth_method=SECRET_IN_BODY if SECRET_IN_BODY in methods else None,
            redirect_uri=self._redirect_uri,
            scope=SCOPE,
        )
