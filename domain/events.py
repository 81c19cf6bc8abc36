"""Event: a fact in the past tense, the thing it is about, and the channels it is news for.

A slice subclasses Event in its model. What listeners receive is `news()`; what the audit trail keeps is
`changes()`, the fields that differ between before and after. Types are named by slice: `inventory.adjusted`.
"""

from datetime import datetime
from typing import Annotated, Any, ClassVar

import msgspec
from msgspec import Meta

from domain.clock import now


class Resource(msgspec.Struct, frozen=True):
    """The thing a fact is about: its kind (`item`, `team`) and its id."""

    type: str
    id: str


class Change(msgspec.Struct, frozen=True):
    """One field before and after."""

    before: Any
    after: Any


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """A fact. `team_id` is the tenant whose audit trail keeps it."""

    type: ClassVar[str]
    outcome: ClassVar[str] = "success"
    # False for what is no change of anything, but about the trail itself: news without an audit row.
    in_the_trail: ClassVar[bool] = True

    team_id: str

    def resource(self) -> Resource:
        raise NotImplementedError(type(self).__name__)

    def channels(self) -> tuple[str, ...]:
        """Where this is news, besides the team's audit channel."""
        return ()

    def news(self) -> Any:
        """What listeners get as `data`: a Struct, which the annotation names for the documentation."""
        raise NotImplementedError(type(self).__name__)

    def changes(self) -> dict[str, Change]:
        """What the audit row keeps of the difference; secrets never get this far, models do not hold them."""
        return {}

    def metadata(self) -> dict[str, Any]:
        """What the audit row keeps besides: reasons, references."""
        return {}


class Envelope(msgspec.Struct, frozen=True, rename="camel"):
    """An entry of a channel: what happened, when, by whom."""

    id: Annotated[str, Meta(description="the same on every channel that it is news for")]
    type: Annotated[str, Meta(description="what happened, in the past tense, its slice in front")]
    time: Annotated[
        datetime, Meta(description="when; entries are in the order of their offsets, not of this")
    ]
    actor: Annotated[str | None, Meta(description="the id of the user who did it; null for the system")]
    request_id: Annotated[
        str | None, Meta(description="the `X-Request-Id` of the request that did it; null where none did")
    ]
    data: Annotated[Any, Meta(description="what is news; its form depends on the type")]


def difference(
    before: msgspec.Struct | None, after: msgspec.Struct | None, *, but: tuple[str, ...] = ()
) -> dict[str, Change]:
    """The fields that differ, by the names clients see. A missing side counts as all None."""
    old: dict[str, Any] = msgspec.to_builtins(before) if before is not None else {}
    new: dict[str, Any] = msgspec.to_builtins(after) if after is not None else {}
    if not old:  # it was made, which most facts are about
        return {
            name: Change(None, value) for name, value in new.items() if value is not None and name not in but
        }
    return {
        name: Change(old.get(name), new.get(name))
        for name in {**old, **new}
        if name not in but and not same(old.get(name), new.get(name))
    }


def same(one: Any, other: Any) -> bool:
    """Whether both are the same to a client. Python says so of 1 and True, JSON does not."""
    return msgspec.json.encode(one, order="deterministic") == msgspec.json.encode(
        other, order="deterministic"
    )


def encode(event_id: str, event_type: str, actor_id: str | None, request_id: str | None, data: Any) -> str:
    """The finished JSON text of an entry, encoded once and forwarded as bytes ever after."""
    return msgspec.json.encode(Envelope(event_id, event_type, now(), actor_id, request_id, data)).decode()
