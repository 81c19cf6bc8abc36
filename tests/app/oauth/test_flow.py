"""There and back: what a flow needs, and all that is not this flow, in this browser, once."""

import asyncio
import json
import logging

import pytest

from app.adapters.outgoing import Outgoing
from domain import crypto, db
from tests.app.company import problem
from tests.app.signing_in import signed_in
from tests.conftest import ORIGIN
from tests.doubles.browser import PUBLIC_URL, changed, fragment, parameters
from tests.doubles.world import World
from tests.factories import Api

COOKIE = "__Host-maycole_oauth"


async def test_somebody_new_signs_in_and_has_an_account_whose_address_is_verified(
    here: World, api: Api, email: str
) -> None:
    here.google.is_at(email=email, email_verified=True, name="Pat")
    answer = await here.browser().sign_in("google")
    assert answer.status_code == 200, answer.text
    data = answer.json()["data"]
    assert set(data) == {"user", "accessToken", "refreshToken", "expiresIn", "sessionId"}
    assert (data["user"]["email"], data["user"]["name"]) == (email, "Pat")
    assert data["user"]["emailVerifiedAt"] is not None
    [session] = (await api.call("GET", "/auth/sessions", token=data["accessToken"])).json()["data"]
    assert session["amr"] == ["oauth", "google"]
    assert (
        await api.call("GET", f"/teams/{data['user']['personalTeamId']}", token=data["accessToken"])
    ).json()["data"]["personal"]


async def test_a_page_gets_a_code_in_the_fragment_and_exchanges_it_once_in_its_browser(
    here: World, api: Api, email: str
) -> None:
    here.google.is_at(email=email, email_verified=True)
    browser, other = here.browser(), here.browser()
    sent = await browser.sign_in("google", "/welcome?x=1")
    assert sent.headers["Location"].startswith(f"{PUBLIC_URL}/welcome?x=1#code=")
    assert "accessToken" not in sent.text
    code = fragment(sent)["code"]
    problem(await other.exchange(code), 401, "invalid_oauth_code")
    other.cookies = {COOKIE: "x" * 43}
    problem(await other.exchange(code), 401, "invalid_oauth_code")
    kept = dict(browser.cookies)
    answer = await browser.exchange(code)
    assert await signed_in(api, answer.json()["data"]["accessToken"])
    assert COOKIE not in browser.cookies, "it has done its work"
    browser.cookies = kept
    problem(await browser.exchange(code), 401, "invalid_oauth_code")


async def test_of_all_who_exchange_one_code_at_once_one_is_signed_in(here: World, email: str) -> None:
    here.google.is_at(email=email, email_verified=True)
    browser = here.browser()
    code = fragment(await browser.sign_in("google", "/"))["code"]
    answers = await asyncio.gather(*(browser.exchange(code) for _ in range(6)))
    assert sorted(answer.status_code for answer in answers) == [200, *[401] * 5]


async def test_in_cookie_mode_the_refresh_token_is_in_a_cookie_here_too(here: World, email: str) -> None:
    here.google.is_at(email=email, email_verified=True)
    browser = here.browser()
    code = fragment(await browser.sign_in("google", "/"))["code"]
    answer = await browser.exchange(code, mode="cookie")
    assert "refreshToken" not in answer.json()["data"]
    assert browser.cookies["maycole_refresh"].startswith("mrt_")


async def test_a_code_that_is_a_minute_old_is_worth_nothing(here: World, email: str) -> None:
    here.google.is_at(email=email, email_verified=True)
    browser = here.browser()
    code = fragment(await browser.sign_in("google", "/"))["code"]
    await db.execute("UPDATE one_time_tokens SET expires_at = now() WHERE purpose = 'oauth_code'")
    problem(await browser.exchange(code), 401, "invalid_oauth_code")


async def test_what_goes_to_the_provider_has_pkce_a_nonce_and_a_state_and_the_cookie_is_for_us_alone(
    here: World,
) -> None:
    browser = here.browser()
    asked = parameters(await browser.start("google"))
    assert asked["code_challenge_method"] == "S256"
    assert len(asked["code_challenge"]) == 43
    assert asked["redirect_uri"] == f"{PUBLIC_URL}/api/auth/oauth/google/callback"
    assert (asked["response_type"], asked["scope"]) == ("code", "openid email profile")
    again = parameters(await browser.start("google"))
    for name in ("state", "nonce", "code_challenge"):
        assert len(asked[name]) >= 32
        assert asked[name] != again[name]
    [first, _] = browser.set_cookies
    name, *attributes = first.split("; ")
    assert name.startswith(f"{COOKIE}=")
    assert {part.lower() for part in attributes} == {
        "httponly",
        "secure",
        "samesite=lax",
        "path=/",
        "max-age=600",
    }
    assert asked["state"] not in first


@pytest.mark.parametrize("state", ["", None, "x", "x" * 43, "' OR 1=1 --", "ü" * 20, "x" * 201])
async def test_a_state_that_is_missing_or_made_up_is_refused(
    here: World, state: str | None, email: str
) -> None:
    here.google.is_at(email=email, email_verified=True)
    browser = here.browser()
    back = await browser.at_provider(await browser.start("google"))
    answer = await browser.open(changed(back, state=state))
    assert answer.status_code in (401, 422), answer.text
    assert here.google.asked["/token"] == 0, "the code of nobody's flow goes nowhere"
    assert (await browser.open(back)).status_code == 200, "the flow itself is unharmed"


async def test_a_state_is_good_once(here: World, email: str) -> None:
    here.google.is_at(email=email, email_verified=True)
    browser = here.browser()
    back = await browser.at_provider(await browser.start("google"))
    kept = dict(browser.cookies)
    answers = await asyncio.gather(*(browser.open(back) for _ in range(5)))
    assert sorted(answer.status_code for answer in answers) == [200, *[401] * 4]
    browser.cookies = kept
    problem(await browser.open(back), 401, "invalid_oauth_state")


async def test_a_state_from_another_browser_is_refused_and_not_used_up(here: World, email: str) -> None:
    here.google.is_at(email=email, email_verified=True)
    victim, attacker = here.browser(), here.browser()
    trap = await attacker.at_provider(await attacker.start("google"))
    problem(await victim.open(trap), 401, "invalid_oauth_state")
    await victim.start("google")
    problem(await victim.open(trap), 401, "invalid_oauth_state")
    assert (await attacker.open(trap)).status_code == 200


async def test_a_state_that_is_ten_minutes_old_is_refused(here: World, email: str) -> None:
    here.google.is_at(email=email, email_verified=True)
    browser = here.browser()
    back = await browser.at_provider(await browser.start("google"))
    await db.execute("UPDATE one_time_tokens SET expires_at = now() WHERE purpose = 'oauth_state'")
    problem(await browser.open(back), 401, "invalid_oauth_state")


async def test_a_code_from_another_flow_does_not_fit_the_verifier(here: World, email: str) -> None:
    here.google.is_at(email=email, email_verified=True)
    victim, attacker = here.browser(), here.browser()
    stolen = parameters(await victim.at_provider(await victim.start("google")))["code"]
    own = await attacker.at_provider(await attacker.start("google"))
    problem(await attacker.open(changed(own, code=stolen)), 401, "oauth_failed")


async def test_a_code_is_good_once_at_the_provider_and_its_answer_is_not_repeated(
    here: World, email: str
) -> None:
    here.google.is_at(email=email, email_verified=True)
    browser = here.browser()
    used = await browser.at_provider(await browser.start("google"))
    assert (await browser.open(used)).status_code == 200
    again = await browser.at_provider(await browser.start("google"))
    code = parameters(used)["code"]
    refused = await browser.open(changed(again, code=code))
    problem(refused, 401, "oauth_failed")
    assert code not in refused.text


async def test_an_answer_of_one_provider_is_not_taken_for_anothers(here: World, email: str) -> None:
    here.acme.is_at(email=email, email_verified=True)
    browser = here.browser()
    back = await browser.at_provider(await browser.start("acme"))
    problem(await browser.open(back.replace("/acme/", "/google/")), 401, "invalid_oauth_state")
    assert here.google.asked["/token"] == 0, "the code was not given away"


async def test_who_answers_must_be_who_was_asked_where_the_answer_says_who(here: World, email: str) -> None:
    here.google.is_at(email=email, email_verified=True)
    here.google.says_who = True
    assert (await here.browser().sign_in("google")).status_code == 200
    for wrong in (here.acme.url, f"{here.google.url}/", "", None):
        browser = here.browser()
        back = await browser.at_provider(await browser.start("google"))
        asked = here.google.asked["/token"]
        problem(await browser.open(changed(back, iss=wrong)), 401, "oauth_failed")
        assert here.google.asked["/token"] == asked, "the code was not given away"
    here.github.is_at("pat", (email, True, True))
    browser = here.browser()
    back = await browser.at_provider(await browser.start("github"))
    problem(await browser.open(changed(back, iss=here.acme.url)), 401, "oauth_failed")


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        ("access_denied", 403, "oauth_denied"),
        ("server_error", 401, "oauth_failed"),
        (None, 401, "oauth_failed"),
    ],
)
async def test_somebody_who_is_not_let_through_comes_back_with_a_reason(
    here: World, error: str | None, status: int, code: str
) -> None:
    for landing in (None, f"{ORIGIN}/done"):
        browser = here.browser()
        state = parameters(await browser.start("google", landing))["state"]
        back = changed(
            f"{PUBLIC_URL}/api/auth/oauth/google/callback", state=state, error=error, error_description="<b>"
        )
        answer = await browser.open(back)
        if landing is None:
            assert "<b>" not in str(problem(answer, status, code))
        else:
            assert answer.headers["Location"] == f"{ORIGIN}/done#error={code}"
        problem(await browser.open(back), 401, "invalid_oauth_state")


async def test_a_provider_without_keys_says_so_and_an_unknown_one_is_not_there(here: World, api: Api) -> None:
    known = here.served.app.state.oauth
    health = (await api.call("GET", "/health")).json()["data"]
    assert health["status"] == "ok"
    assert health["configured"] == {
        "oauth.google": True, "oauth.github": True, "oauth.acme": True, "oauth.mock": True,
        "pwned": False, "s3": False,
    }  # fmt: skip
    for name in ("nope", "Google", "google%20", "exchange"):
        assert (await api.call("GET", f"/auth/oauth/{name}/start")).status_code == 404
    here.served.app.state.oauth = type(known)((), None, (), Outgoing())
    try:
        health = (await api.call("GET", "/health")).json()["data"]
        assert (health["status"], health["configured"]) == (
            "ok",
            {"oauth.google": False, "oauth.github": False, "pwned": False, "s3": False},
        )
        for name in ("google", "github"):
            for path in ("start", "callback"):
                answer = await api.call("GET", f"/auth/oauth/{name}/{path}")
                problem(answer, 503, f"oauth_{name}_not_configured")
    finally:
        here.served.app.state.oauth = known


async def test_no_secret_is_in_a_log_an_audit_row_an_entry_or_readable_in_a_row(
    here: World, api: Api, email: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    here.google.is_at(email=email, email_verified=True)
    browser = here.browser()
    at_provider = await browser.start("google", "/")
    back = await browser.at_provider(at_provider)
    cookie = browser.cookies[COOKIE]
    code = fragment(await browser.open(back))["code"]
    rows = str(await db.fetch("SELECT * FROM one_time_tokens"))
    user = (await browser.exchange(code)).json()["data"]["user"]
    [token] = [token for token, person in here.google.access.items() if person["email"] == email]
    identity = await db.fetchrow("SELECT * FROM oauth_identities WHERE user_id = $1", user["id"])
    assert identity is not None
    opened = crypto.opened(f"oauth_identities/{identity['id']}/tokens", identity["tokens"])
    assert json.loads(opened)["access_token"] == token, "it is what we look for"
    kept = [
        rows,
        str(dict(identity)),
        str(await db.fetch("SELECT * FROM stream_entries")),
        str(await db.fetch("SELECT * FROM audit_logs")),
        "\n".join(
            record.getMessage()
            for record in caplog.records
            # Not the test's own client; nor uvicorn's access log, which is off (only pytest listens to it).
            if record.name.partition(".")[0] not in ("httpx", "httpcore") and record.name != "uvicorn.access"
        ),
    ]
    asked = parameters(at_provider)
    for secret in (token, code, cookie, asked["state"], asked["nonce"], parameters(back)["code"]):
        assert [text.splitlines() for text in kept if secret in text] == []


async def test_beginning_in_vain_fills_no_table(here: World) -> None:
    browser = here.browser()
    for _ in range(5):
        await browser.start("google")
    await db.execute("UPDATE one_time_tokens SET expires_at = now() WHERE purpose LIKE 'oauth%'")
    for _ in range(5):  # each takes some away
        await browser.start("google")
    left = await db.fetchval(
        "SELECT count(*) FROM one_time_tokens WHERE purpose LIKE 'oauth%' AND expires_at <= now()"
    )
    assert left == 0
