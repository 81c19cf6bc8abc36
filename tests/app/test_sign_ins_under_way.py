"""A sign-in that was judged good ends all the same where somebody is put out of the account meanwhile."""

from collections.abc import Awaitable, Callable
from datetime import timedelta

import httpx
import pytest

from domain import db
from domain.actor import Actor
from domain.auth import one_time, passwords, proofs
from domain.auth import service as auth
from domain.errors import Unauthenticated
from tests.app.second_factors import add_passkey, enrol, login, mfa_token, sign_in_with, verify
from tests.app.test_email_change import moved
from tests.app.under_way import NEW, Meanwhile, refused, reset, verified
from tests.factories import PASSWORD, Api, Person
from tests.mailbox import Mailbox


async def test_a_password(api: Api, meanwhile: Meanwhile) -> None:
    ann = await verified(await api.person())
    meanwhile(lambda: reset(ann))
    await refused(await login(ann), ann)


async def test_a_passkey(api: Api, meanwhile: Meanwhile) -> None:
    ann = await verified(await api.person())
    passkey, _ = await add_passkey(ann)
    meanwhile(lambda: reset(ann))
    await refused(await sign_in_with(api, passkey), ann)
    assert (await sign_in_with(api, passkey)).status_code == 200, "it was not the passkey"


async def test_a_magic_link(api: Api, meanwhile: Meanwhile) -> None:
    ann = await verified(await api.person())
    async with db.transaction():
        token = await one_time.issue(
            "magic_link", lasts=timedelta(minutes=1), user_id=ann.id, email=ann.email
        )
    meanwhile(lambda: reset(ann))
    await refused(await api.call("POST", "/auth/magic-link/consume", json={"token": token}), ann)


async def test_a_second_step_that_was_right(api: Api, meanwhile: Meanwhile) -> None:
    ann = await verified(await api.person())
    app = await enrol(ann)
    token = await mfa_token(ann)
    meanwhile(lambda: reset(ann))
    await refused(await verify(api, token, code=app.code()), ann)


async def test_a_second_step_whose_first_one_was_before(api: Api, meanwhile: Meanwhile) -> None:
    """The token that the first step answers with is issued after the reset has voided all that there were."""
    ann = await verified(await api.person())
    app = await enrol(ann)
    meanwhile(lambda: reset(ann))
    token = await mfa_token(ann)
    await refused(await verify(api, token, code=app.code()), ann)


async def test_what_was_kept_before_there_were_epochs_is_over(api: Api) -> None:
    ann = await api.person()
    old = proofs.resumed(ann.id, ann.personal_team_id, {"amr": ["pwd"]})
    with pytest.raises(Unauthenticated):
        await auth.signed_in(Actor(), old)


async def _others_are_logged_out(ann: Person) -> httpx.Response:
    return await ann.post("/auth/logout?scope=others")


async def _the_password_is_changed(ann: Person) -> httpx.Response:
    return await ann.post("/auth/password/change", {"currentPassword": PASSWORD, "password": NEW})


async def _staff_shuts_it_and_opens_it_again(ann: Person) -> httpx.Response:
    boss = await ann.api.person("Staff")
    await db.execute("UPDATE users SET is_staff = true WHERE id = $1", boss.id)
    assert (await boss.patch(f"/users/{ann.id}", {"disabled": True})).status_code == 200
    return await boss.patch(f"/users/{ann.id}", {"disabled": False})


async def _it_is_closed(ann: Person) -> httpx.Response:
    return await ann.delete("/users/me")


async def _the_old_address_takes_it_back(ann: Person) -> httpx.Response:
    async with db.transaction():
        token = await one_time.issue(
            "email_revert", lasts=timedelta(minutes=1), user_id=ann.id, email=ann.email
        )
    return await ann.api.call("POST", "/auth/email/revert", json={"token": token})


async def _the_owner_of_the_address_takes_it_over(ann: Person) -> httpx.Response:
    await db.execute("UPDATE users SET email_verified_at = NULL WHERE id = $1", ann.id)
    async with db.transaction():
        token = await one_time.issue(
            "magic_link", lasts=timedelta(minutes=1), user_id=ann.id, email=ann.email
        )
    return await ann.api.call("POST", "/auth/magic-link/consume", json={"token": token})


PUTS_OUT = [
    _others_are_logged_out,
    _the_password_is_changed,
    _staff_shuts_it_and_opens_it_again,
    _it_is_closed,
    _the_old_address_takes_it_back,
    _the_owner_of_the_address_takes_it_over,
]


@pytest.mark.parametrize("happens", PUTS_OUT)
async def test_whatever_ends_sessions_ends_what_was_shown_before(
    api: Api, happens: Callable[[Person], Awaitable[httpx.Response]]
) -> None:
    ann = await verified(await api.person())
    shown = await proofs.of(ann.id, amr=("oauth", "google"))
    assert (await auth.signed_in(Actor(), shown)).session_id, "it is good until then"
    done = await happens(ann)
    assert done.is_success, done.text
    with pytest.raises(Unauthenticated):
        await auth.signed_in(Actor(), shown)


async def test_moving_to_another_address_ends_what_was_shown_for_the_old_one(
    api: Api, mailbox: Mailbox
) -> None:
    """An identity would be linked for an address that the account has no more."""
    ann = await verified(await api.person())
    shown = await proofs.of(ann.id, amr=("oauth", "google"))
    await moved(api, mailbox, ann, f"new-{ann.email}")
    with pytest.raises(Unauthenticated):
        await auth.signed_in(Actor(), shown)


async def test_keeping_the_same_password_in_another_way_ends_nothing(api: Api, meanwhile: Meanwhile) -> None:
    ann = await api.person()
    again = await passwords.hashed(PASSWORD)
    meanwhile(lambda: db.execute("UPDATE users SET password_hash = $2 WHERE id = $1", ann.id, again))
    assert (await login(ann)).status_code == 200


async def test_whoever_is_disabled_meanwhile_gets_no_session(api: Api) -> None:
    ann = await api.person()
    shown = await proofs.of(ann.id, amr=("oauth", "google"))
    await db.execute("UPDATE users SET disabled_at = now() WHERE id = $1", ann.id)
    with pytest.raises(Unauthenticated):
        await auth.signed_in(Actor(), shown)
