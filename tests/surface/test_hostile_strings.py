"""Hostile texts in every field, address, query and header that the API's document has: never a 5xx.

What is taken comes back as it was sent. Everything is made from the OpenAPI document, so that a route that is
added is tried too. The short tier tries each text in some places and some texts in each place; with EXAMPLES
(`make surface`) it is each text in each place. What is not in the document is in test_pages_and_streams.py.
"""

import json
import os
import re
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import quote

import httpx
import pytest

from tests.app.test_surface import JUNK
from tests.authz import people
from tests.authz.scene import Scene
from tests.authz.things import filled, ids_for
from tests.surface.asked import Json, Operation, operations
from tests.surface.hostile import TEXTS, Field, fields

# In the short tier a place gets one in so many of the texts.
EVERY: Final = 1 if os.environ.get("EXAMPLES") else 60
pytestmark = pytest.mark.timeout(3600)  # the long tier
LONE: Final = '"a\\ud800b"', '"\\udfff"', '"\\ud800\\ud800"'


class Call:
    """One operation, by somebody who may, on things of their own."""

    def __init__(self, scene: Scene, operation: Operation, token: str, given: dict[str, str]) -> None:
        self.method, path, self._route = operation
        self._scene, self._token = scene, token
        self.names = re.findall(r"{(\w+)}", path)
        self._path = path
        self._given = given
        self.body: Json = filled(self._route.body, given) or {}

    async def __call__(
        self,
        *,
        body: bytes | None = None,
        query: str = "",
        put: dict[str, str] | None = None,
        headers: dict[str, bytes] | None = None,
    ) -> httpx.Response:
        """`put` are path parameters, quoted already."""
        snake = {
            name: re.sub(r"([A-Z])", lambda letter: f"_{letter[1].lower()}", name) for name in self.names
        }
        places = {name: self._given[snake[name]] for name in self.names} | (put or {})
        given: dict[str, Any] = {"Authorization": f"Bearer {self._token}"}
        if body is not None:
            given["Content-Type"] = "application/json"
        http = self._scene.api.http
        answer = await http.request(
            self.method,
            f"{self._path.format(**places)}{query and '?'}{query}",
            content=body,
            headers={**given, **(headers or {})},
        )
        http.cookies.clear()
        return answer


Calls = list[tuple[Json, Call]]


@pytest.fixture(scope="module")
async def calls(scene: Scene, document: Json) -> Calls:
    """Every operation of the document, ready to be called by an owner."""
    found = []
    for operation in operations(document):
        method, path, route = operation
        staff = route.section == "staff"
        ann = scene.staff if staff else scene.acme.owner
        if route.disposable:
            ann = await people.someone(scene.api, "Ann")
        given = await ids_for(scene, route, "staff" if staff else "owner", "own", person=ann, anew=True)
        found.append((document["paths"][path][method.lower()], Call(scene, operation, ann.token, given)))
    return found


def some(place: int) -> Iterator[str]:
    """The texts for this place: in the short tier not all, and other ones than for the next."""
    return (text for number, text in enumerate(TEXTS) if (number + place) % EVERY == 0)


def body_of(document: Json, operation: Json) -> list[Field]:
    if "requestBody" not in operation:
        return []
    return list(fields(document, operation["requestBody"]["content"]["application/json"]["schema"]))


def kept(answer: httpx.Response, field: Field) -> Any:
    """What the answer has where the text was sent; None where it has nothing of it."""
    found = answer.json().get("data") if answer.content else None
    for step in field.steps:
        if not isinstance(found, dict | list) or (isinstance(found, dict) and step not in found):
            return None
        found = found[step]  # type: ignore[index]
    return found


async def test_every_text_in_every_field_is_kept_as_it_is_or_refused(calls: Calls, document: Json) -> None:
    wrong, tried, place = [], 0, 0
    for operation, call in calls:
        for field in body_of(document, operation):
            place += 1
            for text in some(place):
                answer = await call(body=json.dumps(field.put(call.body, text)).encode())
                tried += 1
                where = f"{operation['operationId']} {field.steps} {text[:40]!r}"
                if answer.status_code >= 500:
                    wrong.append(f"{where}: {answer.text}")
                elif answer.status_code < 300 and kept(answer, field) not in (None, text):
                    wrong.append(f"{where}: kept as {kept(answer, field)!r}")
    assert place > 80
    assert tried > 2 * place
    assert not wrong, "\n".join(wrong)


async def test_a_lone_surrogate_is_refused_in_every_field(calls: Calls, document: Json) -> None:
    """It is no character: neither UTF-8 nor Postgres has it."""
    tried = 0
    for operation, call in calls:
        for field in body_of(document, operation):
            lone = LONE[tried % len(LONE)]
            body = json.dumps(field.put(call.body, "HERE")).replace('"HERE"', lone).encode()
            answer = await call(body=body)
            tried += 1
            where = (operation["operationId"], field.steps, lone, answer.text)
            assert (answer.status_code, answer.json()["code"]) == (400, "malformed_json"), where
    assert tried > 80


async def test_every_parameter_takes_any_text_or_refuses_it(calls: Calls) -> None:
    place = 0
    for operation, call in calls:
        named = [one["name"] for one in operation["parameters"] if one["in"] == "query"]
        for name in (*named, "explain"):
            place += 1
            for text in some(place):
                odd = quote(text)[:20_000]
                query = f"{name}={odd}&{odd}={name}"
                answer = await call(query=query, body=b"{}" if "requestBody" in operation else None)
                assert answer.status_code < 500, (operation["operationId"], query[:80], answer.text)
    assert place > 100


async def test_every_id_in_an_address_is_found_or_not(calls: Calls) -> None:
    place = 0
    for operation, call in calls:
        for name in call.names:
            place += 1
            texts = [quote(text, safe="") for text in some(place)] + JUNK[place % 8 :: 8]
            for text in texts:
                body = json.dumps(call.body).encode() if "requestBody" in operation else None
                answer = await call(put={name: text}, body=body)
                where = (operation["operationId"], name, text[:80], answer.text)
                # `me`, `all` and the like are names; an empty one is another route.
                assert answer.status_code < 500, where
    assert place > 30
