"""The envelope around one thing, a page, or a page with the position it is true for."""

from typing import Annotated, Generic, Literal, TypeVar

import msgspec
from litestar import Response
from litestar.params import QueryParameter
from msgspec import Meta

from app.pipeline.answer import Answer
from app.pipeline.etag import etag
from domain.pages import LIMIT_MAX, Page
from domain.streams import Head

T = TypeVar("T")

Cursor = Annotated[
    str | None, QueryParameter(max_length=2000, description="`nextCursor` of the page before; opaque")
]
Limit = Annotated[int, QueryParameter(ge=1, le=LIMIT_MAX, description="how many at most")]
TeamId = Annotated[
    str | None,
    QueryParameter(name="teamId", max_length=40, description="the team; your personal one if left out"),
]


class Position(msgspec.Struct, frozen=True):
    """Where a channel stood when a list was read: follow on from here and you miss nothing."""

    channel: Annotated[str, Meta(description="what to follow, such as `inventory:team_…`")]
    epoch: Annotated[
        str, Meta(description="which stream the offset counts in; another one is another stream")
    ]
    offset: Annotated[
        int, Meta(description="of the newest entry that the list has in it; 0 before the first")
    ]


class One(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """One thing."""

    success: Literal[True] = True
    data: T


class Many(msgspec.Struct, Generic[T], frozen=True, kw_only=True, rename="camel"):
    """A page of things."""

    success: Literal[True] = True
    data: list[T]
    next_cursor: Annotated[str | None, Meta(description="for the next page; null on the last")]


class Live(msgspec.Struct, Generic[T], frozen=True, kw_only=True, rename="camel"):
    """A page of things, and where their live channel stood when it was read."""

    success: Literal[True] = True
    data: list[T]
    next_cursor: Annotated[str | None, Meta(description="for the next page; null on the last")]
    position: Position


def many(page: Page[T]) -> Many[T]:
    return Many(data=page.items, next_cursor=page.next_cursor)


def live(page: Page[T], head: Head) -> Live[T]:
    position = Position(head.channel, head.epoch, head.offset)
    return Live(data=page.items, next_cursor=page.next_cursor, position=position)


def one(data: T, *, version: int | None = None, at: str | None = None) -> Response[One[T]]:
    """An answer with the thing's ETag, and with its `Location` (and 201) if it was just made."""
    headers = {}
    if version is not None:
        headers["ETag"] = etag(version)
    if at is not None:
        headers["Location"] = at
    return Answer(One(data=data), status_code=201 if at else 200, headers=headers)
