"""Somebody signs up with Google, comes back, links GitHub, and cannot lock themselves out."""

import secrets
from collections.abc import AsyncIterator
from urllib.parse import quote

import httpx
import pytest

from domain import channels
from tests.app.company import problem
from tests.conftest import Served
from tests.doubles.browser import fragment
from tests.doubles.world import World, world
from tests.factories import Api
from tests.listener import Listeners


@pytest.fixture(scope="module")
async def here(served: Served) -> AsyncIterator[World]:
    async with world(served) as providers:
        yield providers


async def test_signing_up_coming_back_linking_and_the_last_way_in(
    here: World, api: Api, url: str, listeners: Listeners
) -> None:
    email = f"pat-{secrets.token_hex(6)}@example.org"
    here.google.is_at(email=email, email_verified=True, name="Pat")
    laptop, phone = here.browser(), here.browser()

    first = (await laptop.exchange(fragment(await laptop.sign_in("google", "/"))["code"])).json()["data"]
    again = (await phone.exchange(fragment(await phone.sign_in("google", "/"))["code"])).json()["data"]
    assert first["user"]["id"] == again["user"]["id"]
    assert first["sessionId"] != again["sessionId"]

    user, token = first["user"], first["accessToken"]
    screen = await listeners(url, token)
    own = channels.user(user["id"])
    here.github.is_at("pat", (f"other-{email}", True, True))
    assert fragment(await laptop.link("github", token)) == {"linked": "github"}
    await screen.until(lambda: "auth.identity_linked" in screen.types(own))
    by_github = await here.browser().sign_in("github")
    assert by_github.json()["data"]["user"]["id"] == user["id"]

    github, google = (await api.call("GET", "/auth/identities", token=token)).json()["data"]
    gone = await api.call("DELETE", f"/auth/identities/{google['id']}", token=token)
    assert gone.status_code == 204
    await screen.until(lambda: "auth.identity_unlinked" in screen.types(own))
    last = await api.call("DELETE", f"/auth/identities/{github['id']}", token=token)
    problem(last, 409, "last_way_in")
    # Google still vouches for the address, and the account's is verified: it comes in, linked anew.
    assert (await here.browser().sign_in("google")).json()["data"]["user"]["id"] == user["id"]


async def test_an_issuer_that_others_have_written_lets_somebody_in(here: World) -> None:
    email = f"mock-{secrets.token_hex(6)}@example.org"
    claims = {"email": email, "email_verified": True, "name": "Moe"}
    async with httpx.AsyncClient() as http:
        made = await http.put(f"{here.mock_url}/users/{quote(email)}", json=claims)
    assert made.status_code == 204
    browser = here.browser()
    form = await browser.start("mock")
    let_in = await browser.open(form, "POST", data={"sub": email})
    signed_in = await browser.open(let_in.headers["Location"])
    assert signed_in.json()["data"]["user"]["email"] == email
    denied = await browser.open(await browser.start("mock"), "POST", data={"action": "deny"})
    assert "access_denied" in denied.headers["Location"]
