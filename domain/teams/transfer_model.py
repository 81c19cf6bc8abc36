"""Nouns of handing a team over."""

from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import Meta

from domain import channels
from domain.events import Event, Resource
from domain.ids import Id


class Transfer(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """The ownership of a team, offered to one of its members."""

    team_id: str
    from_user_id: Annotated[str, Meta(description="the owner who offers it, and is an admin afterwards")]
    to_user_id: Annotated[str, Meta(description="who is to be the owner")]
    created_at: datetime
    expires_at: Annotated[datetime, Meta(description="until when it can be accepted")]


class NewTransfer(msgspec.Struct, frozen=True, rename="camel", kw_only=True, forbid_unknown_fields=True):
    """Whom to offer the team: a member of it."""

    user_id: Id


class TransferNews(msgspec.Struct, frozen=True, rename="camel"):
    """An offer as it is, or as it was until now."""

    transfer: Transfer


class _TransferEvent(Event, frozen=True, kw_only=True):
    """News for the two whom it is between; what it changes is told to the team besides."""

    transfer: Transfer

    def resource(self) -> Resource:
        return Resource("team", self.team_id)

    def channels(self) -> tuple[str, ...]:
        return channels.user(self.transfer.from_user_id), channels.user(self.transfer.to_user_id)

    def news(self) -> TransferNews:
        return TransferNews(self.transfer)

    def metadata(self) -> dict[str, str]:
        return {"from": self.transfer.from_user_id, "to": self.transfer.to_user_id}


class TransferOffered(_TransferEvent, frozen=True, kw_only=True):
    """An owner offers the team to a member."""

    type = "teams.transfer_offered"


class TransferAccepted(_TransferEvent, frozen=True, kw_only=True):
    """The member is the owner of the team now."""

    type = "teams.transfer_accepted"


class TransferDeclined(_TransferEvent, frozen=True, kw_only=True):
    """The member does not want it."""

    type = "teams.transfer_declined"


class TransferWithdrawn(_TransferEvent, frozen=True, kw_only=True):
    """An owner has taken the offer back."""

    type = "teams.transfer_withdrawn"
