"""One team with somebody in every role, somebody outside, and what an answer looks like to compare."""

from dataclasses import dataclass
from typing import Any

import httpx

from tests.factories import Api, Person

ROLES = ("viewer", "member", "admin", "owner")


@dataclass
class Company:
    """A team and its people; `people` also has the stranger."""

    api: Api
    team: str
    people: dict[str, Person]

    def __getitem__(self, role: str) -> Person:
        return self.people[role]

    async def call(self, caller: str, method: str, path: str, **more: Any) -> httpx.Response:
        """One request by whoever plays this part; `nobody` sends no token."""
        token = None if caller == "nobody" else self.people[caller].token
        return await self.api.call(method, path, token=token, **more)


async def company(api: Api) -> Company:
    people = {name: await api.person(name.capitalize()) for name in ("stranger", *ROLES)}
    members = {role: people[role] for role in ROLES if role != "owner"}
    return Company(api, await api.team(people["owner"], **members), people)


def bare(answer: httpx.Response) -> tuple[int, dict[str, Any], dict[str, str]]:
    """An answer without what differs between any two requests: its id, its address, its time and length."""
    body = {name: value for name, value in answer.json().items() if name not in ("requestId", "instance")}
    varies = ("date", "x-request-id", "content-length", "ratelimit")
    return (
        answer.status_code,
        body,
        {name: value for name, value in answer.headers.items() if name not in varies},
    )


def problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The problem document of a refusal, once it is shown to be this one."""
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    body: dict[str, Any] = answer.json()
    assert (answer.status_code, body["code"]) == (status, code), body
    assert body["status"] == status
    assert body["success"] is False
    assert body["requestId"] == answer.headers["X-Request-Id"]
    assert "X-Stream-Position" not in answer.headers, "what is refused has reached nobody"
    return body
