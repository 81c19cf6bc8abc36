"""GitHub: OAuth without OpenID Connect, so who somebody is has to be asked of its API.

Only the address that is primary and verified counts; the one in the public profile is whatever they wrote.
"""

from typing import Final

import msgspec
from authlib.integrations.httpx_client import AsyncOAuth2Client

from app.adapters.oauth_http import SECRET_IN_BODY, Http, address, get, kept, text, tokens
from app.adapters.outgoing import Dependency
from app.config_oauth import Provider
from domain.auth.oauth_model import Begun, Flow, Profile
from domain.errors import Unauthenticated

SCOPE: Final = "read:user user:email"


class _User(msgspec.Struct, frozen=True):
    id: int
    login: str
    name: str | None = None


class _Email(msgspec.Struct, frozen=True):
    email: str
    primary: bool
    verified: bool


class GitHub:
    def __init__(self, config: Provider, redirect_uri: str, http: Http, dependency: Dependency) -> None:
        assert config.base is not None, "GitHub has addresses (app/config_oauth.py)"
        assert config.api_base is not None, "GitHub has addresses (app/config_oauth.py)"
        self.name, self.dependency = config.name, dependency
        self._base, self._api = config.base, config.api_base
        self._config, self._redirect_uri, self._http = config, redirect_uri, http

    async def ready(self) -> None:
        """Its addresses are known without asking."""

    async def address(self, begun: Begun) -> str:
        """Where to send the browser."""
        return address(self._client(), f"{self._base}/login/oauth/authorize", begun)

    async def profile(self, flow: Flow, code: str, issuer: str | None) -> Profile:
        """Who came back. Raises Unauthenticated `oauth_failed`, and as `oauth_http.asking` does."""
        if issuer not in (None, f"{self._base}/login/oauth"):
            raise Unauthenticated("Another provider has answered than was asked.", code="oauth_failed")
        client = self._client()
        given = await tokens(
            client, self.dependency, f"{self._base}/login/oauth/access_token", code, flow.verifier
        )
        token = given["access_token"]
        user = await get(client, self.dependency, f"{self._api}/user", _User, token=token)
        emails = await get(
            client, self.dependency, f"{self._api}/user/emails?per_page=100", list[_Email], token=token
        )
        email = next((one.email for one in emails if one.primary and one.verified), None)
        return Profile(
            provider=self.name,
            # A login can be given up, and taken by somebody else.
            subject=str(user.id),
            email=text(email),
            email_verified=email is not None,
            name=text(user.name) or text(user.login),
            tokens=kept(given),
        )

    def _client(self) -> AsyncOAuth2Client:
        return self._http.client(
            self._config.client_id,
            self._config.client_secret,
            token_endpoint_auth_method=SECRET_IN_BODY,
            redirect_uri=self._redirect_uri,
            scope=SCOPE,
        )
