"""Passkeys in Chromium, with its virtual authenticator: what a page does with them, from another origin."""

import shutil
import threading
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec
import pytest
from playwright.async_api import Page, async_playwright

from app.config import Config
from domain import db
from tests.app.second_factors import enrol, grow_stale
from tests.factories import PASSWORD, Api, Person, api_of
from tests.processes import running

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="Chromium is not installed (apt-get install chromium)")
# What a page needs: the options are read and the credential is written by the browser itself.
SCRIPT = """
async function call(method, path, body, token) {
  const headers = {"Content-Type": "application/json"};
  if (token) headers.Authorization = `Bearer ${token}`;
  const answer = await fetch(API + path, {method, headers, body: body && JSON.stringify(body)});
  return {status: answer.status, body: answer.status === 204 ? null : await answer.json()};
}
async function register(token) {
  const {body} = await call("POST", "/auth/passkeys/register/options", null, token);
  const publicKey = PublicKeyCredential.parseCreationOptionsFromJSON(body.data.publicKey);
  const credential = (await navigator.credentials.create({publicKey})).toJSON();
  return call("POST", "/auth/passkeys/register/verify", {credential, name: "Chromium"}, token);
}
async function shown({body}) {
  const publicKey = PublicKeyCredential.parseRequestOptionsFromJSON(body.data.publicKey);
  return (await navigator.credentials.get({publicKey})).toJSON();
}
async function signIn() {
  const credential = await shown(await call("POST", "/auth/passkeys/login/options", {}));
  return call("POST", "/auth/passkeys/login/verify", {credential});
}
async function secondStep(email, password) {
  const {body: {mfaToken}} = await call("POST", "/auth/login", {email, password});
  const credential = await shown(await call("POST", "/auth/passkeys/login/options", {mfaToken}));
  return call("POST", "/auth/mfa/verify", {mfaToken, credential});
}
async function stepUp(token) {
  const credential = await shown(await call("POST", "/auth/mfa/step-up/options", null, token));
  return call("POST", "/auth/mfa/step-up", {credential}, token);
}
"""
# Chromium's words for a phone or a laptop that asks for a finger, which the user always gives.
AUTHENTICATOR = {
    "protocol": "ctap2",
    "transport": "internal",
    "hasResidentKey": True,
    "hasUserVerification": True,
    "isUserVerified": True,
    "automaticPresenceSimulation": True,
}


class Blank(BaseHTTPRequestHandler):
    """A page with nothing on it but the script, whatever is asked for."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(f"<!doctype html><title>A page</title><script>{SCRIPT}</script>".encode())

    def log_message(self, *_: Any) -> None:
        """Nothing: the test says what it needs."""


@pytest.fixture
def origin() -> Iterator[str]:
    """A site of its own, whose pages may use the API."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Blank) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://localhost:{server.server_port}"
        server.shutdown()


@pytest.fixture
async def api(config: Config, origin: str, url: str) -> AsyncIterator[Api]:
    """A server whose passkeys belong to that site; `url` for this process's pool, on the same database."""
    async with (
        running(msgspec.structs.replace(config, allowed_origins=(origin,))) as process,
        api_of(process.url) as api,
    ):
        yield api


@pytest.fixture
async def page(origin: str, api: Api) -> AsyncIterator[Page]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"],
        )
        page = await browser.new_page()
        await page.goto(origin)
        await page.evaluate("api => { globalThis.API = api }", str(api.http.base_url.join("/api")))
        yield page
        await browser.close()


async def amr(answer: dict[str, Any]) -> list[str]:
    assert answer["status"] == 200, answer
    session_id = answer["body"]["data"]["sessionId"]
    ways: list[str] = await db.fetchval("SELECT amr FROM user_sessions WHERE id = $1", session_id)
    return ways


async def with_passkey(page: Page, person: Person, **changed: Any) -> dict[str, Any]:
    """An authenticator in the browser, and a passkey of this person in it: what the server says of it."""
    cdp = await page.context.new_cdp_session(page)
    await cdp.send("WebAuthn.enable")
    await cdp.send("WebAuthn.addVirtualAuthenticator", {"options": {**AUTHENTICATOR, **changed}})
    answer = await page.evaluate("token => register(token)", person.token)
    assert answer["status"] == 201, answer
    passkey: dict[str, Any] = answer["body"]["data"]
    return passkey


async def test_a_browser_makes_a_passkey_signs_in_with_it_shows_it_again_and_forgets_it(
    page: Page, api: Api
) -> None:
    ann = await api.person()
    await enrol(ann)
    passkey = await with_passkey(page, ann)
    assert passkey["name"] == "Chromium"

    first = await page.evaluate("() => signIn()")
    assert await amr(first) == ["hwk", "mfa"]
    assert first["body"]["data"]["user"]["id"] == ann.id, "nobody typed an address"

    second = await page.evaluate("([email, password]) => secondStep(email, password)", [ann.email, PASSWORD])
    assert await amr(second) == ["pwd", "hwk", "mfa"]

    await grow_stale(ann)
    place = f"/auth/passkeys/{passkey['id']}"
    assert (await ann.delete(place)).json()["code"] == "step_up_required"
    stepped = await page.evaluate("token => stepUp(token)", ann.token)
    assert stepped["status"] == 200, stepped
    assert (await ann.delete(place)).status_code == 204

    gone = await page.evaluate("() => signIn()")
    assert (gone["status"], gone["body"]["code"]) == (401, "invalid_passkey")


async def test_a_browser_does_not_add_the_same_authenticator_twice_and_a_password_stays_one_factor(
    page: Page, api: Api
) -> None:
    ann = await api.person()
    await with_passkey(page, ann)
    said = await page.evaluate("token => register(token).catch(error => error.name)", ann.token)
    assert said == "InvalidStateError", "it knows from excludeCredentials that there is one"
    answer = await api.call("POST", "/auth/login", json={"email": ann.email, "password": PASSWORD})
    assert answer.status_code == 200, "a passkey alone does not make signing in ask for more"
