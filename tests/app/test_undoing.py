"""A new way in is told to the owner, who takes it away again: nobody is shut out for good."""

import pytest

from domain import db
from tests.app.company import problem
from tests.app.mailing import expired, kinds, mail_of, post, settled, token_of, trail
from tests.app.second_factors import add_passkey, enrol, login, sign_in_with, verify
from tests.app.signing_in import refresh, signed_in
from tests.app.under_way import reset, verified
from tests.factories import Api
from tests.listener import Listeners
from tests.mailbox import Mailbox, text


async def test_an_app_that_a_thief_enrolled_is_taken_away_with_its_recovery_codes(
    api: Api, url: str, mailbox: Mailbox, listeners: Listeners
) -> None:
    ann = await verified(await api.person())
    screen = await listeners(url, ann.token)
    app = await enrol(ann)
    assert "an authenticator app" in text(await mail_of(mailbox, ann.email, "added"))
    token = await token_of(mailbox, ann.email, "added")
    await reset(ann)  # which voids other links
    body = {"password": "another password altogether"}
    asked = problem(await login(ann, **body), 401, "second_factor_required")
    assert (await post(api, "/auth/ways-in/undo", token=token)).status_code == 204
    problem(await verify(api, asked["mfaToken"], code=app.recovery_codes[0]), 401, "wrong_code")
    inside = await login(ann, **body)
    assert inside.status_code == 200, "nothing else is asked for"
    assert await db.fetchval("SELECT count(*) FROM recovery_codes WHERE user_id = $1", ann.id) == 0
    await screen.until(lambda: ("disconnected", 3500) in screen.said)
    problem(await post(api, "/auth/ways-in/undo", token=token), 422, "link_invalid")
    assert await signed_in(api, inside.json()["data"]["accessToken"]), "a link that is used ends nothing"
    assert {"auth.way_in_undone", "auth.factor_removed", "auth.session_revoked"} <= set(await trail(ann.id))


async def test_a_passkey_goes_and_another_one_stays(api: Api, mailbox: Mailbox) -> None:
    ann = await verified(await api.person())
    mine, _ = await add_passkey(ann, "Laptop")
    thiefs, thiefs_id = await add_passkey(ann, "go to evil.example")
    assert "the passkey “Laptop”" in text(await mail_of(mailbox, ann.email, "added"))
    assert "evil" not in text(await mail_of(mailbox, ann.email, "added", 2))
    app = await enrol(ann)
    token = await token_of(mailbox, ann.email, "added", 2)
    epoch = "SELECT credentials_epoch FROM users WHERE id = $1"
    before = await db.fetchval(epoch, ann.id)
    assert (await post(api, "/auth/ways-in/undo", token=token)).status_code == 204
    assert await db.fetchval(epoch, ann.id) > before, "sign-ins that are under way end, too"
    assert not await signed_in(api, ann.token)
    problem(await refresh(api, ann.refresh_token), 401, "invalid_refresh_token")
    problem(await sign_in_with(api, thiefs), 401, "invalid_passkey")
    assert (await sign_in_with(api, mine)).status_code == 200
    assert (await login(ann, totp=app.code())).status_code == 200, "nor has the app gone"
    assert app.recovery_codes
    removed = "SELECT count(*) FROM audit_logs WHERE action = 'auth.passkey_removed' AND resource = $1"
    assert await db.fetchval(removed, thiefs_id) == 1


async def test_what_is_gone_already_is_no_reason_to_leave_anybody_inside(api: Api, mailbox: Mailbox) -> None:
    ann = await verified(await api.person())
    _, passkey_id = await add_passkey(ann)
    token = await token_of(mailbox, ann.email, "added")
    assert (await ann.delete(f"/auth/passkeys/{passkey_id}")).status_code == 204
    assert (await post(api, "/auth/ways-in/undo", token=token)).status_code == 204
    assert not await signed_in(api, ann.token)
    assert (await trail(ann.id)).count("auth.passkey_removed") == 1


async def test_even_the_last_way_in_goes_for_a_new_password_opens_the_account_again(
    api: Api, mailbox: Mailbox
) -> None:
    ann = await verified(await api.person())
    await add_passkey(ann)
    token = await token_of(mailbox, ann.email, "added")
    await db.execute("UPDATE users SET password_hash = NULL WHERE id = $1", ann.id)
    assert (await post(api, "/auth/ways-in/undo", token=token)).status_code == 204
    await reset(ann)
    assert (await login(ann, password="another password altogether")).status_code == 200


async def test_an_address_that_nobody_confirmed_is_not_told(api: Api, mailbox: Mailbox) -> None:
    ann = await api.person()
    await enrol(ann)
    await add_passkey(ann)
    await settled()
    assert "added" not in kinds(mailbox, ann.email)


@pytest.mark.parametrize("why", ["too old", "a closed account"])
async def test_a_link_that_is_no_good_takes_nothing_away(api: Api, mailbox: Mailbox, why: str) -> None:
    ann = await verified(await api.person())
    await add_passkey(ann)
    token = await token_of(mailbox, ann.email, "added")
    if why == "too old":
        await expired(ann.id)
    else:
        await db.execute("UPDATE users SET disabled_at = now() WHERE id = $1", ann.id)
    problem(await post(api, "/auth/ways-in/undo", token=token), 422, "link_invalid")
    assert await db.fetchval("SELECT count(*) FROM passkeys WHERE user_id = $1", ann.id) == 1
