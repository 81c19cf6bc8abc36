"""Requests with an Idempotency-Key, and what is kept of them."""

import secrets
from typing import Any

import httpx

from domain import db
from tests.factories import PASSWORD, Api


def new_key() -> str:
    return secrets.token_urlsafe(24)


def with_key(key: str) -> dict[str, str]:
    return {"Idempotency-Key": key}


def replayed(answer: httpx.Response) -> bool:
    return answer.headers.get("Idempotent-Replayed") == "true"


def told(answer: httpx.Response) -> tuple[int, bytes, dict[str, str]]:
    """What was answered, without what is of the exchange rather than of the answer."""
    of_exchange = ("date", "ratelimit", "x-request-id", "idempotent-replayed")
    return (
        answer.status_code,
        answer.content,
        {name: value for name, value in answer.headers.items() if name not in of_exchange},
    )


async def rows(key: str) -> list[dict[str, Any]]:
    return [dict(row) for row in await db.fetch("SELECT * FROM idempotency_keys WHERE key = $1", key)]


async def expire(key: str) -> None:
    """As if its time were over."""
    await db.execute(
        "UPDATE idempotency_keys SET expires_at = now() - interval '1 second' WHERE key = $1", key
    )


def newcomer(name: str = "Ann") -> dict[str, str]:
    """What somebody registers with."""
    return {"email": f"{name.lower()}-{secrets.token_hex(6)}@example.org", "password": PASSWORD, "name": name}


async def register(api: Api, body: dict[str, str], key: str) -> httpx.Response:
    return await api.call("POST", "/auth/register", json=body, headers=with_key(key))
