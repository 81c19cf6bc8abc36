"""Providers: who can be signed in with, by the names in the addresses."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from app.adapters.outgoing import Outgoing
from app.adapters.outgoing_http import judge
from app.config_oauth import KNOWN, Provider
from domain.errors import Invalid, NotFound, Unavailable

if TYPE_CHECKING:
    from app.adapters.oauth_github import GitHub
    from app.adapters.oauth_oidc import Oidc

# What an address may be made of: no backslash, blank, line break or quote, which browsers read in their own
# ways, and no fragment, where ours goes.
_PLAIN = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~!$&'()*+,;=:@/?%[]")


class Providers:
    """The providers of this server, and where browsers may be sent in the end."""

    def __init__(
        self,
        configured: tuple[Provider, ...],
        public_url: str | None,
        allowed_origins: tuple[str, ...],
        outgoing: Outgoing,
    ) -> None:
        self.public_url = (public_url or "").rstrip("/")
        self._origins = allowed_origins
        self._by_name: dict[str, Oidc | GitHub] = {}
        self._closes: list[Callable[[], Awaitable[None]]] = []
        if configured:
            self._open(configured, outgoing)

    @property
    def configured(self) -> dict[str, bool]:
        """Name -> whether it can be used, for all that are known."""
        return {name: name in self._by_name for name in (*KNOWN, *sorted(self._by_name.keys() - set(KNOWN)))}

    def find(self, name: str) -> "Oidc | GitHub":
        """Raises NotFound; Unavailable `oauth_<name>_not_configured` for one that only lacks its keys."""
        if name in self._by_name:
            return self._by_name[name]
        if name in KNOWN:
            raise Unavailable(
                f"Signing in with {name} is not set up on this server.", code=f"oauth_{name}_not_configured"
            )
        raise NotFound.of("provider")

    def landing(self, return_to: str) -> str:
        """The whole address of a page of ours or of an allowed origin. Raises Invalid `invalid_return_to`.

        Nothing is parsed here: what does not begin with a known origin, letter by letter, is refused.
        """
        parts = urlsplit(self.public_url)
        own = f"{parts.scheme}://{parts.netloc}"
        whole = own + return_to if return_to.startswith("/") and not return_to.startswith("//") else return_to
        known = any(
            whole == origin or whole.startswith((f"{origin}/", f"{origin}?"))
            for origin in (own, *self._origins)
        )
        if not known or not _PLAIN.issuperset(whole):
            raise Invalid(
                "`returnTo` is a path of this server, or an address on an allowed origin.",
                code="invalid_return_to",
            )
        return whole

    async def close(self) -> None:
        """Ask nobody any more, and hang up."""
        for close in self._closes:
            await close()

    def _open(self, configured: tuple[Provider, ...], outgoing: Outgoing) -> None:
        """Their import takes a tenth of a start, which only who has providers should wait."""
        from app.adapters.oauth_github import GitHub
        from app.adapters.oauth_http import POLICY, Http
        from app.adapters.oauth_oidc import Oidc

        http = Http()
        for one in configured:
            uri, of_it = self._redirect_uri(one.name), outgoing.dependency(f"oauth.{one.name}", POLICY, judge)
            if one.issuer is None:
                self._by_name[one.name] = GitHub(one, uri, http, of_it)
            else:
                self._by_name[one.name] = issuer = Oidc(one, uri, http, of_it)
                self._closes.append(issuer.close)
        self._closes.append(http.close)

    def _redirect_uri(self, name: str) -> str:
        return f"{self.public_url}/api/auth/oauth/{name}/callback"
