"""Requests that can be found again in the trail: each has an id of its own, over REST and over the socket."""

import itertools
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from domain import db
from tests.authz.performing import Act, Stage
from tests.raw import raw

AGENT: Final = "a walk through the trail/1.0"
_numbers = itertools.count(1)


@dataclass
class Asked:
    """What a request was answered, and what it is called in the trail."""

    request_id: str
    status: int
    body: Any


# By a method, for an act, with a token.
Ask = Callable[[str, Act, str | None], Awaitable[Asked]]


def over_rest(stage: Stage) -> Ask:
    async def ask(method: str, act: Act, token: str | None) -> Asked:
        headers = {"X-Request-Id": _new_id(), "User-Agent": AGENT}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        answer = await stage.api.http.request(method, act.path, json=act.body, headers=headers)
        stage.api.http.cookies.clear()
        return Asked(headers["X-Request-Id"], answer.status_code, answer.json() if answer.content else None)

    return ask


def over_the_socket(url: str) -> Ask:
    async def ask(method: str, act: Act, token: str | None) -> Asked:
        request_id = _new_id()
        data: dict[str, Any] = {"headers": {"x-request-id": request_id}}
        if act.body is not None:
            data["body"] = act.body
        async with raw(url, token=token, agent=AGENT) as client:
            answer = (await client.ask(rpc={"method": f"{method} {act.path}", "data": data}))["rpc"]["data"]
        return Asked(request_id, answer["status"], answer.get("body"))

    return ask


async def rows(request_id: str) -> list[dict[str, Any]]:
    """What a request left in any trail."""
    found = await db.fetch("SELECT * FROM audit_logs WHERE request_id = $1 ORDER BY timestamp", request_id)
    return [dict(row) for row in found]


def _new_id() -> str:
    return f"walk-{next(_numbers)}-{secrets.token_hex(4)}"
