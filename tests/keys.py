"""API keys, made over the API by their people."""

import zlib
from typing import Any

import httpx

from domain.auth import key_text
from tests.factories import Person


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
