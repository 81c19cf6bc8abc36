"""People, teams and things, made over the public API the way clients make them."""

import contextlib
import itertools
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx

PASSWORD = "correct horse battery staple"
_numbers = itertools.count(1)


@dataclass
class Person:
    """Somebody who has registered, with the tokens of their session."""

    api: "Api"
    id: str
    email: str
    name: str
    token: str
    refresh_token: str
    session_id: str
    personal_team_id: str
    password: str = PASSWORD

    async def get(self, path: str, **more: Any) -> httpx.Response:
        return await self.api.call("GET", path, token=self.token, **more)

    async def post(self, path: str, body: Any = None, **more: Any) -> httpx.Response:
        return await self.api.call("POST", path, token=self.token, json=body, **more)

    async def put(self, path: str, body: Any = None, **more: Any) -> httpx.Response:
        return await self.api.call("PUT", path, token=self.token, json=body, **more)

    async def patch(self, path: str, body: Any = None, **more: Any) -> httpx.Response:
        return await self.api.call("PATCH", path, token=self.token, json=body, **more)

    async def delete(self, path: str, **more: Any) -> httpx.Response:
        return await self.api.call("DELETE", path, token=self.token, **more)


class Api:
    """The REST API of one server."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http

    async def call(
        self,
        method: str,
        path: str,
        *,
        token: str | None = None,
        headers: dict[str, str] | None = None,
        **more: Any,
    ) -> httpx.Response:
        """One request; `path` begins after /api."""
        given = dict(headers or {})
        if token is not None:
            given["Authorization"] = f"Bearer {token}"
        return await self.http.request(method, f"/api{path}", headers=given, **more)

    async def person(self, name: str = "Ann") -> Person:
        """A newly registered user."""
        email = f"{name.lower()}-{next(_numbers)}-{secrets.token_hex(4)}@example.org"
        answer = await self.call(
            "POST", "/auth/register", json={"email": email, "password": PASSWORD, "name": name}
        )
        assert answer.status_code == 201, answer.text
        data = answer.json()["data"]
        return Person(
            self,
            data["user"]["id"],
            email,
            name,
            data["accessToken"],
            data["refreshToken"],
            data["sessionId"],
            data["user"]["personalTeamId"],
        )

    async def team(self, owner: Person, **members: Person) -> str:
        """A team of `owner`, with members by role: `team(ann, viewer=bob)`."""
        answer = await owner.post("/teams", {"name": "Coffee corner"})
        assert answer.status_code == 201, answer.text
        team_id: str = answer.json()["teamId"]
        for role, member in members.items():
            added = await owner.post(f"/teams/{team_id}/members", {"userId": member.id, "role": role})
            assert added.status_code == 201, added.text
        return team_id


async def item(owner: Person, team_id: str | None = None, **fields: Any) -> dict[str, Any]:
    """A new inventory item, as the API answers it."""
    body = {"name": "Coffee beans", "quantity": 10, **({"teamId": team_id} if team_id else {}), **fields}
    answer = await owner.post("/inventory", body)
    assert answer.status_code == 201, answer.text
    data: dict[str, Any] = answer.json()["data"]
    return data


@contextlib.asynccontextmanager
async def api_of(url: str) -> AsyncIterator[Api]:
    """The API of a server that is not this process."""
    async with httpx.AsyncClient(base_url=url, timeout=10) as client:
        yield Api(client)
