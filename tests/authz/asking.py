"""Asking: one request of a case, what it was answered, and what is wrong with that."""

import json
from dataclasses import dataclass
from typing import Any

import httpx

from tests.authz.matrix import Cell, Route
from tests.authz.scene import Scene
from tests.authz.things import filled

# What differs between any two answers; the length of both is the same, and is compared.
_VARIES = ("date", "x-request-id", "ratelimit")
_ID_CHARS_MIN = 8  # what is shorter, such as a number, is not looked for in an answer


@dataclass
class Asked:
    """A request, with the ids that were in it, and its answer."""

    caller: str
    given: dict[str, str]
    answer: httpx.Response

    @property
    def bare(self) -> tuple[int, bytes, dict[str, str]]:
        """The answer to the byte, but for its request's id, its time, and the ids that were asked with."""
        body = self.answer.content.replace(self.answer.headers.get("x-request-id", "-").encode(), b"")
        for name, value in self.given.items():
            if len(value) >= _ID_CHARS_MIN:
                body = body.replace(value.encode(), name.encode())
        headers = {name: value for name, value in self.answer.headers.items() if name not in _VARIES}
        return self.answer.status_code, body, headers

    def wrong(self, cell: Cell) -> str | None:
        """How the answer is not what the cell says."""
        status, codes = self.answer.status_code, cell.codes
        if cell.status not in (0, status):
            return f"expected {cell.status}, was answered {status} {self.answer.text[:300]}"
        if codes and (code := self.answer.json().get("code")) not in codes:
            return f"expected {' or '.join(codes)}, was answered {code}"
        if codes and "x-stream-position" in self.answer.headers:
            return "refused, and yet told of a position"
        return None

    def leaks(self, scene: Scene) -> str | None:
        """The first canary in the answer that is not this caller's to see, and that they did not send."""
        text = f"{self.answer.text} {dict(self.answer.headers)}"
        for name, value in self.given.items():
            text = text.replace(value, name)
        for canary in scene.foreign_to(self.caller):
            if canary in text:
                place = text.index(canary)
                return f"it has {text[max(0, place - 80) : place + 40]!r} in it"
        return None


async def ask(
    scene: Scene, route: Route, caller: str, token: str | None, given: dict[str, str], **query: str
) -> Asked:
    """The route, with these ids, by whoever has the token. What streams is left at its first bytes."""
    body = filled(route.body, given)
    path = route.path.format(**given)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    if body is not None:
        headers["Content-Type"] = "application/json"
    answer = await scene.api.http.request(
        route.method,
        path,
        params={**filled(route.query, given), **query},
        content=json.dumps(body) if body is not None else None,
        headers=headers,
    )
    # A client that says who it was before would be somebody else in the next case.
    scene.api.http.cookies.clear()
    return Asked(caller, given, answer)


def cursor_of(asked: Asked) -> Any:
    """What leads to the next page."""
    return asked.answer.json()["nextCursor"]
