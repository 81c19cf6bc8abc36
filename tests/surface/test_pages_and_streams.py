"""Hostile texts for the routes that no document has: pages, their files, ways to open a live connection.

They are taken from the application itself, so that one that is added is tried too. Each request is sent byte
for byte, and of the answer only the status is read: a stream does not end.
"""

import asyncio
import json
import re
from typing import Any, Final
from urllib.parse import quote, urlsplit

from litestar.routes import HTTPRoute

from tests.app.test_surface import JUNK
from tests.authz.scene import Scene
from tests.conftest import Served
from tests.surface.hostile import TEXTS

WITHIN_S: Final = 10
QUOTED: Final = (*(quote(text, safe="")[:20_000] for text in TEXTS), *JUNK)
# What a stream reads of its query, or of its body: names, with what is good.
GOOD: Final[dict[str, dict[str, str]]] = {
    "/connection/uni_sse": {"token": "{token}", "channel": "inventory:{team}", "since": ""},
    "/connection/sse": {"cf_connect": '{{"id":1,"connect":{{"token":"{token}"}}}}'},
}
BODIES: Final[dict[str, dict[str, Any]]] = {
    "/emulation": {"node": "a", "session": "b", "data": "{}"},
    "/connection/http_stream": {"id": 1, "connect": {"token": "x"}},
}


def hidden(served: Served) -> list[tuple[str, str]]:
    """Methods and paths of the routes that are in no document."""
    return sorted(
        (method, route.path_format)
        for route in served.app.routes
        if isinstance(route, HTTPRoute)
        for method, (handler, _) in route.route_handler_map.items()
        if method != "OPTIONS" and not handler.resolve_include_in_schema()
    )


async def status(url: str, method: str, target: str, body: bytes = b"", **headers: str) -> int:
    """What it is answered with; the connection is closed then."""
    where = urlsplit(url)
    given = {"Host": "localhost", "Connection": "close", "Content-Length": str(len(body)), **headers}
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in given.items()), "", ""]
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    try:
        writer.write("\r\n".join(lines).encode() + body)
        async with asyncio.timeout(WITHIN_S):
            first = await reader.readline()
    finally:
        writer.transport.abort()
    return int(first.split()[1])


async def test_every_address_around_a_page_or_a_stream_is_found_or_not(served: Served) -> None:
    routes, tried = hidden(served), set()
    for method, path in routes:
        above = path.rpartition("/")[0]
        for text in (*QUOTED, "a" * 256, ".", "..", ""):
            for target in (
                re.sub(r"{\w+}", lambda _, text=text: text, path),
                f"{path}/{text}",
                f"{above}/{text}",
            ):
                if target not in tried:
                    tried.add(target)
                    assert await status(served.url, method, target) < 500, (method, target[:80])
    assert len(routes) > 20
    assert len(tried) > 20 * len(routes)


async def test_every_query_of_a_page_or_a_stream_is_taken_or_refused(served: Served, scene: Scene) -> None:
    token, team = scene.acme.owner.token, scene.acme.team_id
    reached = set()
    for method, path in hidden(served):
        good = {name: quote(kept.format(token=token, team=team)) for name, kept in GOOD.get(path, {}).items()}
        for name in (*good, "explain"):
            for text in QUOTED:
                given = {**good, name: text}
                query = "&".join(f"{name}={value}" for name, value in given.items())
                got = await status(
                    served.url, method, f"{path}?{query}&{text}={text}", **{"Last-Event-ID": text}
                )
                assert got < 500, (method, path, name, text[:80])
                reached.add((path, got))
    assert set(GOOD) <= {path for path, got in reached if got == 200}, "the good ones were good"
    assert ("/connection/uni_sse", 401) in reached


async def test_whatever_comes_up_is_a_frame_or_it_is_not(served: Served) -> None:
    taking = [path for method, path in hidden(served) if method == "POST"]
    assert set(taking) == set(BODIES)
    for path in taking:
        for kind in ("application/json", "application/octet-stream"):
            for text in (*TEXTS, *JUNK):
                bodies = [text.encode(), json.dumps(text).encode()]
                bodies += [json.dumps({**BODIES[path], name: text}).encode() for name in BODIES[path]]
                for body in bodies:
                    got = await status(served.url, "POST", path, body, **{"Content-Type": kind})
                    assert got < 500, (path, kind, body[:80])
