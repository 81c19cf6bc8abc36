"""Identities: which account at a provider signs in to which account here, as rows.

Rules   whoever writes one holds `lock` first, and the lock of an account only after that. Who may link what
        is for oauth.py to say.
"""

from typing import Final

import msgspec

from domain import crypto, db, ids
from domain.actor import Actor
from domain.auth import undoing
from domain.auth.oauth_model import IdentityLinked, OauthIdentity, Profile
from domain.auth.tables import OauthIdentities
from domain.auth.ways_in import Way
from domain.clock import now
from domain.errors import Conflict
from domain.record import record

IDENTITIES_MAX: Final = 20


async def lock(profile: Profile) -> None:
    """Whoever comes with the same account of the provider at the same time comes one after another."""
    await db.execute(
        "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))",
        f"oauth identity {profile.provider} {profile.subject}",
    )


async def add_told(actor: Actor, profile: Profile) -> OauthIdentity:
    """It signs in, from now on, to an account that was there before: its owner is told."""
    identity = await add(actor, profile)
    await undoing.offer(actor, Way("identity", identity.id, identity.provider, identity.created_at))
    return identity


async def add(actor: Actor, profile: Profile) -> OauthIdentity:
    """It signs in to the caller's account from now on."""
    at = now()
    identity = OauthIdentity(
        id=ids.new("oid"), provider=profile.provider, email=profile.email, created_at=at, last_used_at=at
    )
    await OauthIdentities.insert(
        OauthIdentities(
            id=identity.id,
            user_id=actor.user,
            provider=profile.provider,
            subject=profile.subject,
            email=profile.email,
            tokens=_sealed(identity.id, profile),
            last_used_at=at,
            created_at=at,
        )
    )
    await record(actor, IdentityLinked(team_id=actor.team(None), user_id=actor.user, identity=identity))
    return identity


async def used(identity_id: str, profile: Profile) -> None:
    """Somebody came with it: what the provider says of it now is kept."""
    await OauthIdentities.update(
        {
            OauthIdentities.email: profile.email,
            OauthIdentities.tokens: _sealed(identity_id, profile),
            OauthIdentities.last_used_at: now(),
        }
    ).where(OauthIdentities.id == identity_id)


async def arrived(actor: Actor, profile: Profile) -> None:
    """The caller came with it and is in: it is theirs, unless it became somebody's meanwhile.

    Raises Conflict `identity_taken` where that is somebody else, `too_many_identities`.
    """
    row = await db.fetchrow(
        "SELECT id, user_id FROM oauth_identities WHERE provider = $1 AND subject = $2",
        profile.provider,
        profile.subject,
    )
    if row is None:
        if await is_full(actor.user):
            raise too_many()
        await add_told(actor, profile)
    elif row["user_id"] == actor.user:
        await used(row["id"], profile)
    else:
        raise taken()


async def is_full(user_id: str) -> bool:
    """Whether the account, which is locked, has as many as there may be."""
    count: int = await OauthIdentities.count().where(OauthIdentities.user_id == user_id)
    return count >= IDENTITIES_MAX


def too_many() -> Conflict:
    return Conflict(f"An account has at most {IDENTITIES_MAX} of them.", code="too_many_identities")


def taken() -> Conflict:
    return Conflict("It signs in to another account here.", code="identity_taken")


def _sealed(identity_id: str, profile: Profile) -> str:
    return crypto.sealed(f"oauth_identities/{identity_id}/tokens", msgspec.json.encode(profile.tokens))
