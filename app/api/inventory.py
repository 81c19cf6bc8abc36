"""/api/inventory: things counted."""

from typing import Annotated

from litestar import Controller, Response, delete, get, patch, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter

from app.api.envelope import Cursor, Limit, Live, Many, One, TeamId, live, many, one
from app.pipeline.etag import IfVersion
from app.pipeline.identity import ASKS_AGAIN, BY_KEY
from domain.actor import Actor
from domain.inventory import service as inventory
from domain.inventory.model import Adjustment, Filter, Item, ItemBody, ItemPatch, Movement, NewItem, Sort
from domain.pages import LIMIT_DEFAULT


class InventoryController(Controller):
    path = "/api/inventory"
    tags = ("inventory",)
    opt = BY_KEY

    @post("/", opt=ASKS_AGAIN)
    async def create(self, data: JSONBody[NewItem], caller: NamedDependency[Actor]) -> Response[One[Item]]:
        """Begin to count a thing."""
        item = await inventory.create(caller, data)
        return one(item, version=item.version, at=f"/api/inventory/{item.id}")

    @get("/")
    async def page(
        self,
        caller: NamedDependency[Actor],
        team_id: TeamId = None,
        category: Annotated[
            str | None, QueryParameter(max_length=100, description="only what is filed under this")
        ] = None,
        words: Annotated[
            str | None,
            QueryParameter(
                name="query", max_length=100, description="part of the name, or the beginning of the SKU"
            ),
        ] = None,
        below_threshold: Annotated[
            bool, QueryParameter(name="belowThreshold", description="only what runs low")
        ] = False,
        sort: Annotated[Sort, QueryParameter(description="`-` in front: the other way round")] = "-createdAt",
        limit: Limit = LIMIT_DEFAULT,
        cursor: Cursor = None,
    ) -> Live[Item]:
        """A team's items; `position` is that of `inventory:<teamId>`."""
        only = Filter(category=category, query=words, below_threshold=below_threshold)
        return live(
            *await inventory.page(caller, caller.team(team_id), only, sort=sort, limit=limit, cursor=cursor)
        )

    @get("/{item_id:str}")
    async def read(self, item_id: FromPath[str], caller: NamedDependency[Actor]) -> Response[One[Item]]:
        """One item."""
        item = await inventory.get(caller, item_id)
        return one(item, version=item.version)

    @put("/{item_id:str}")
    async def replace(
        self,
        item_id: FromPath[str],
        data: JSONBody[ItemBody],
        caller: NamedDependency[Actor],
        if_version: IfVersion,
    ) -> Response[One[Item]]:
        """Replace what people may edit of an item.

        `If-Match` refuses (412) if it was changed in the meantime.
        """
        item = await inventory.put(caller, item_id, data, if_version=if_version)
        return one(item, version=item.version)

    @patch("/{item_id:str}")
    async def change(
        self,
        item_id: FromPath[str],
        data: JSONBody[ItemPatch],
        caller: NamedDependency[Actor],
        if_version: IfVersion,
    ) -> Response[One[Item]]:
        """Change parts of an item; what is left out stays."""
        item = await inventory.patch(caller, item_id, data, if_version=if_version)
        return one(item, version=item.version)

    @delete("/{item_id:str}")
    async def remove(
        self,
        item_id: FromPath[str],
        caller: NamedDependency[Actor],
        if_version: IfVersion,
    ) -> None:
        """Stop counting a thing; its movements stay in the books."""
        await inventory.delete(caller, item_id, if_version=if_version)

    @post("/{item_id:str}/adjust", status_code=200)
    async def adjust(
        self,
        item_id: FromPath[str],
        data: JSONBody[Adjustment],
        caller: NamedDependency[Actor],
        if_version: IfVersion,
    ) -> Response[One[Item]]:
        """Move stock by `delta`; never below zero."""
        item = await inventory.adjust(caller, item_id, data, if_version=if_version)
        return one(item, version=item.version)

    @get("/{item_id:str}/movements")
    async def movements(
        self,
        item_id: FromPath[str],
        caller: NamedDependency[Actor],
        limit: Limit = LIMIT_DEFAULT,
        cursor: Cursor = None,
    ) -> Many[Movement]:
        """How an item's stock came to be what it is, newest first."""
        return many(await inventory.movements(caller, item_id, limit=limit, cursor=cursor))
