"""API keys, made over the API by their people."""

import zlib
from typing import Any

import httpx

from domain.auth import key_text
from tests.app.company import problem
from tests.factories import Api, Person


async def new_key(person: Person, *scopes: str, **fields: Any) -> dict[str, Any]:
    """A new key of this person, as it is answered once; `key` is its text."""
    answer = await person.post("/auth/api-keys", {"name": "Stock robot", "scopes": list(scopes), **fields})
    assert answer.status_code == 201, answer.text
    data: dict[str, Any] = answer.json()["data"]
    return data


async def by(key: dict[str, Any], person: Person, method: str, path: str, **more: Any) -> httpx.Response:
    """One request that comes with a key."""
    return await person.api.call(method, path, token=key["key"], **more)


def forged(key: dict[str, Any], *, key_id: str | None = None) -> str:
    """A key of the right form and checksum, with a secret of one's own."""
    body = f"{key_text.shown(key_id or key['id'])}_{'A' * key_text.SECRET_CHARS}"
    return body + key_text._base62(zlib.crc32(body.encode()), key_text.CHECKSUM_CHARS)


async def opens(api: Api, token: str) -> bool:
    """Whether a key authenticates; if not, it is said in the words for all that is no key."""
    answer = await api.call("GET", "/users/me", token=token)
    if answer.status_code != 200:
        problem(answer, 401, "invalid_api_key")
    return answer.status_code == 200


async def trail(owner: Person, team: str, action: str) -> list[dict[str, Any]]:
    """What a team's trail has of this action, newest first."""
    page = await owner.get(f"/audit-logs?teamId={team}&action={action}")
    rows: list[dict[str, Any]] = page.json()["data"]
    return rows
