"""What signing in with a provider leaves in the trail: the part of the walk that needs providers."""

from typing import Any

from domain import db
from tests.app.under_way import verified
from tests.doubles.browser import PUBLIC_URL, fragment
from tests.doubles.world import World
from tests.factories import Api

LINK = f"{PUBLIC_URL}/api/auth/oauth/google/link"


async def rows(request_id: str) -> list[dict[str, Any]]:
    found = await db.fetch("SELECT * FROM audit_logs WHERE request_id = $1", request_id)
    return [dict(row) for row in found]


async def test_the_session_that_a_code_is_exchanged_for_is_in_the_trail(here: World, email: str) -> None:
    here.google.is_at(email=email, email_verified=True)
    browser = here.browser()
    code = fragment(await browser.sign_in("google", "/welcome"))["code"]
    answer = await browser.exchange(code)
    assert answer.status_code == 200, answer.text
    data = answer.json()["data"]
    left = await rows(answer.headers["X-Request-Id"])
    assert {row["team_id"] for row in left} == {data["user"]["personalTeamId"]}
    assert {row["user_id"] for row in left} == {data["user"]["id"]}
    assert {(row["outcome"], row["ip"]) for row in left} == {("success", "127.0.0.1")}
    assert data["sessionId"] in {row["resource"] for row in left} | {row["session_id"] for row in left}


async def test_to_ask_where_to_link_leaves_no_row_and_to_come_back_does(here: World, api: Api) -> None:
    ann = await verified(await api.person())
    here.google.is_at(email=ann.email, email_verified=True)
    browser = here.browser()
    bearer = {"Authorization": f"Bearer {ann.token}"}
    asked = await browser.open(LINK, "POST", json={"returnTo": "/account"}, headers=bearer)
    assert asked.status_code == 200, asked.text
    assert await rows(asked.headers["X-Request-Id"]) == []
    linked = await browser.open(await browser.at_provider(asked.json()["data"]["url"]))
    [row] = await rows(linked.headers["X-Request-Id"])
    assert (row["action"], row["team_id"]) == ("auth.identity_linked", ann.personal_team_id)
    assert (row["outcome"], row["user_id"]) == ("success", ann.id)
