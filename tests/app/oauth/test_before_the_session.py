"""Between the provider's word and the session: a second factor is missing, an account is taken back."""

import httpx

from domain import db
from tests.app.company import problem
from tests.app.oauth.test_linking import identities, trail, who
from tests.app.second_factors import enrol, long_ago, verify
from tests.app.under_way import Meanwhile, refused, reset, verified
from tests.doubles.browser import fragment
from tests.doubles.world import World
from tests.factories import PASSWORD, Api, Person


async def asked(here: World, person: Person) -> httpx.Response:
    """They come from the provider with the address of the account, and have a second factor to show."""
    here.google.is_at(email=person.email, email_verified=True)
    return await here.browser().sign_in("google")


async def test_whoever_shows_no_second_factor_has_linked_nothing(here: World, api: Api) -> None:
    """Whoever got into a mailbox makes an account at a provider with its address, and comes this far."""
    ann = await verified(await api.person())
    app = await enrol(ann)
    token = problem(await asked(here, ann), 401, "second_factor_required")["mfaToken"]
    assert await identities(api, ann.token) == []
    problem(await verify(api, token, code=app.wrong()), 401, "wrong_code")
    assert await identities(api, ann.token) == []
    assert "auth.identity_linked" not in {action for action, *_ in await trail(ann)}


async def test_whoever_shows_it_has_linked_what_they_came_with(here: World, api: Api) -> None:
    ann = await verified(await api.person())
    app = await enrol(ann)
    token = problem(await asked(here, ann), 401, "second_factor_required")["mfaToken"]
    waits = await db.fetchval(
        "SELECT data::text FROM one_time_tokens WHERE user_id = $1 AND purpose = 'mfa'", ann.id
    )
    assert "access_token" not in waits
    assert ann.email not in waits
    assert who(await verify(api, token, code=app.code())) == ann.id
    [identity] = await identities(api, ann.token)
    assert (identity["provider"], identity["email"]) == ("google", ann.email)
    said = [action for action, *_ in await trail(ann)]
    assert {"auth.identity_linked", "auth.logged_in"} <= set(said)


async def test_a_second_step_that_no_key_opens_any_more_is_over(here: World, api: Api) -> None:
    """What is to be linked waits sealed; the key may be taken away meanwhile."""
    ann = await verified(await api.person())
    app = await enrol(ann)
    token = problem(await asked(here, ann), 401, "second_factor_required")["mfaToken"]
    await db.execute(
        """UPDATE one_time_tokens SET data = jsonb_set(data, '{linking}', '"v1.gone.AAAA"')
           WHERE user_id = $1 AND purpose = 'mfa'""",
        ann.id,
    )
    code = app.recovery_codes[0]
    problem(await verify(api, token, code=code), 401, "invalid_mfa_token")
    assert await identities(api, ann.token) == []
    again = problem(await asked(here, ann), 401, "second_factor_required")["mfaToken"]
    assert who(await verify(api, again, code=code)) == ann.id, "the code was not used up"


async def test_two_who_come_at_once_with_the_same_identity_have_linked_it_once(here: World, api: Api) -> None:
    ann = await verified(await api.person())
    app = await enrol(ann)
    here.google.is_at(email=ann.email, email_verified=True)
    tokens = [(await here.browser().sign_in("google")).json()["mfaToken"] for _ in range(2)]
    for token, code in zip(tokens, app.recovery_codes, strict=False):
        assert who(await verify(api, token, code=code)) == ann.id
    assert len(await identities(api, ann.token)) == 1


async def test_what_became_somebody_elses_meanwhile_links_nothing_and_signs_nobody_in(
    here: World, api: Api
) -> None:
    ann, ben = await verified(await api.person()), await api.person("Ben")
    app = await enrol(ann)
    token = problem(await asked(here, ann), 401, "second_factor_required")["mfaToken"]
    subject = here.google.person["sub"]
    await db.execute(
        """INSERT INTO oauth_identities (id, user_id, provider, subject, tokens, last_used_at, created_at)
           VALUES ($1, $2, 'google', $3, '', now(), now())""",
        f"oid_{ben.id}",
        ben.id,
        subject,
    )
    problem(await verify(api, token, code=app.code()), 409, "identity_taken")
    assert await identities(api, ann.token) == []
    await db.execute("DELETE FROM oauth_identities WHERE user_id = $1", ben.id)


async def test_a_new_password_meanwhile_ends_a_sign_in_from_a_provider(
    here: World, api: Api, meanwhile: Meanwhile
) -> None:
    ann = await verified(await api.person())
    meanwhile(lambda: reset(ann))
    await refused(await asked(here, ann), ann)
    left = "SELECT count(*) FROM oauth_identities WHERE user_id = $1"
    assert await db.fetchval(left, ann.id) == 0, "nor is anything linked"
    assert (await asked(here, ann)).status_code == 200
    meanwhile(lambda: reset(ann))
    problem(await asked(here, ann), 401, "wrong_credentials")


async def test_an_older_session_shows_the_password_before_it_goes_to_the_provider_to_link(
    here: World, api: Api
) -> None:
    ann = await verified(await api.person())
    await long_ago(ann)
    refused = problem(await ann.post("/auth/oauth/google/link", {"returnTo": "/"}), 403, "step_up_required")
    assert refused["factors"] == ["password"]
    assert (await ann.post("/auth/mfa/step-up", {"password": PASSWORD})).status_code == 200
    here.google.is_at(email=ann.email, email_verified=True)
    browser = here.browser()
    back = await browser.at_provider(await browser.linking("google", ann.token))
    await long_ago(ann)
    assert fragment(await browser.open(back)) == {"linked": "google"}, "it was asked for in time"
