"""A sign-in from somewhere new is told to the owner; so is what happens to an account."""

from typing import Any

import httpx
import pytest

from channels.gate import Gate
from domain import db
from domain.actor import Actor
from domain.auth import credentials, devices
from domain.auth import post as posted
from domain.auth.devices import _network
from domain.auth.tokens import Claims
from tests.app.company import problem
from tests.app.mailing import a_minute_later, kinds, mail_of, post, settled, token_of, trail
from tests.app.signing_in import login, refresh, signed_in
from tests.conftest import Served
from tests.factories import PASSWORD, Api, Person
from tests.listener import Listeners
from tests.mailbox import Mailbox, text

PHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) AppleWebKit/605 Version/17.0 Safari/604"


async def login_with(api: Api, person: Person, agent: str) -> dict[str, Any]:
    answer = await api.call(
        "POST",
        "/auth/login",
        json={"email": person.email, "password": PASSWORD},
        headers={"User-Agent": agent},
    )
    data: dict[str, Any] = answer.json()["data"]
    return data


async def test_a_sign_in_from_a_new_device_can_be_disowned(
    api: Api, url: str, mailbox: Mailbox, listeners: Listeners
) -> None:
    ann = await api.person()
    thief = await login_with(api, ann, PHONE)
    mail = await mail_of(mailbox, ann.email, "device")
    assert "with Safari on iPhone, from 127.0.0.1" in " ".join(text(mail).split())
    screen = await listeners(url, thief["accessToken"])
    token = await token_of(mailbox, ann.email, "device")
    assert (await post(api, "/auth/sessions/disown", token=token)).status_code == 204
    await screen.until(lambda: ("disconnected", 3500) in screen.said)
    assert [await signed_in(api, each) for each in (thief["accessToken"], ann.token)] == [False, True]
    problem(await refresh(api, thief["refreshToken"]), 401, "invalid_refresh_token")
    problem(await post(api, "/auth/sessions/disown", token=token), 422, "link_invalid")
    assert {"auth.session_disowned", "auth.session_revoked"} <= set(await trail(ann.id))


async def test_the_first_session_and_a_known_device_are_no_news(api: Api, mailbox: Mailbox) -> None:
    ann = await api.person()
    await login(api, ann.email)
    await login_with(api, ann, PHONE)
    await login_with(api, ann, PHONE)
    await settled()
    assert kinds(mailbox, ann.email).count("device") == 1


async def test_whoever_was_disowned_is_told_of_again_when_they_come_back(api: Api, mailbox: Mailbox) -> None:
    ann = await api.person()
    await login_with(api, ann, PHONE)
    token = await token_of(mailbox, ann.email, "device")
    assert (await post(api, "/auth/sessions/disown", token=token)).status_code == 204
    await a_minute_later()
    await login_with(api, ann, PHONE)
    await mail_of(mailbox, ann.email, "device", 2)


@pytest.mark.parametrize("reason", devices._NOT_REMEMBERED)
async def test_what_ended_because_of_somebody_else_makes_no_device_known(
    api: Api, mailbox: Mailbox, reason: str
) -> None:
    ann = await api.person()
    await db.execute(
        "UPDATE user_sessions SET revoked_at = now(), revoked_reason = $2 WHERE user_id = $1", ann.id, reason
    )
    await login(api, ann.email)
    await mail_of(mailbox, ann.email, "device")


async def test_a_device_that_was_not_seen_for_90_days_is_new(api: Api, mailbox: Mailbox) -> None:
    ann = await api.person()
    await db.execute(
        "UPDATE user_sessions SET last_seen_at = now() - interval '91 days' WHERE user_id = $1", ann.id
    )
    await login(api, ann.email)
    await mail_of(mailbox, ann.email, "device")


async def test_nor_is_an_old_account_without_sessions_a_first_one(api: Api, mailbox: Mailbox) -> None:
    ann = await api.person()
    await db.execute("DELETE FROM user_sessions WHERE user_id = $1", ann.id)
    await login(api, ann.email)
    await settled()
    assert "device" not in kinds(mailbox, ann.email), "this one is the first"
    await db.execute("DELETE FROM user_sessions WHERE user_id = $1", ann.id)
    await db.execute("UPDATE users SET created_at = now() - interval '91 days' WHERE id = $1", ann.id)
    await login(api, ann.email)
    await mail_of(mailbox, ann.email, "device")


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("203.0.113.7", "203.0.113.200", True),
        ("203.0.113.7", "203.0.114.7", False),
        ("2001:db8:0:1::1", "2001:db8:0:1:ffff::2", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        (None, "203.0.113.7", False),
        ("a socket", "a socket", True),
    ],
)
def test_networks_are_compared_not_addresses(one: str | None, other: str, same: bool) -> None:
    assert (_network(one) == _network(other)) is same


async def test_ipv4_in_ipv6_is_the_same_place_to_sessions_devices_and_counters(
    api: Api, served: Served, mailbox: Mailbox
) -> None:
    """As a server says it that listens on both at one socket."""
    ann = await api.person()
    transport = httpx.ASGITransport(served.app, client=("::ffff:127.0.0.1", 1))  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url=served.url) as http:
        await login(Api(http), ann.email)
    seen = await db.fetch("SELECT DISTINCT ip FROM user_sessions WHERE user_id = $1", ann.id)
    assert [row["ip"] for row in seen] == ["127.0.0.1"]
    said = await db.fetch(
        "SELECT DISTINCT ip FROM audit_logs WHERE team_id = $1 AND action = 'auth.logged_in'",
        ann.personal_team_id,
    )
    assert [row["ip"] for row in said] == ["127.0.0.1"]
    await settled()
    assert "device" not in kinds(mailbox, ann.email)


async def test_so_it_is_to_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    async def introduced(token: str, nobody: Actor) -> Claims:
        seen.append(nobody.ip)
        return Claims("", token, 0)

    monkeypatch.setattr(credentials, "introduced", introduced)
    for host in ("::ffff:203.0.113.7", "203.0.113.7", "2001:db8::1", "a socket"):
        await Gate().claims("token", {"client": (host, 1), "headers": []})
    assert seen == ["203.0.113.7", "203.0.113.7", "2001:db8::1", "a socket"]


@pytest.mark.parametrize(
    "agent",
    [None, "", "Go to https://evil.example now", "<script>alert(1)</script>", "x\r\nBcc: eve@x.example"],
)
def test_what_a_program_calls_itself_is_not_repeated(agent: str | None) -> None:
    assert posted.program(agent) == "a program that we do not know"


def test_programs_are_named_in_words_of_ours() -> None:
    assert posted.program("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Firefox/140.0") == "Firefox on Linux"
    chrome = "Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 Chrome/140.0 Safari/537.36"
    assert posted.program(chrome) == "Chrome on Windows"
    assert posted.program(f"{chrome} Edg/140.0") == "Edge on Windows"


async def test_a_refresh_token_that_comes_twice_is_told_to_the_owner(api: Api, mailbox: Mailbox) -> None:
    ann = await api.person()
    first = (await refresh(api, ann.refresh_token)).json()["data"]["refreshToken"]
    await refresh(api, first)
    problem(await refresh(api, ann.refresh_token), 401, "invalid_refresh_token")
    await mail_of(mailbox, ann.email, "reused")


async def test_who_is_shut_out_and_let_in_again_is_told(api: Api, mailbox: Mailbox) -> None:
    ann, boss = await api.person(), await api.person("Boss")
    await db.execute("UPDATE users SET is_staff = true WHERE id = $1", boss.id)
    for disabled in (True, True, False):
        await boss.patch(f"/users/{ann.id}", {"disabled": disabled})
    await mail_of(mailbox, ann.email, "enabled")
    await settled()
    assert kinds(mailbox, ann.email)[-2:] == ["disabled", "enabled"]
