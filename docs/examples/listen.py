"""Follow a team's stock: python listen.py http://127.0.0.1:8000 EMAIL PASSWORD TEAM (Ctrl-C stops it).

Uses the official client of the Centrifugal protocol: pip install centrifuge-python httpx
"""

import asyncio
import sys
from typing import Any

import httpx
from centrifuge import (
    Client,
    ClientEventHandler,
    ConnectingContext,
    DisconnectedContext,
    PublicationContext,
    StreamPosition,
    SubscribedContext,
    SubscriptionErrorContext,
    SubscriptionEventHandler,
    UnauthorizedError,
    UnsubscribedContext,
)


class Session:
    """An access token lasts ten minutes; a refresh token is good once, for the next pair of tokens."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http
        self.access_token = ""
        self.refresh_token = ""

    async def ask(self, method: str, path: str, **more: Any) -> Any:
        headers = {"Authorization": f"Bearer {self.access_token}"} if self.access_token else {}
        response = await self.http.request(method, path, headers=headers, **more)
        if response.status_code == 401:
            raise UnauthorizedError(response.json()["detail"])
        return response.raise_for_status().json()

    async def sign_in(self, email: str, password: str) -> str:
        return await self._pair("/api/auth/login", email=email, password=password)

    async def renew(self) -> str:
        return await self._pair("/api/auth/refresh", refreshToken=self.refresh_token)

    async def _pair(self, path: str, **given: str) -> str:
        pair = (await self.ask("POST", path, json=given))["data"]
        self.access_token, self.refresh_token = pair["accessToken"], pair["refreshToken"]
        return self.access_token


class Stock(SubscriptionEventHandler):
    """A team's items: what there is, and then whatever happens."""

    def __init__(self, session: Session, team: str) -> None:
        self.session = session
        self.team = team
        self.items: dict[str, dict[str, Any]] = {}

    async def look(self, channel: str) -> StreamPosition:
        """The items, and the position they are true for: called at first, and whenever we must look again."""
        self.items.clear()
        position, cursor = None, {}
        while cursor is not None:
            query = {"teamId": self.team, "limit": "100", **cursor}
            page = await self.session.ask("GET", "/api/inventory", params=query)
            self.items |= {item["id"]: item for item in page["data"]}
            position = position or page["position"]
            cursor = {"cursor": page["nextCursor"]} if page["nextCursor"] else None
        print(f"looked: {len(self.items)} items at {position['offset']}", flush=True)
        return StreamPosition(position["offset"], position["epoch"])

    def apply(self, entry: dict[str, Any]) -> None:
        """What happens from there on. A later page may have had it already: the version tells."""
        item = entry["data"]["item"]
        if entry["type"] == "inventory.deleted":
            self.items.pop(item["id"], None)
        elif self.items.get(item["id"], item)["version"] <= item["version"]:
            self.items[item["id"]] = item

    async def on_subscribed(self, ctx: SubscribedContext) -> None:
        print(f"following {ctx.channel}", flush=True)

    async def on_publication(self, ctx: PublicationContext) -> None:
        entry = ctx.pub.data
        self.apply(entry)
        item = entry["data"]["item"]
        said = f"{item['name']}: {item['quantity']} {item['unit']}"
        print(f"{ctx.pub.offset:>4}  {entry['type']}  {said}", flush=True)

    async def on_error(self, ctx: SubscriptionErrorContext) -> None:
        print(f"trying again: {ctx.error}", flush=True)

    async def on_unsubscribed(self, ctx: UnsubscribedContext) -> None:
        print(f"not following any more: {ctx.code} {ctx.reason}", flush=True)


class Connection(ClientEventHandler):
    """Says how the connection is; `over` is set when it does not come back by itself."""

    def __init__(self) -> None:
        self.over = asyncio.Event()

    async def on_connecting(self, ctx: ConnectingContext) -> None:
        print(f"connecting: {ctx.code} {ctx.reason}", flush=True)

    async def on_disconnected(self, ctx: DisconnectedContext) -> None:
        print(f"over: {ctx.code} {ctx.reason}", flush=True)
        self.over.set()


async def main(server: str, email: str, password: str, team: str) -> None:
    async with httpx.AsyncClient(base_url=server) as http:
        session, connection = Session(http), Connection()
        token = await session.sign_in(email, password)
        address = f"{server.replace('http', 'ws', 1)}/connection/websocket"
        client = Client(address, token=token, get_token=session.renew, events=connection)
        stock = Stock(session, team)
        subscription = client.new_subscription(f"inventory:{team}", events=stock, get_state=stock.look)
        await client.connect()
        await subscription.subscribe()
        await connection.over.wait()


asyncio.run(main(*sys.argv[1:]))
