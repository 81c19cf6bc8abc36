"""The OpenAPI document held against the server, by schemathesis: what it may be sent, it is sent.

For each operation the parameters and bodies that the document allows, and such that it forbids; each
answer is held against the document. Ids in the address are those of the caller's own things, so that requests
get as far as the product; what else ids may look like is in test_hostile_strings.py.
"""

import asyncio
import re
from collections.abc import Iterator
from typing import Any, Final

import schemathesis
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import events, from_schema

from tests.authz import matrix, people
from tests.authz.matrix import ROLES, Route
from tests.authz.scene import Scene
from tests.authz.things import ids_for
from tests.factories import Person

Json = dict[str, Any]
# A method, a path and a row of the matrix.
Operation = tuple[str, str, Route]
FEW: Final = 2
CALLERS: Final = ("nobody", "unverified", *ROLES, "staff", "key")
# An opaque cursor, a one-time link and a wrong code are what no schema can say: that what it allows is taken
# (`positive_data_acceptance`) cannot be held against it. What else there is, is.
CHECKS: Final = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "response_headers_conformance",
    "negative_data_rejection",
    "ignored_auth",
    "unsupported_method",
)
# Each operation by itself: what was learned of one would be sent to it, and to others, over and over.
ALONE: Final = {"extra-data-sources": {"responses": False}}
_ROWS: Final = {row.route: row for row in matrix.read().routes if " # " not in row.name}


def operations(document: Json) -> Iterator[Operation]:
    """Each operation, by method and path as the document has them, with its row of the matrix."""
    for path, methods in document["paths"].items():
        for method in methods:
            yield method.upper(), path, _ROWS[f"{method.upper()} {_snake(path)}"]


async def findings(
    scene: Scene, document: Json, url: str, caller: str, operation: Operation, examples: int
) -> tuple[int, list[str]]:
    """How many requests were made by this caller, and what was wrong with the answers."""
    config = {
        "base-url": url,
        **await _who(scene, caller, operation),
        "generation": {
            "mode": "all",
            "max-examples": examples,
            "deterministic": True,
            "database": "none",
            "allow-x00": True,
        },
        "checks": {"enabled": False, **{check: {"enabled": True} for check in CHECKS}},
        "phases": {
            "stateful": {"enabled": False},
            "examples": {"enabled": False},
            # Every limit of every field, and each method that there is not: many requests.
            "coverage": {"enabled": examples > FEW, **ALONE},
            "fuzzing": {**ALONE, "error-feedback": {"enabled": False}},
        },
        "cache": {"enabled": False},
        "warnings": False,
        "workers": 1,
        "continue-on-failure": True,
    }
    schema = schemathesis.openapi.from_dict(document, config=SchemathesisConfig.from_dict(config))
    only = schema.include(method=operation[0], path=operation[1])
    return await asyncio.to_thread(_run, only, caller)


async def _who(scene: Scene, caller: str, operation: Operation) -> Json:
    """Who asks for this operation, and with which ids."""
    _, path, route = operation
    person = await _stand_in(scene, caller) if route.disposable else scene.person(caller)
    token = person.token if person is not None else None
    if caller == "key":
        token = await scene.token(caller, route)
    whose = "owner" if caller == "nobody" else caller
    given = await ids_for(scene, route, whose, "own", person=person, anew=True)
    return {
        "headers": {"Authorization": f"Bearer {token}"} if token else {},
        "parameters": {f"path.{name}": given[_snake(name)] for name in re.findall(r"{(\w+)}", path)},
    }


def _run(schema: Any, caller: str) -> tuple[int, list[str]]:
    """In a thread of its own: the server answers in the one that asks."""
    asked, found = 0, []
    for event in from_schema(schema).execute():
        if isinstance(event, events.NonFatalError):
            found.append(f"{event.label} by {caller}: {event.value!r}")
        elif isinstance(event, events.FatalError):
            raise event.exception
        elif isinstance(event, events.ScenarioFinished):
            asked += len(event.recorder.interactions)
            found += [f"{event.recorder.label} by {caller}: {what}" for what in _failures(event.recorder)]
    return asked, found


def _failures(recorder: Any) -> Iterator[str]:
    for case_id, checks in recorder.checks.items():
        for check in checks:
            if check.failure_info is not None:
                command = recorder.cases[case_id].value.as_curl_command()
                yield f"{check.name}: {check.failure_info.failure.message[:500]} {command[:1000]}"


async def _stand_in(scene: Scene, caller: str) -> Person | None:
    """Somebody like the caller, for a route that uses up whoever asks."""
    if caller == "nobody":
        return None
    verified, staff = caller != "unverified", caller == "staff"
    return await people.someone(scene.api, "Stand-in", verified=verified, staff=staff)


def _snake(text: str) -> str:
    return re.sub(r"([A-Z])", lambda letter: f"_{letter[1].lower()}", text)
