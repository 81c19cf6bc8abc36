"""Verification: showing that an address is one's own.

Rules   an address is shown to be somebody's by a link that went there. Where nobody is let in before
        (`AUTH_REQUIRE_VERIFIED_EMAIL`), registering answers everybody alike: what comes of it is mailed.
        Whoever comes by a link to an account whose address nobody had shown to be theirs takes it over, and
        what was set up in it before is gone: it may be somebody else's trap (account pre-hijacking).
"""

from datetime import timedelta
from typing import Final

import msgspec

from domain import db, ids, jobs, last_commit, links
from domain.actor import Actor
from domain.auth import one_time, passwords, post, takeover
from domain.auth.mails_model import AccountMade, EmailVerified, LoginUnverified, RegistrationRefused
from domain.auth.model import Registration
from domain.auth.one_time import Token
from domain.clock import now
from domain.errors import Conflict, Forbidden
from domain.record import record
from domain.teams import service as teams
from domain.users import service as users
from domain.users.model import User

PURPOSE: Final = "verify_email"
LASTS: Final = timedelta(days=1)
_required = False


class Applicant(msgspec.Struct, frozen=True, kw_only=True):
    """A job: somebody registers. The ids are chosen, so that doing it twice makes one account."""

    actor: Actor
    user_id: str
    team_id: str
    email: str
    name: str
    password_hash: str


REGISTER: Final = jobs.Job("auth.register", Applicant, secret=True)


def install(*, required: bool) -> None:
    """Whether nobody is let in before their address is confirmed, from now on."""
    global _required
    _required = required


def is_required() -> bool:
    return _required


async def send_link(user: User) -> None:
    """Mail the link, unless there is nothing to confirm; at most once a minute. In a transaction."""
    if user.email_verified_at is not None or not await post.first_in_a_while(PURPOSE, user.email):
        return
    token = await one_time.issue(PURPOSE, lasts=LASTS, user_id=user.id, email=user.email, alone=True)
    await post.tell(user.email, "verify_email", name=user.name, link=links.to("verify-email", token))


async def resend(actor: Actor) -> None:
    """Mail the caller another link; the one before is good no more."""
    async with db.transaction():
        await send_link(await users.locked(actor.user))


async def verify(actor: Actor, token: str) -> None:
    """The address is shown to be theirs. Raises Invalid `link_invalid`."""
    async with db.transaction():
        user = await holder(await one_time.consume(PURPOSE, token))
        actor = actor.acting_as(user.id, personal_team_id=user.personal_team_id)
        await proven(actor, user)


async def holder(token: Token) -> User:
    """Whose token this is, locked, while the address it went to is still theirs and the account is open.

    Raises Invalid `link_invalid`.
    """
    assert token.user_id is not None, "tokens of this kind are for a user"
    assert token.email is not None, "and went to an address"
    user = await users.at_address(token.user_id, token.email)
    if user is None:
        raise one_time.invalid()
    return user


async def proven(actor: Actor, user: User, *, takes_over: bool = False) -> User:
    """Write down that the address is theirs; who takes over gets an account without anybody's traps."""
    if user.email_verified_at is not None:
        return user
    if takes_over:
        await takeover.clear(actor, user)
    after = await users.set_email(user, user.email, verified_at=now())
    await record(actor, EmailVerified(team_id=user.personal_team_id, user=after))
    return after


async def require(actor: Actor) -> None:
    """Let nobody in whose address is to be confirmed first: they are mailed the link again.

    Raises Forbidden `email_not_verified`.
    """
    if not _required:
        return
    async with db.transaction():
        user = await users.locked(actor.user)
        if user.email_verified_at is not None:
            return
        await record(actor, LoginUnverified(team_id=user.personal_team_id, user_id=user.id))
        await send_link(user)
    raise Forbidden("Confirm your e-mail address first: we have sent you a link.", code="email_not_verified")


async def apply(actor: Actor, new: Registration) -> None:
    """Register, where the answer tells nobody who has an account: a job makes it, and mails what to do."""
    await passwords.check(new.password, email=new.email, name=new.name)
    applicant = Applicant(
        actor=actor,
        user_id=ids.new("user"),
        team_id=ids.new("team"),
        email=new.email,
        name=new.name,
        password_hash=await passwords.hashed_to_register(new.password),
    )
    async with last_commit.concluding():
        await jobs.enqueue(REGISTER, applicant)


@REGISTER.handler
async def make_account(applicant: Applicant) -> None:
    """The account and its link; or a mail to whom the address belongs that somebody tried."""
    email = applicant.email
    async with db.transaction():
        known = await users.named(email)
        if known is not None and known.id == applicant.user_id:
            return  # done before
        if known is None and not await one_time.marked_by(takeover.RESERVED, email):
            await _make(applicant)
            return
        if known is not None and known.disabled_at is not None:
            return
        if known is not None:
            refused = RegistrationRefused(team_id=known.personal_team_id, user_id=known.id)
            await record(applicant.actor, refused)
        if await post.first_in_a_while("already_registered", email):
            name = known.name if known else post.NOBODY
            link = links.to("forgot-password")
            await post.tell(email, "already_registered", name=name, link=link)


async def not_reserved(email: str) -> None:
    """Refuse an address that may yet go back to whom it was taken from.

    After the account is written, in the same transaction: a change of address that commits beside it is
    seen then. Raises Conflict `email_taken`.
    """
    if await one_time.marked_by(takeover.RESERVED, email):
        raise Conflict("There is already an account with this e-mail address.", code="email_taken")


async def _make(applicant: Applicant) -> None:
    actor = applicant.actor.acting_as(applicant.user_id, personal_team_id=applicant.team_id)
    user = await users.create(
        applicant.user_id,
        email=applicant.email,
        name=applicant.name,
        password_hash=applicant.password_hash,
        personal_team_id=applicant.team_id,
    )
    await not_reserved(applicant.email)
    await teams.create_personal(actor, applicant.team_id, name=applicant.name)
    await record(actor, AccountMade(team_id=applicant.team_id, user_id=user.id))
    await send_link(user)
