"""/api/auth/api-keys: what programs come with. Every route here needs a session."""

from typing import Annotated

from litestar import Controller, Response, delete, get, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter

from app.api.envelope import Cursor, Limit, Many, One, many, one
from domain.actor import Actor
from domain.auth import api_keys
from domain.auth.api_keys_model import ApiKey, ApiKeyPatch, ApiKeyWithSecret, NewApiKey, Rotation
from domain.pages import LIMIT_DEFAULT

OfTeam = Annotated[
    str | None,
    QueryParameter(name="teamId", max_length=40, description="all keys of this team; your own if left out"),
]


class ApiKeysController(Controller):
    path = "/api/auth/api-keys"
    tags = ("api keys",)

    @get("/")
    async def page(
        self,
        caller: NamedDependency[Actor],
        team_id: OfTeam = None,
        limit: Limit = LIMIT_DEFAULT,
        cursor: Cursor = None,
    ) -> Many[ApiKey]:
        """API keys that are not revoked, newest first, without their secrets."""
        return many(await api_keys.listed(caller, team_id, limit=limit, cursor=cursor))

    @post("/")
    async def create(
        self, data: JSONBody[NewApiKey], caller: NamedDependency[Actor]
    ) -> Response[One[ApiKeyWithSecret]]:
        """Make an API key; its secret is shown this once."""
        key = await api_keys.create(caller, data)
        return one(key, at=f"/api/auth/api-keys/{key.id}")

    @patch("/{key_id:str}")
    async def change(
        self, key_id: FromPath[str], data: JSONBody[ApiKeyPatch], caller: NamedDependency[Actor]
    ) -> One[ApiKey]:
        """Change one of your API keys; what you take from it is felt at once."""
        return One(data=await api_keys.change(caller, key_id, data))

    @post("/{key_id:str}/rotate", status_code=200)
    async def rotate(
        self, key_id: FromPath[str], data: JSONBody[Rotation], caller: NamedDependency[Actor]
    ) -> One[ApiKeyWithSecret]:
        """Give one of your API keys a new secret; the old one stays good for the overlap."""
        return One(data=await api_keys.rotate(caller, key_id, data))

    @delete("/{key_id:str}", status_code=204)
    async def revoke(self, key_id: FromPath[str], caller: NamedDependency[Actor]) -> None:
        """Revoke an API key; its open websockets are closed."""
        await api_keys.revoke(caller, key_id)
