"""Nouns of invitations to a team."""

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from domain import channels
from domain.actor import Actor
from domain.events import Change, Event, Resource
from domain.teams.policy import RoleName
from domain.users.model import Email

InviteStatus = Annotated[
    Literal["pending", "accepted", "declined", "revoked", "expired"],
    Meta(description="what became of it; `pending` until then"),
]


class Invite(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """An invitation to a team, as those see it who manage invitations."""

    id: str
    team_id: str
    email: str
    role: RoleName
    status: InviteStatus
    expires_at: Annotated[datetime, Meta(description="until when the link in the newest mail is good")]
    invited_by: Annotated[str, Meta(description="the id of the user in whose right it stands")]
    created_at: datetime
    updated_at: datetime


class InviteState(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """An invitation, as every member of the team may see it: not whom it is for."""

    id: str
    team_id: str
    role: RoleName
    status: InviteStatus


class NewInvite(msgspec.Struct, frozen=True, rename="camel", kw_only=True, forbid_unknown_fields=True):
    """Whom to invite, and as what."""

    email: Email
    role: RoleName = "member"


class InviteAnswer(msgspec.Struct, frozen=True, rename="camel", kw_only=True, forbid_unknown_fields=True):
    """What answering an invitation takes."""

    token: Annotated[
        str, Meta(min_length=1, max_length=200, description="what follows `#token=` in the link; good once")
    ]


class AskedAgain(msgspec.Struct, frozen=True, kw_only=True):
    """A job: somebody holds a link that is good no more, and asks for another."""

    actor: Actor
    token_hash: str


class InviteNews(msgspec.Struct, frozen=True, rename="camel"):
    """An invitation as it is now."""

    invite: InviteState


class _InviteEvent(Event, frozen=True, kw_only=True):
    """News for the team without the address, which the trail keeps for those who may read it."""

    invite: Invite
    before: InviteStatus | None

    def resource(self) -> Resource:
        return Resource("invite", self.invite.id)

    def channels(self) -> tuple[str, ...]:
        return (channels.team(self.team_id),)

    def news(self) -> InviteNews:
        invite = self.invite
        state = InviteState(id=invite.id, team_id=invite.team_id, role=invite.role, status=invite.status)
        return InviteNews(state)

    def changes(self) -> dict[str, Change]:
        if self.before == self.invite.status:
            return {}
        return {"status": Change(self.before, self.invite.status)}

    def metadata(self) -> dict[str, Any]:
        return {"email": self.invite.email, "role": self.invite.role}


class Invited(_InviteEvent, frozen=True, kw_only=True):
    """Somebody is invited to the team."""

    type = "teams.invited"


class InviteResent(_InviteEvent, frozen=True, kw_only=True):
    """An invitation was mailed again, with another link."""

    type = "teams.invite_resent"


class InviteRevoked(_InviteEvent, frozen=True, kw_only=True):
    """An invitation was taken back."""

    type = "teams.invite_revoked"


class InviteAccepted(_InviteEvent, frozen=True, kw_only=True):
    """Whoever was invited has come; if they were not in the team before, they are now."""

    type = "teams.invite_accepted"


class InviteDeclined(_InviteEvent, frozen=True, kw_only=True):
    """Whoever was invited does not want to come."""

    type = "teams.invite_declined"


class InviteAskedAgain(_InviteEvent, frozen=True, kw_only=True):
    """Whoever was invited came too late, and asks for another link."""

    type = "teams.invite_asked_again"
