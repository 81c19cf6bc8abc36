"""Where a browser ends up is a page of ours or of an allowed origin, whatever the address looks like."""

from urllib.parse import quote

import pytest

from tests.app.company import problem
from tests.conftest import ORIGIN
from tests.doubles.browser import PUBLIC_URL
from tests.doubles.world import World
from tests.factories import Api

START = f"{PUBLIC_URL}/api/auth/oauth/google/start"
GOOD = {
    "/": f"{PUBLIC_URL}/",
    "/a/b?c=d&e=%2Ff": f"{PUBLIC_URL}/a/b?c=d&e=%2Ff",
    "/@evil.example": f"{PUBLIC_URL}/@evil.example",
    "/%2f%2fevil.example": f"{PUBLIC_URL}/%2f%2fevil.example",
    ORIGIN: ORIGIN,
    f"{ORIGIN}/": f"{ORIGIN}/",
    f"{ORIGIN}?x=1": f"{ORIGIN}?x=1",
    f"{ORIGIN}/deep/down?x=https://evil.example": f"{ORIGIN}/deep/down?x=https://evil.example",
    f"{PUBLIC_URL}/page": f"{PUBLIC_URL}/page",
}
EVIL = [
    "", "x", "evil.example", "//evil.example", "///evil.example", "/\\evil.example", "\\\\evil.example",
    "/\\/evil.example", "\\/evil.example", "//evil.example/%2f..", "https://evil.example",
    "http:evil.example",
    "https:/evil.example", "https:evil.example", f"{ORIGIN}.evil.example", f"{ORIGIN}@evil.example",
    f"{ORIGIN}:x@evil.example", f"{ORIGIN}:444/", f"{ORIGIN}\\.evil.example", f"{ORIGIN}\\@evil.example",
    f"{ORIGIN}%40evil.example", f"{ORIGIN}%2eevil.example", f"{ORIGIN}#@evil.example", f"{ORIGIN}/#x", "/#x",
    f"{PUBLIC_URL}.evil.example", f"{PUBLIC_URL}@evil.example", f"https://evil.example/{ORIGIN}",
    f"https://evil.example?{ORIGIN}", f"https://evil.example#{ORIGIN}", f"https://evil.example@{ORIGIN[8:]}",
    ORIGIN.replace("https", "http"), ORIGIN.upper(), ORIGIN[8:], f" {ORIGIN}", f"{ORIGIN} ", f"\t{ORIGIN}",
    "javascript:alert(1)", "JaVaScRiPt:alert(1)", "java\nscript:alert(1)", f"javascript://{ORIGIN[8:]}/%0aalert(1)",
    "data:text/html,x", "file:///etc/passwd", "vbscript:x", "blob:https://app.example/x", "about:blank",
    "/\r\nSet-Cookie: x=1", f"{ORIGIN}/\r\nX: y", "/\tx", "/\n/evil.example", "/\x01", "/\x7f",
    "/ü", "/\u2028",
    "/\u2215evil.example", "\u2215\u2215evil.example", "https://app\u3002example", "%2f%2fevil.example",
    "%68ttps://evil.example", "https%3a%2f%2fevil.example", "/<script>", '/"x', "/`x", "*", "null", ".", "..",
    ".evil.example", "@evil.example", ":evil.example", "?x", "#x", "https://", "https://@", "https://[::1",
    "x" * 2001,
]  # fmt: skip


@pytest.mark.parametrize("page", GOOD)
async def test_a_page_of_ours_or_of_an_allowed_origin_is_where_it_ends(
    here: World, page: str, email: str
) -> None:
    here.google.is_at(email=email, email_verified=True)
    sent = await here.browser().sign_in("google", page)
    assert sent.headers["Location"].startswith(f"{GOOD[page]}#code=")


async def test_no_other_page_is(here: World, api: Api) -> None:
    ann = await api.person()
    browser = here.browser()
    for page in EVIL:
        answer = await browser.open(f"{START}?returnTo={quote(page, safe='')}")
        assert answer.status_code == 422, (page, answer.status_code)
        assert answer.json()["code"] in ("invalid_return_to", "invalid"), page
        linked = await ann.post("/auth/oauth/google/link", {"returnTo": page})
        assert linked.status_code == 422, page
    assert browser.set_cookies == []
    problem(await browser.open(f"{START}?returnTo=%00"), 400, "nul_character")
    assert here.google.asked.total() == 0
