"""People and teams for domain tests, made with the verbs themselves, without HTTP."""

import secrets

from domain.actor import Actor
from domain.auth import service as auth
from domain.auth.model import Registration
from domain.teams import members
from domain.teams import service as teams
from domain.teams.model import NewMember, NewTeam


async def somebody(name: str = "Ann") -> Actor:
    """A newly registered user, as the first argument of their verbs."""
    email = f"{name.lower()}-{secrets.token_hex(6)}@example.org"
    signed_in = await auth.register(
        Actor(), Registration(email=email, password="correct horse battery staple", name=name)
    )
    user = signed_in.user
    return Actor(user_id=user.id, session_id=signed_in.session_id, personal_team_id=user.personal_team_id)


async def team_of(owner: Actor, by_role: dict[str, Actor] | None = None) -> str:
    """A team of `owner`, with one member for each role given."""
    team = await teams.create(owner, NewTeam(name="Coffee corner"))
    for role, member in (by_role or {}).items():
        await members.add(owner, team.id, NewMember(user_id=member.user, role=role))
    return team.id
