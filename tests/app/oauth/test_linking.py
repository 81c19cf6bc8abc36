"""Whose account it is: who comes from a provider gets their own account, and nobody else's."""

import asyncio
from typing import Any

import httpx
import pytest

from domain import db
from tests.app import mailing
from tests.app.company import bare, problem
from tests.app.mailing import kinds, mail_of, post, settled, token_of
from tests.app.signing_in import login
from tests.doubles.browser import PUBLIC_URL, changed, fragment, parameters
from tests.doubles.world import World
from tests.factories import PASSWORD, Api, Person
from tests.mailbox import Mailbox, text


async def verified(person: Person) -> Person:
    await db.execute("UPDATE users SET email_verified_at = now() WHERE id = $1", person.id)
    return person


async def registered(api: Api, email: str) -> httpx.Response:
    body = {"email": email, "password": PASSWORD, "name": "Ann"}
    return await api.call("POST", "/auth/register", json=body)


async def identities(api: Api, token: str) -> list[dict[str, Any]]:
    data: list[dict[str, Any]] = (await api.call("GET", "/auth/identities", token=token)).json()["data"]
    return data


async def trail(person: Person) -> list[tuple[str, str, str | None]]:
    rows = (await person.get("/audit-logs?limit=100")).json()["data"]
    return [(row["action"], row["outcome"], row["metadata"].get("reason")) for row in rows]


def who(answer: httpx.Response) -> str:
    assert answer.status_code == 200, answer.text
    user: str = answer.json()["data"]["user"]["id"]
    return user


async def test_who_comes_again_comes_to_the_same_account_whatever_their_address_is_now(
    here: World, email: str
) -> None:
    here.google.is_at(email=email, email_verified=True, name="Pat")
    first = await here.browser().sign_in("google")
    here.google.person |= {"email": f"new-{email}", "email_verified": False, "name": "Other"}
    again = await here.browser().sign_in("google")
    assert who(again) == who(first)
    assert again.json()["data"]["user"]["email"] == email, "the account's own address is another matter"


async def test_of_two_who_are_new_at_once_with_one_identity_one_account_is_made(
    here: World, email: str
) -> None:
    here.google.is_at(email=email, email_verified=True)
    answers = await asyncio.gather(*(here.browser().sign_in("google") for _ in range(4)))
    assert len({who(answer) for answer in answers}) == 1


async def test_the_same_subject_at_two_providers_is_two_people(here: World, email: str) -> None:
    here.google.is_at(sub="1", email=email, email_verified=True)
    here.acme.is_at(sub="1", email=f"x{email}", email_verified=True)
    assert who(await here.browser().sign_in("google")) != who(await here.browser().sign_in("acme"))


@pytest.mark.parametrize("said", [False, None, "false", 1, "yes", "True", [True]])
async def test_an_address_that_the_provider_has_not_verified_makes_no_account(
    here: World, email: str, said: object
) -> None:
    here.google.is_at(email=email, **({} if said is None else {"email_verified": said}))
    problem(await here.browser().sign_in("google"), 403, "email_not_verified")
    assert not await db.fetchval("SELECT count(*) FROM users WHERE email = $1", email)


@pytest.mark.parametrize(
    "address", ["x", "a@b@c", "a b@example.org", "a\0@example.org", "x" * 300 + "@a.bc", 7, None]
)
async def test_what_is_no_address_makes_no_account(here: World, address: object) -> None:
    here.google.is_at(email=address, email_verified=True)
    problem(await here.browser().sign_in("google"), 403, "email_not_verified")


async def test_an_account_that_was_made_with_a_strangers_address_is_not_entered_by_the_stranger(
    here: World, api: Api
) -> None:
    """Pre-hijacking: the attacker registers first and waits for the owner of the address to come."""
    attacker = await api.person("Eve")
    here.google.is_at(email=attacker.email, email_verified=True)
    problem(await here.browser().sign_in("google"), 409, "account_exists")
    assert await identities(api, attacker.token) == []
    assert ("auth.oauth_refused", "denied", "account_exists") in await trail(attacker)


async def test_an_identity_with_a_strangers_unverified_address_does_not_enter_their_account(
    here: World, api: Api
) -> None:
    """The other way round: the attacker's account at the provider has the owner's address."""
    ann = await verified(await api.person())
    here.google.is_at(email=ann.email, email_verified=False)
    problem(await here.browser().sign_in("google"), 403, "email_not_verified")
    here.github.is_at("eve", (ann.email, True, False), ("eve@example.org", False, True))
    problem(await here.browser().sign_in("github"), 403, "email_not_verified")
    assert await identities(api, ann.token) == []
    assert "auth.oauth_refused" not in {action for action, *_ in await trail(ann)}, "anybody could fill it"


async def test_who_registers_the_address_of_a_provider_account_later_gets_nothing(
    here: World, api: Api, email: str
) -> None:
    here.google.is_at(email=email, email_verified=True)
    await here.browser().sign_in("google")
    problem(await registered(api, email.upper()), 409, "email_taken")
    problem(await login(api, email), 401, "wrong_credentials")


async def test_an_account_with_a_verified_address_is_entered_and_linked(here: World, api: Api) -> None:
    ann = await verified(await api.person())
    here.google.is_at(email=ann.email.upper(), email_verified="true")
    assert who(await here.browser().sign_in("google")) == ann.id
    [identity] = await identities(api, ann.token)
    assert (identity["provider"], identity["email"]) == ("google", ann.email.upper())
    assert set(identity) == {"id", "provider", "email", "createdAt", "lastUsedAt"}
    assert ("auth.identity_linked", "success", None) in await trail(ann)
    assert (await login(api, ann.email)).status_code == 200


async def test_an_address_that_only_looks_alike_opens_nothing(here: World, api: Api, email: str) -> None:
    email = f"k{email}"
    user = (await registered(api, email)).json()["data"]
    await db.execute("UPDATE users SET email_verified_at = now() WHERE id = $1", user["user"]["id"])
    kelvin = f"\u212a{email[1:]}"
    assert await db.fetchval("SELECT $1::citext = $2::citext", kelvin, email), "the database takes it for a k"
    here.google.is_at(email=kelvin, email_verified=True)
    problem(await here.browser().sign_in("google"), 403, "email_not_verified")  # it is no address here
    assert await identities(api, user["accessToken"]) == []


async def test_a_disabled_account_is_refused_in_the_words_of_any_failure(
    here: World, api: Api, email: str
) -> None:
    here.google.is_at(email=email, email_verified=True)
    user_id = who(await here.browser().sign_in("google"))
    await db.execute("UPDATE users SET disabled_at = now() WHERE id = $1", user_id)
    refused = await here.browser().sign_in("google")
    browser = here.browser()
    state = parameters(await browser.start("google"))["state"]
    callback = f"{PUBLIC_URL}/api/auth/oauth/google/callback"
    other = await browser.open(changed(callback, state=state, error="server_error"))
    assert bare(refused) == bare(other)
    here.google.is_at(email=email, email_verified=True)
    assert bare(await here.browser().sign_in("google")) == bare(other), "another identity, the same account"
    action = "SELECT count(*) FROM audit_logs WHERE action = 'auth.login_failed' AND resource = $1"
    assert await db.fetchval(action, user_id) == 2


async def test_only_githubs_primary_and_verified_address_counts(here: World, api: Api, email: str) -> None:
    for addresses in ([(email, False, True)], [(email, True, False)], []):
        here.github.is_at("pat", *addresses)
        problem(await here.browser().sign_in("github"), 403, "email_not_verified")
    here.github.is_at("pat", (f"x{email}", False, True), (email, True, True), number=1)
    first = await here.browser().sign_in("github")
    user = first.json()["data"]["user"]
    assert (user["email"], user["name"]) == (email, "pat")
    await db.execute("DELETE FROM oauth_identities WHERE user_id = $1", user["id"])


async def test_a_login_at_github_that_somebody_else_has_taken_is_somebody_else(
    here: World, email: str
) -> None:
    here.github.is_at("pat", (email, True, True))
    first = who(await here.browser().sign_in("github"))
    here.github.is_at("pat", (f"x{email}", True, True))
    assert who(await here.browser().sign_in("github")) != first


async def test_linking_needs_somebody_signed_in_whose_address_is_verified(here: World, api: Api) -> None:
    ann = await api.person()
    body = {"returnTo": "/"}
    problem(await api.call("POST", "/auth/oauth/github/link", json=body), 401, "no_token")
    problem(await ann.post("/auth/oauth/github/link", body), 403, "email_not_verified")
    await verified(ann)
    assert (await ann.post("/auth/oauth/github/link", body)).status_code == 200


async def test_an_identity_is_linked_in_the_browser_that_asked_for_it_and_in_no_other(
    here: World, api: Api, email: str
) -> None:
    """Otherwise whoever is sent such an address gives their own identity to the sender's account."""
    eve = await verified(await api.person("Eve"))
    attacker, victim = here.browser(), here.browser()
    here.github.is_at("victim", (email, True, True))
    address = await attacker.linking("github", eve.token)
    back = await victim.at_provider(address)
    problem(await victim.open(back), 401, "invalid_oauth_state")
    assert await identities(api, eve.token) == []
    assert fragment(await attacker.open(back)) == {"linked": "github"}


async def test_an_identity_of_one_account_is_not_linked_to_another(here: World, api: Api, email: str) -> None:
    here.github.is_at("pat", (email, True, True))
    owner = who(await here.browser().sign_in("github"))
    eve = await verified(await api.person("Eve"))
    assert fragment(await here.browser().link("github", eve.token)) == {"error": "identity_taken"}
    assert who(await here.browser().sign_in("github")) == owner
    assert ("auth.oauth_refused", "denied", "identity_taken") in await trail(eve)


async def test_who_signed_out_meanwhile_links_nothing(here: World, api: Api, email: str) -> None:
    ann = await verified(await api.person())
    here.github.is_at("pat", (email, True, True))
    browser = here.browser()
    back = await browser.at_provider(await browser.linking("github", ann.token))
    await ann.post("/auth/logout")
    assert fragment(await browser.open(back)) == {"error": "session_over"}
    assert not await db.fetchval("SELECT count(*) FROM oauth_identities WHERE user_id = $1", ann.id)


async def test_identities_are_their_owners_alone(here: World, api: Api) -> None:
    ann, eve = await verified(await api.person()), await api.person("Eve")
    here.google.is_at(email=ann.email, email_verified=True)
    await here.browser().sign_in("google")
    [identity] = await identities(api, ann.token)
    assert await identities(api, eve.token) == []
    absent = await eve.delete("/auth/identities/oid_00000000000000000000000000")
    assert bare(await eve.delete(f"/auth/identities/{identity['id']}")) == bare(absent)
    assert len(await identities(api, ann.token)) == 1
    assert (await ann.delete(f"/auth/identities/{identity['id']}")).status_code == 204
    assert await identities(api, ann.token) == []
    assert ("auth.identity_unlinked", "success", None) in await trail(ann)


async def test_a_list_of_many_identities_has_pages_and_an_end(here: World, api: Api) -> None:
    ann = await verified(await api.person())
    for number in range(20):
        here.google.is_at(sub=f"{ann.id}-{number}", email=f"{number}@example.org", email_verified=True)
        assert fragment(await here.browser().link("google", ann.token)) == {"linked": "google"}
    here.google.is_at(email="one-more@example.org", email_verified=True)
    assert fragment(await here.browser().link("google", ann.token)) == {"error": "too_many_identities"}
    here.google.is_at(sub=f"{ann.id}-own", email=ann.email, email_verified=True)
    problem(await here.browser().sign_in("google"), 409, "too_many_identities")
    first = (await ann.get("/auth/identities?limit=15")).json()
    rest = (await ann.get(f"/auth/identities?limit=15&cursor={first['nextCursor']}")).json()
    assert (len(first["data"]), len(rest["data"]), rest["nextCursor"]) == (15, 5, None)


async def test_of_two_last_ways_in_that_are_taken_away_at_once_one_stays(
    here: World, api: Api, email: str
) -> None:
    for attempt in range(5):
        here.google.is_at(email=f"{attempt}{email}", email_verified=True)
        token = (await here.browser().sign_in("google")).json()["data"]["accessToken"]
        here.github.is_at("pat", (f"{attempt}x{email}", True, True))
        assert fragment(await here.browser().link("github", token)) == {"linked": "github"}
        both = await identities(api, token)
        answers = await asyncio.gather(
            *(api.call("DELETE", f"/auth/identities/{one['id']}", token=token) for one in both)
        )
        assert sorted(answer.status_code for answer in answers) == [204, 409]
        assert len(await identities(api, token)) == 1


async def test_an_identity_that_was_linked_is_told_and_can_be_taken_away(
    here: World, api: Api, mailbox: Mailbox, email: str
) -> None:
    ann = await verified(await api.person())
    here.github.is_at("thief", (email, True, True))
    assert fragment(await here.browser().link("github", ann.token)) == {"linked": "github"}
    assert "an account at github" in text(await mail_of(mailbox, ann.email, "added"))
    here.google.is_at(email=ann.email, email_verified=True)
    assert who(await here.browser().sign_in("google")) == ann.id
    await mail_of(mailbox, ann.email, "added", 2)
    token = await token_of(mailbox, ann.email, "added")
    assert (await post(api, "/auth/ways-in/undo", token=token)).status_code == 204
    left = await db.fetch("SELECT provider FROM oauth_identities WHERE user_id = $1", ann.id)
    assert [row["provider"] for row in left] == ["google"]
    assert who(await here.browser().sign_in("github")) != ann.id
    assert {"auth.way_in_undone", "auth.identity_unlinked"} <= set(await mailing.trail(ann.id))


async def test_who_comes_for_the_first_time_is_told_of_nothing(
    here: World, mailbox: Mailbox, email: str
) -> None:
    here.google.is_at(email=email, email_verified=True)
    assert (await here.browser().sign_in("google")).status_code == 200
    await settled()
    assert kinds(mailbox, email) == []
