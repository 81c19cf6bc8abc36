"""A provider that is slow, broken or hostile: a clean refusal, never a failure of ours."""

import asyncio
from collections.abc import Awaitable, Callable

import msgspec
import pytest

from app.adapters import oauth_http
from tests.app.company import problem
from tests.doubles.asgi import Answer, Asked
from tests.doubles.browser import fragment
from tests.doubles.world import World

DISCOVERY = "/.well-known/openid-configuration"
HUGE = b'{"x": "' + b"x" * oauth_http.ANSWER_BYTES_MAX + b'"}'
WRONG = {
    "500": Answer({"error": "server_error"}, 500),
    "503 with a page": Answer(b"<html>sorry</html>", 503, {"content-type": "text/html"}),
    "404": Answer(b"", 404),
    "a redirect": Answer(b"", 302, {"Location": "http://127.0.0.1:1/elsewhere"}),
    "not JSON": Answer(b"<html>", 200),
    "bad UTF-8": Answer(b'{"x": "\xff\xfe"}'),
    "half of it": Answer(b'{"x": '),
    "nothing": Answer(b""),
    "a list": Answer([]),
    "text": Answer("x"),
    "null": Answer(None),
    "another shape": Answer({"keys": 7, "issuer": [], "access_token": {}, "id": "x"}),
    "huge": Answer(HUGE),
    "deep": Answer(b"[" * 100_000),
    "compressed": Answer(HUGE, headers={"content-encoding": "gzip"}),
}
# Who is asked what, on the way: provider, path.
STEPS = [
    ("google", DISCOVERY),
    ("google", "/token"),
    ("google", "/keys"),
    ("github", "/login/oauth/access_token"),
    ("github", "/user"),
    ("github", "/user/emails"),
]


def always(answer: Answer) -> Callable[[Asked], Awaitable[Answer]]:
    async def route(asked: Asked) -> Answer:
        return answer

    return route


@pytest.fixture
def someone(here: World, email: str) -> None:
    here.google.is_at(email=email, email_verified=True)
    here.github.is_at("pat", (email, True, True))


@pytest.mark.usefixtures("someone")
@pytest.mark.parametrize(("provider", "path"), STEPS)
async def test_whatever_a_provider_answers_is_a_clean_refusal(here: World, provider: str, path: str) -> None:
    double = here.google if provider == "google" else here.github
    for what, answer in WRONG.items():
        double.instead[path] = always(answer)
        browser = here.browser()
        started = await browser.open(f"https://maycole.example/api/auth/oauth/{provider}/start")
        if path == DISCOVERY:
            problem(started, 502, "oauth_failed")
            assert browser.cookies == {}, what
            continue
        refused = await browser.open(await browser.at_provider(started.headers["Location"]))
        if (path, what) == ("/user/emails", "a list"):
            problem(refused, 403, "email_not_verified")  # somebody may have none
            continue
        assert refused.status_code in (401, 502), (what, refused.text)
        problem(refused, refused.status_code, "oauth_failed")
    double.instead.clear()
    assert (await here.browser().sign_in(provider)).status_code == 200, "and works again at once"


@pytest.mark.usefixtures("someone")
async def test_a_page_is_told_by_the_code_of_the_problem(here: World) -> None:
    here.google.instead["/token"] = always(WRONG["500"])
    assert fragment(await here.browser().sign_in("google", "/")) == {"error": "oauth_failed"}


@pytest.mark.usefixtures("someone")
@pytest.mark.parametrize(("provider", "path"), STEPS)
async def test_a_provider_that_does_not_answer_is_not_waited_for(
    here: World, provider: str, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = msgspec.structs.replace(oauth_http.POLICY, within_s=0.3)
    monkeypatch.setattr(here.served.app.state.oauth.find(provider).dependency, "policy", short)
    over = asyncio.Event()

    async def hang(asked: Asked) -> Answer:
        await over.wait()
        return Answer({})

    double = here.google if provider == "google" else here.github
    double.instead[path] = hang
    browser = here.browser()
    answer = await browser.open(f"https://maycole.example/api/auth/oauth/{provider}/start")
    if answer.status_code == 302:
        answer = await browser.open(await browser.at_provider(answer.headers["Location"]))
    over.set()
    problem(answer, 504, "oauth_failed")


async def test_a_provider_that_is_not_there_is_unavailable(here: World) -> None:
    here.google.discovery = {"token_endpoint": "http://127.0.0.1:1/token"}
    here.google.is_at(email="a@example.org", email_verified=True)
    problem(await here.browser().sign_in("google"), 503, "oauth_google_unavailable")


@pytest.mark.parametrize(
    "lie",
    [
        {"issuer": "https://accounts.evil.example"},
        {"issuer": None},
        {"token_endpoint": "ftp://127.0.0.1/token"},
        {"jwks_uri": "file:///etc/passwd"},
        {"authorization_endpoint": "javascript:alert(1)"},
        {"userinfo_endpoint": "//evil.example"},
    ],
)
async def test_a_discovery_document_that_is_another_issuers_or_leads_elsewhere_is_not_used(
    here: World, lie: dict[str, str | None]
) -> None:
    here.google.discovery = lie
    answer = await here.browser().open("https://maycole.example/api/auth/oauth/google/start")
    problem(answer, 502, "oauth_failed")


@pytest.mark.usefixtures("someone")
@pytest.mark.parametrize("token", ["", 7, None, "a b", "a\r\nX-Evil: 1", "ü", "x" * 9000])
async def test_an_access_token_that_is_none_is_not_used(here: World, token: object) -> None:
    here.google.grant = lambda grant: {**grant, "access_token": token}
    problem(await here.browser().sign_in("google"), 502, "oauth_failed")


@pytest.mark.usefixtures("someone")
async def test_odd_words_beside_the_token_harm_nothing(here: World) -> None:
    here.google.grant = lambda grant: {
        **grant, "refresh_token": "a\0b", "scope": "\ud800", "token_type": ["x"], "expires_in": 10**30
    }  # fmt: skip
    assert (await here.browser().sign_in("google")).status_code in (200, 502)
