"""The pages that links in mails lead to: opening one changes nothing, in a browser its button does."""

import re
import shutil
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser, ConsoleMessage, Page, async_playwright

from app.pages.mail_pages import PAGES
from domain import db
from tests.app import inviting
from tests.app.company import problem
from tests.app.inviting import invitations, invited, too_late
from tests.app.mailing import expired, mail_of, post, settled, token_of
from tests.app.signing_in import login
from tests.factories import Api
from tests.mailbox import Mailbox, link, text

ANOTHER = "another password altogether"
NEEDS_BROWSER = pytest.mark.skipif(
    not shutil.which("chromium"), reason="Chromium is not installed (apt-get install chromium)"
)


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as started:
        chromium = await started.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        yield chromium
        await chromium.close()


class Watched:
    """A page, what it said on the console, and all that it asked for."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.said: list[str] = []
        self.asked: list[str] = []
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.said.append(str(error)))
        page.on("request", lambda request: self.asked.append(request.url))

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.said.append(message.text)

    async def press(self, shows: str) -> str:
        """Press the button, and read what is shown then."""
        await self.page.click("#do")
        await self.page.wait_for_selector(f"#{shows}", state="visible")
        return await self.page.inner_text("main")


@pytest.mark.parametrize("name", PAGES)
async def test_a_page_is_the_same_for_everybody_and_runs_nothing_but_its_own_script(
    api: Api, name: str
) -> None:
    answer = await api.http.get(f"/auth/{name}")
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert "set-cookie" not in answer.headers
    [policy] = answer.headers.get_list("content-security-policy")
    said = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    assert said == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "data:",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    assert not re.search(r"<script(?![^>]*src=)|\son\w+=|style=|javascript:", answer.text)
    for address in re.findall(r'(?:src|href)="([^"]+)"', answer.text):
        assert address == "data:," or (await api.http.get(address)).status_code == 200, address
    assert (await api.http.get(f"/auth/{name}?token=mot_x")).text == answer.text
    assert (await api.http.head(f"/auth/{name}")).status_code == 200
    problem(await api.http.get("/auth/other"), 404, "no_such_route")


async def test_opening_a_link_uses_nothing_up(api: Api, mailbox: Mailbox) -> None:
    ann = await api.person()
    await post(api, "/auth/magic-link", email=ann.email)
    for kind in ("verify", "magic"):
        leads_to = link(await mail_of(mailbox, ann.email, kind))
        for method in ("GET", "HEAD"):
            opened = await api.http.request(method, leads_to)
            assert opened.status_code == 200, "the link leads to this server"
            assert b"#" not in opened.request.url.raw_path
    assert not await db.fetchval(
        "SELECT count(*) FROM one_time_tokens WHERE user_id = $1 AND used_at IS NOT NULL", ann.id
    )
    token = await token_of(mailbox, ann.email, "magic")
    assert (await post(api, "/auth/magic-link/consume", token=token)).status_code == 200


async def test_the_host_header_does_not_decide_where_a_link_leads(
    api: Api, mailbox: Mailbox, url: str
) -> None:
    ann = await api.person()
    asked = {"email": ann.email}
    evil = {"Host": "evil.example"}
    refused = await api.call("POST", "/auth/password/forgot", json=asked, headers=evil)
    assert (refused.status_code, refused.json()["code"]) == (400, "unknown_host")
    headers = {"Host": "localhost:1", "X-Forwarded-Host": "evil.example", "Origin": "https://evil.example"}
    await api.call("POST", "/auth/password/forgot", json=asked, headers=headers)
    mail = await mail_of(mailbox, ann.email, "reset")
    assert link(mail).startswith(f"{url}/auth/reset-password#token=")
    assert "evil" not in text(mail)
    assert "localhost:1" not in text(mail)


@NEEDS_BROWSER
async def test_in_a_browser_an_address_is_confirmed_by_a_button(
    api: Api, mailbox: Mailbox, browser: Browser, url: str
) -> None:
    ann = await api.person()
    leads_to = link(await mail_of(mailbox, ann.email, "verify"))
    token = leads_to.partition("=")[2]
    watched = Watched(await browser.new_page())
    await watched.page.goto(leads_to)
    assert await watched.page.evaluate("location.href") == f"{url}/auth/verify-email"
    assert (await ann.get("/users/me")).json()["data"]["emailVerifiedAt"] is None
    assert "your address is confirmed" in await watched.press("done")
    assert (await ann.get("/users/me")).json()["data"]["emailVerifiedAt"] is not None
    assert watched.said == [], "no complaint of the policy, no error"
    assert all(asked.startswith(url) or asked == "data:," for asked in watched.asked)
    assert not any(token in asked.partition("#")[0] for asked in watched.asked)

    await watched.page.goto("about:blank")
    await watched.page.goto(leads_to)
    assert "used already, or is too old" in await watched.press("invalid")


@NEEDS_BROWSER
async def test_in_a_browser_a_new_password_is_chosen_and_an_old_link_leads_to_a_new_one(
    api: Api, mailbox: Mailbox, browser: Browser
) -> None:
    ann = await api.person()
    await post(api, "/auth/password/forgot", email=ann.email)
    watched = Watched(await browser.new_page())
    await watched.page.goto(link(await mail_of(mailbox, ann.email, "reset")))
    await watched.page.fill("input[name=password]", "too short")
    await watched.page.click("#do")
    assert await watched.page.is_visible("#form"), "the browser says what is wrong with it"
    await watched.page.fill("input[name=password]", ANOTHER)
    assert "Your password is set" in await watched.press("done")
    assert (await login(api, ann.email, ANOTHER)).status_code == 200
    assert watched.said == []

    await watched.page.goto("about:blank")
    await expired(ann.id)
    await watched.page.goto(link(await mail_of(mailbox, ann.email, "reset")))
    await watched.page.fill("input[name=password]", ANOTHER)
    await watched.press("invalid")
    await watched.page.click("text=Ask for a new link")
    await watched.page.fill("input[name=email]", ann.email)
    await db.execute("UPDATE one_time_tokens SET expires_at = now() WHERE purpose LIKE 'mailed %'")
    assert "a link is on its way" in await watched.press("done")
    await mail_of(mailbox, ann.email, "reset", 2)


@NEEDS_BROWSER
async def test_in_a_browser_a_magic_link_signs_in_without_a_token_that_scripts_see(
    api: Api, mailbox: Mailbox, browser: Browser
) -> None:
    ann = await api.person()
    await post(api, "/auth/magic-link", email=ann.email)
    watched = Watched(await browser.new_page())
    await watched.page.goto(link(await mail_of(mailbox, ann.email, "magic")))
    assert "You are signed in" in await watched.press("done")
    cookies = {cookie["name"]: cookie["httpOnly"] for cookie in await watched.page.context.cookies()}
    assert cookies == {"maycole_refresh": True, "maycole_csrf": False}


@NEEDS_BROWSER
async def test_in_a_browser_an_invitation_leads_through_signing_in_into_the_team(
    api: Api, mailbox: Mailbox, browser: Browser
) -> None:
    ann, guest = await api.person(), await api.person("Guest")
    team = await api.team(ann)
    await invited(ann, team, guest.email)
    [mail] = await invitations(mailbox, guest.email)
    watched = Watched(await browser.new_page())
    await watched.page.goto(link(mail))
    await watched.press("sign-in")
    await watched.page.click("text=Sign in")
    await watched.page.fill("input[name=email]", guest.email)
    assert "a link is on its way" in await watched.press("done")
    await watched.page.goto(link(await mail_of(mailbox, guest.email, "magic")))
    await watched.press("done")
    await watched.page.goto(link(mail))
    assert "you are in the team" in await watched.press("done")
    assert guest.id in (await ann.get(f"/teams/{team}/members")).text
    assert watched.said == []


@NEEDS_BROWSER
async def test_in_a_browser_an_invitation_is_declined_or_asked_for_again(
    api: Api, mailbox: Mailbox, browser: Browser
) -> None:
    ann = await api.person()
    team = await api.team(ann)
    no, late = [await invited(ann, team, inviting.address()) for _ in range(2)]
    await too_late(late["id"])
    watched = Watched(await browser.new_page())
    for invite, button, shows in ((no, "#refuse", "#refused"), (late, "#refuse", "#late")):
        [mail] = await invitations(mailbox, invite["email"])
        await watched.page.goto("about:blank")
        await watched.page.goto(link(mail))
        await watched.page.click(button)
        await watched.page.wait_for_selector(shows, state="visible")
    await watched.page.click("#again")
    await watched.page.wait_for_selector("#asked", state="visible")
    assert not await watched.page.is_visible("#late")
    await settled()
    statuses = {row["id"]: row["status"] for row in (await ann.get(f"/teams/{team}/invites")).json()["data"]}
    assert statuses == {no["id"]: "declined", late["id"]: "expired"}
    # A refusal that the page explains is a line on the browser's console.
    assert all("409" in said for said in watched.said)
