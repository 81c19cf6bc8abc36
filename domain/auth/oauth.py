"""OAuth: accounts at providers that sign in here.

Owns    oauth_identities
Says    auth.identity_linked, auth.identity_unlinked, auth.oauth_refused
Rules   an account at a provider signs in to one account here. It is linked to one that was there before it
        only by its owner, signed in; or by itself, where both sides have shown that the same address is
        theirs, once they are in: after the second factor, if there is one. Who can make an account with
        another's address, here or there, gets nothing by it.
"""

from typing import Final

import msgspec

from domain import db, pages
from domain.actor import Actor
from domain.auth import credentials, identities, mfa, sessions, ways_in
from domain.auth import service as auth
from domain.auth.model import LoginFailed, SignedIn
from domain.auth.oauth_model import (
    Flow,
    IdentityUnlinked,
    OauthIdentity,
    OauthRefused,
    Profile,
)
from domain.auth.proofs import Proof
from domain.auth.tokens import Claims
from domain.clock import now
from domain.errors import Conflict, DomainError, Forbidden, NotFound, Unauthenticated
from domain.pages import Page
from domain.record import record
from domain.users.model import Email

NAME_CHARS: Final = 100
_IDENTITY = "id, provider, email, created_at, last_used_at"


class _Account(msgspec.Struct, frozen=True):
    """What signing in needs to know of an account."""

    id: str
    email: str
    personal_team_id: str
    epoch: int
    verified: bool
    disabled: bool


_ACCOUNT = """u.id, u.email::text AS email, u.personal_team_id, u.credentials_epoch AS epoch,
              u.email_verified_at IS NOT NULL AS verified,
              u.disabled_at IS NOT NULL OR u.deleted_at IS NOT NULL AS disabled"""


async def sign_in(actor: Actor, profile: Profile) -> SignedIn:
    """A new session for whom the provider named, with a new account for somebody who is new.

    Raises Conflict `account_exists`, Forbidden `email_not_verified`, Unauthenticated `oauth_failed`.
    """
    async with db.transaction():
        # A refusal is returned, not raised: what it leaves in the trail is to be committed.
        outcome = await _sign_in(actor, profile)
    if isinstance(outcome, DomainError):
        raise outcome
    if isinstance(outcome, Proof):
        # After that commit: whoever has a second factor is asked for it first.
        return await auth.signed_in(actor, outcome)
    return outcome


async def may_link(actor: Actor) -> None:
    """Raise Forbidden `email_not_verified` unless the caller has shown that the account's address is theirs.

    They must have shown of late who they are (`step_up_required`).

    Otherwise somebody makes an account with another's address, links what is theirs, and is still inside
    when the owner of the address comes and takes the account over.
    """
    await mfa.require_fresh(actor)
    await _require_verified(actor)


async def _require_verified(actor: Actor) -> None:
    if not await db.fetchval("SELECT email_verified_at IS NOT NULL FROM users WHERE id = $1", actor.user):
        raise Forbidden("Confirm your e-mail address first.", code="email_not_verified")


async def link(actor: Actor, flow: Flow, profile: Profile) -> OauthIdentity:
    """One more way in for who began the flow, if their session still holds.

    Raises Unauthenticated, Forbidden as `may_link`, Conflict `identity_taken`, `too_many_identities`.
    """
    assert flow.session_id is not None, "whoever links is signed in"
    assert flow.user_id is not None, "whoever links is signed in"
    known = await credentials.identify(Claims(flow.user_id, flow.session_id, 0), actor)
    actor = known.acting(actor)
    async with db.transaction():
        outcome = await _link(actor, profile)
    if isinstance(outcome, DomainError):
        raise outcome
    return outcome


async def listed(actor: Actor, *, limit: int, cursor: str | None) -> Page[OauthIdentity]:
    """The caller's accounts at providers, newest first."""
    scope = f"identities {actor.user}"
    before = pages.unseal(cursor, scope=scope)[0] if cursor else None
    rows = await db.fetch(
        f"""SELECT {_IDENTITY} FROM oauth_identities
            WHERE user_id = $1 AND ($2::text IS NULL OR id < $2) ORDER BY id DESC LIMIT $3""",  # noqa: S608
        actor.user,
        before,
        limit + 1,
    )
    return pages.cut(
        [db.as_struct(OauthIdentity, row) for row in rows], limit, scope=scope, key=lambda one: [one.id]
    )


async def unlink(actor: Actor, identity_id: str) -> None:
    """Take one away.

    Raises NotFound, also for another's; Conflict `last_way_in`; Forbidden `step_up_required`.
    """
    await mfa.require_fresh(actor)
    async with db.transaction():
        await sessions.hold(actor)
        row = await db.fetchrow(
            f"DELETE FROM oauth_identities WHERE id = $1 AND user_id = $2 RETURNING {_IDENTITY}",  # noqa: S608
            identity_id,
            actor.user,
        )
        if row is None:
            raise NotFound.of("identity")
        await ways_in.require_one(actor.user)
        gone = db.as_struct(OauthIdentity, row)
        await record(actor, IdentityUnlinked(team_id=actor.team(None), user_id=actor.user, identity=gone))


async def _sign_in(actor: Actor, profile: Profile) -> SignedIn | Proof | DomainError:
    """A new account, signed in; or the proof for the one that may be signed in to."""
    await identities.lock(profile)
    known = await db.fetchrow(
        f"""SELECT i.id AS identity_id, {_ACCOUNT} FROM oauth_identities i JOIN users u ON u.id = i.user_id
            WHERE i.provider = $1 AND i.subject = $2""",  # noqa: S608 - columns
        profile.provider,
        profile.subject,
    )
    if known is not None:
        account = db.as_struct(_Account, known)
        if account.disabled:
            return await _disabled(actor, account)
        await identities.used(known["identity_id"], profile)
        return _proof(account, profile)
    return await _by_address(actor, profile)


async def _by_address(actor: Actor, profile: Profile) -> SignedIn | Proof | DomainError:
    """For an account at a provider that nobody is known by yet."""
    address = _address(profile)
    if address is None:
        # In nobody's trail: anybody can say of any address that it is theirs, as often as they like.
        return Forbidden("The provider has not verified your e-mail address.", code="email_not_verified")
    account = await _account(address)
    if account is not None and account.disabled:
        return await _disabled(actor, account)
    if account is None:
        return await _arrive(actor, profile, address)
    if not account.verified or not _same(account.email, address):
        taken = Conflict(
            "There is an account with this e-mail address: sign in to it, and link this one there.",
            code="account_exists",
        )
        refused = OauthRefused(
            team_id=account.personal_team_id,
            user_id=account.id,
            provider=profile.provider,
            reason=taken.problem,
        )
        await record(actor, refused)
        return taken
    return _proof(account, profile, linking=profile)


async def _arrive(actor: Actor, profile: Profile, address: str) -> SignedIn:
    """Somebody new. Raises Conflict `email_taken` where somebody registers with the address just now."""
    answer = await auth.open_account(
        actor, email=address, name=_name(profile, address), email_verified_at=now(), amr=_amr(profile)
    )
    await identities.add(_as(actor, answer), profile)
    return answer


async def _link(actor: Actor, profile: Profile) -> OauthIdentity | DomainError:
    await identities.lock(profile)
    await sessions.hold(actor)
    await mfa.require_second_factor(actor)
    await _require_verified(actor)
    owner = await db.fetchval(
        "SELECT user_id FROM oauth_identities WHERE provider = $1 AND subject = $2",
        profile.provider,
        profile.subject,
    )
    if owner is not None:
        mine = owner == actor.user
        refusal = Conflict("It is linked already.", code="already_linked") if mine else identities.taken()
    elif await identities.is_full(actor.user):
        refusal = identities.too_many()
    else:
        return await identities.add_told(actor, profile)
    await record(
        actor,
        OauthRefused(
            team_id=actor.team(None), user_id=actor.user, provider=profile.provider, reason=refusal.problem
        ),
    )
    return refusal


async def _account(email: str) -> _Account | None:
    """The account with this address, as the database compares them."""
    row = await db.fetchrow(f"SELECT {_ACCOUNT} FROM users u WHERE u.email = $1", email)  # noqa: S608 - columns
    return db.as_struct(_Account, row) if row else None


async def _disabled(actor: Actor, account: _Account) -> DomainError:
    await record(
        actor,
        LoginFailed(team_id=account.personal_team_id, user_id=account.id, reason="disabled", attempts=1),
    )
    return Unauthenticated("Signing in with this provider did not work.", code="oauth_failed")


def _proof(account: _Account, profile: Profile, *, linking: Profile | None = None) -> Proof:
    return Proof(
        user_id=account.id,
        personal_team_id=account.personal_team_id,
        epoch=account.epoch,
        amr=_amr(profile),
        linking=linking,
    )


def _amr(profile: Profile) -> tuple[str, ...]:
    return ("oauth", profile.provider)


def _as(actor: Actor, answer: SignedIn) -> Actor:
    return actor.acting_as(
        answer.user.id, session_id=answer.session_id, personal_team_id=answer.user.personal_team_id
    )


def _address(profile: Profile) -> str | None:
    """The address, if the provider vouches for it and it is one."""
    if not profile.email_verified or profile.email is None or not profile.email.isprintable():
        return None
    try:
        return msgspec.convert(profile.email, Email)
    except msgspec.ValidationError:
        return None


def _same(one: str, other: str) -> bool:
    """Whether both are the same address beyond doubt.

    The database folds case for all of Unicode, where the Kelvin sign becomes a k: an address that only looks
    like another one would open its account. Here case counts for ASCII only.
    """
    return one == other or (one.isascii() and other.isascii() and one.lower() == other.lower())


def _name(profile: Profile, address: str) -> str:
    """What people are called: as the provider says, or else as the address begins."""
    said = "".join(char for char in profile.name or "" if char.isprintable())[:NAME_CHARS].strip()
    return said or address.split("@")[0][:NAME_CHARS]
