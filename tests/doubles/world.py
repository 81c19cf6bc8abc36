"""The providers of the tests: two issuers of our own that can lie, GitHub, and others' mock issuer."""

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass

from app.adapters.oauth import Providers
from app.config_oauth import Provider
from tests.conftest import ORIGIN, Served
from tests.doubles import github, issuer
from tests.doubles.asgi import running
from tests.doubles.browser import PUBLIC_URL, Browser
from tests.doubles.github import GitHub
from tests.doubles.issuer import Issuer

# It stops when we do: its standard input closes.
_MOCK = """
import sys, oidc_provider_mock
with oidc_provider_mock.run_server_in_thread(require_nonce=True) as server:
    print(server.server_port, flush=True)
    sys.stdin.read()
"""


@dataclass
class World:
    """The providers, and a server that knows them."""

    served: Served
    google: Issuer
    acme: Issuer
    github: GitHub
    mock_url: str

    def browser(self) -> Browser:
        return Browser(self.served.url)

    async def reset(self) -> None:
        """All behave, and nothing is remembered of what they said."""
        for double in (self.google, self.acme, self.github):
            double.reset()
        await self.served.app.state.oauth.close()
        self.served.app.state.oauth = self.providers()

    def providers(self) -> Providers:
        keys = {"client_id": issuer.CLIENT, "client_secret": issuer.SECRET}
        configured = (
            Provider(name="google", issuer=self.google.url, **keys),
            Provider(name="acme", issuer=self.acme.url, **keys),
            Provider(name="mock", issuer=self.mock_url, **keys),
            Provider(
                name="github",
                base=self.github.url,
                api_base=self.github.url,
                client_id=github.CLIENT,
                client_secret=github.SECRET,
            ),
        )
        return Providers(configured, PUBLIC_URL, (ORIGIN,), self.served.app.state.outgoing)


@contextlib.asynccontextmanager
async def world(served: Served) -> AsyncIterator[World]:
    """The providers run, and the app of this process is set up with them, until the block ends."""
    before = served.app.state.oauth
    async with contextlib.AsyncExitStack() as stack:
        doubles = Issuer(), Issuer(), GitHub()
        for double in doubles:
            await stack.enter_async_context(running(double))
        mock_url = await stack.enter_async_context(_mock())
        here = World(served, *doubles, mock_url)
        try:
            await here.reset()
            yield here
        finally:
            await served.app.state.oauth.close()
            served.app.state.oauth = before


@contextlib.asynccontextmanager
async def _mock() -> AsyncIterator[str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        _MOCK,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={**os.environ, "AUTHLIB_INSECURE_TRANSPORT": "1"},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        port = int(await asyncio.wait_for(process.stdout.readline(), 30))
        yield f"http://localhost:{port}"
    finally:
        process.stdin.close()
        await process.wait()
