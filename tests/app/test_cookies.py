"""Cookie mode: the refresh token is out of every script's reach, and only a page of ours can use it."""

import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest

from tests.app.company import problem
from tests.app.signing_in import signed_in
from tests.conftest import ORIGIN, SECRET, Served
from tests.factories import PASSWORD, Api

EVIL = "https://evil.example"


class Page:
    """A page in a browser: it keeps cookies, and says where it is from."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http
        self.first: httpx.Response | None = None

    async def post(self, path: str, body: Any = None, **headers: str) -> httpx.Response:
        given = {"Origin": ORIGIN, **headers}
        given = {name: said for name, said in given.items() if said}
        return await self.http.post(f"/api{path}", json=body, headers=given)

    async def refresh(self, csrf: str | None = None, **headers: str) -> httpx.Response:
        token = self.http.cookies["maycole_csrf"] if csrf is None else csrf
        return await self.post("/auth/refresh", {"mode": "cookie"}, **{"X-CSRF-Token": token, **headers})


@pytest.fixture
async def browser(served: Served) -> AsyncIterator[Callable[[], Page]]:
    """Opens pages, each with cookies of its own."""
    async with contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(httpx.AsyncClient(base_url=served.url)) for _ in range(2)]
        yield lambda: Page(clients.pop())


@pytest.fixture
async def page(api: Api, browser: Callable[[], Page]) -> Page:
    """A page on which somebody has just signed in."""
    ann, page = await api.person(), browser()
    body = {"email": ann.email, "password": PASSWORD, "mode": "cookie"}
    page.first = await page.post("/auth/login", body)
    assert page.first.status_code == 200
    return page


async def test_the_refresh_token_is_in_the_cookie_and_nowhere_else(page: Page) -> None:
    answer = page.first
    assert answer is not None
    data = answer.json()["data"]
    assert "refreshToken" not in data
    assert data["csrfToken"] == page.http.cookies["maycole_csrf"]
    assert page.http.cookies["maycole_refresh"] not in answer.text
    lines = {line.split("=")[0]: line.lower() for line in answer.headers.get_list("set-cookie")}
    for part in ("httponly", "samesite=strict", "path=/api/auth;"):
        assert part in lines["maycole_refresh"] + ";"
    assert "httponly" not in lines["maycole_csrf"], "a script of the page reads this one"
    assert "samesite=strict" in lines["maycole_csrf"]


async def test_registering_can_answer_in_cookie_mode_too(browser: Callable[[], Page]) -> None:
    page = browser()
    body = {"email": "cookie-mode@example.org", "password": PASSWORD, "name": "Ann", "mode": "cookie"}
    made = await page.post("/auth/register", body)
    assert (made.status_code, made.headers["Location"]) == (201, "/api/users/me")
    assert set(page.http.cookies) == {"maycole_refresh", "maycole_csrf"}


async def test_a_page_of_ours_renews_its_tokens_again_and_again(page: Page, api: Api) -> None:
    used = {page.http.cookies["maycole_refresh"]}
    for _ in range(3):
        renewed = await page.refresh()
        assert renewed.status_code == 200, renewed.text
        assert "refreshToken" not in renewed.json()["data"]
        assert await signed_in(api, renewed.json()["data"]["accessToken"])
        used.add(page.http.cookies["maycole_refresh"])
    assert len(used) == 4


@pytest.mark.parametrize(
    ("csrf", "headers"),
    [
        ("", {}),
        ("x" * 24, {}),
        (None, {"Origin": EVIL}),
        (None, {"Origin": "null"}),
        (None, {"Origin": ORIGIN + ".evil.example"}),
        (None, {"Origin": "", "Sec-Fetch-Site": "cross-site"}),
    ],
)
async def test_another_page_cannot_and_costs_the_session_nothing(
    page: Page, csrf: str | None, headers: dict[str, str]
) -> None:
    problem(await page.refresh(csrf, **headers), 403, "csrf_failed")
    assert (await page.refresh()).status_code == 200


async def test_the_csrf_token_of_another_session_does_not_help(
    page: Page, browser: Callable[[], Page]
) -> None:
    other = browser()
    body = {"email": "other-page@example.org", "password": PASSWORD, "name": "Eve", "mode": "cookie"}
    await other.post("/auth/register", body)
    theirs = other.http.cookies["maycole_csrf"]
    page.http.cookies.delete("maycole_csrf")
    page.http.cookies.set("maycole_csrf", theirs)
    problem(await page.refresh(theirs), 403, "csrf_failed")


async def test_it_must_be_in_the_cookie_and_in_the_header(page: Page) -> None:
    csrf = page.http.cookies["maycole_csrf"]
    page.http.cookies.delete("maycole_csrf")
    problem(await page.refresh(csrf), 403, "csrf_failed")


async def test_what_is_no_browser_needs_the_csrf_token_alone(page: Page) -> None:
    assert (await page.refresh(Origin="")).status_code == 200


async def test_without_a_cookie_there_is_nothing_to_renew(browser: Callable[[], Page]) -> None:
    page = browser()
    problem(await page.post("/auth/refresh", {"mode": "cookie"}), 401, "no_token")
    missing = problem(await page.post("/auth/refresh", {}), 422, "invalid")
    assert missing["errors"][0]["pointer"] == "/refreshToken"


async def test_the_cookie_opens_nothing_but_the_refresh(page: Page) -> None:
    problem(await page.post("/auth/logout"), 401, "no_token")
    problem(await page.post("/teams", {"name": "By cookie"}), 401, "no_token")


async def test_signing_out_takes_the_cookies_away(page: Page) -> None:
    assert page.first is not None
    access = page.first.json()["data"]["accessToken"]
    left = await page.post("/auth/logout", Authorization=f"Bearer {access}")
    assert left.status_code == 204
    lines = [line.lower() for line in left.headers.get_list("set-cookie")]
    assert len(lines) == 2
    assert all("max-age=0" in line for line in lines)
    assert not page.http.cookies


async def test_a_new_secret_signs_no_page_out(page: Page, rotate: Any) -> None:
    rotate("a secret that has just been put in place", SECRET)
    assert (await page.refresh()).status_code == 200
