"""Magic links: signing in without a password, by a link that works once.

Rules   asking for one answers the same for every address; a job looks whether there is an account. Whoever
        comes by it signs in as everybody does (service.signed_in), so a second factor is still asked for.
"""

from datetime import timedelta
from typing import Final

from domain import db, jobs, links
from domain.actor import Actor
from domain.auth import one_time, post, proofs, service, verification
from domain.auth.mails_model import Asked, MagicLinkRequested
from domain.auth.model import SignedIn
from domain.record import record
from domain.users import service as users

PURPOSE: Final = "magic_link"
LASTS: Final = timedelta(minutes=15)
ASK: Final = jobs.Job("auth.magic_link", Asked, secret=True)


async def ask(actor: Actor, email: str) -> None:
    """Have a link mailed, if there is an account; whether there is one is nowhere to be seen."""
    async with db.transaction():
        key = await one_time.fingerprint(email)
        await jobs.enqueue(ASK, Asked(actor=actor, email=email), dedupe_key=key)


@ASK.handler
async def send_link(asked: Asked) -> None:
    """The link, at most once a minute; those before stay good, or asking again would keep all dead."""
    async with db.transaction():
        user = await users.named(asked.email)
        if user is None or user.disabled_at is not None:
            return
        if not await post.first_in_a_while(PURPOSE, user.email):
            return
        token = await one_time.issue(PURPOSE, lasts=LASTS, user_id=user.id, email=user.email)
        await post.tell(user.email, "magic_link", name=user.name, link=links.to("magic-link", token))
        await record(asked.actor, MagicLinkRequested(team_id=user.personal_team_id, user_id=user.id))


async def consume(actor: Actor, token: str) -> SignedIn:
    """Sign in. Raises Invalid `link_invalid`, and what `signed_in` raises: the link is used up then, too."""
    async with db.transaction():
        user = await verification.holder(await one_time.consume(PURPOSE, token))
        who = actor.acting_as(user.id, personal_team_id=user.personal_team_id)
        await verification.proven(who, user, takes_over=True)
        proof = await proofs.of(user.id, amr=("email",))
    # Outside: a second factor that was wrong is counted, and no rollback may take that back.
    return await service.signed_in(actor, proof)
