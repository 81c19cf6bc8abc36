"""A browser that goes to a provider and comes back: it keeps cookies and follows redirects, to a point."""

from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx

PUBLIC_URL = "https://maycole.example"


class Browser:
    """One person's; PUBLIC_URL leads to the server at `url`, as a proxy would lead there."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.cookies: dict[str, str] = {}
        self.set_cookies: list[str] = []

    async def open(self, address: str, method: str = "GET", **more: Any) -> httpx.Response:
        """One request; cookies are ours alone."""
        ours = address.startswith(f"{PUBLIC_URL}/")
        if ours:
            address = self._url + address.removeprefix(PUBLIC_URL)
            cookie = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
            more["headers"] = {**more.get("headers", {}), **({"Cookie": cookie} if cookie else {})}
        # Looking at certificates takes 20 ms to prepare, and all of this is plain HTTP on this machine.
        async with httpx.AsyncClient(timeout=20, verify=False) as client:  # noqa: S501 - see above
            answer = await client.request(method, address, **more)
        if ours:
            self._keep(answer)
        return answer

    async def start(self, provider: str, return_to: str | None = None) -> str:
        """The provider's address that a button leads to."""
        query = f"?{urlencode({'returnTo': return_to})}" if return_to is not None else ""
        answer = await self.open(f"{PUBLIC_URL}/api/auth/oauth/{provider}/start{query}")
        assert answer.status_code == 302, answer.text
        return answer.headers["Location"]

    async def at_provider(self, address: str) -> str:
        """The address that the provider sends back to."""
        answer = await self.open(address)
        assert answer.status_code == 302, answer.text
        return answer.headers["Location"]

    async def sign_in(self, provider: str, return_to: str | None = None) -> httpx.Response:
        """There and back: what the callback answers."""
        return await self.open(await self.at_provider(await self.start(provider, return_to)))

    async def link(self, provider: str, token: str, return_to: str = "/account") -> httpx.Response:
        """There and back, to link: what the callback answers."""
        return await self.open(await self.at_provider(await self.linking(provider, token, return_to)))

    async def linking(self, provider: str, token: str, return_to: str = "/account") -> str:
        """The provider's address that the button to link leads to."""
        answer = await self.open(
            f"{PUBLIC_URL}/api/auth/oauth/{provider}/link",
            "POST",
            json={"returnTo": return_to},
            headers={"Authorization": f"Bearer {token}"},
        )
        assert answer.status_code == 200, answer.text
        address: str = answer.json()["data"]["url"]
        return address

    async def exchange(self, code: str, **more: Any) -> httpx.Response:
        return await self.open(f"{PUBLIC_URL}/api/auth/oauth/exchange", "POST", json={"code": code, **more})

    def _keep(self, answer: httpx.Response) -> None:
        for line in answer.headers.get_list("set-cookie"):
            self.set_cookies.append(line)
            for name, morsel in SimpleCookie(line).items():
                if morsel["max-age"] == "0":
                    self.cookies.pop(name, None)
                else:
                    self.cookies[name] = morsel.value


def fragment(answer: httpx.Response) -> dict[str, str]:
    """What a page finds after the `#`."""
    assert answer.status_code == 302, answer.text
    return dict(parse_qsl(urlsplit(answer.headers["Location"]).fragment))


def changed(address: str, **parameters: str | None) -> str:
    """The address with other parameters; None takes one away."""
    parts = urlsplit(address)
    query = {**dict(parse_qsl(parts.query)), **parameters}
    return parts._replace(
        query=urlencode({name: value for name, value in query.items() if value is not None})
    ).geturl()


def parameters(address: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(address).query))
