"""The JavaScript SDK over each of its transports, against the server as it is shipped: two processes on one
port, and one elsewhere, to which a client of the emulation may send what it says.

Each file in javascript/themes/ runs in a Node process of its own, once for every transport. What it cannot do
itself it asks of us, one JSON object a line: {"ask": 7, "what": "world", …} is answered with {"answer": 7,
"value": …} or {"answer": 7, "error": "…"}. It reports each of its tests with {"test": "…", "ok": true}.
"""

import asyncio
import contextlib
import shutil
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx
import jwt
import msgspec

from domain.auth import tokens
from tests.conformance.harness import Broken, Verdict, child, product, serving
from tests.conformance.line import Line, line
from tests.factories import Api, Person, item

HERE: Final = Path(__file__).with_name("javascript")
TRANSPORTS: Final = (
    "websocket-json",
    "websocket-protobuf",
    "http_stream-json",
    "http_stream-protobuf",
    "sse-json",
)
THEMES: Final = tuple(sorted(path.stem for path in (HERE / "themes").glob("*.mjs")))
AT_ONCE: Final = 2
INSTALLED_WITHIN_S: Final = 120.0
# Longer than any single test is given by javascript/harness.mjs.
SILENT_FOR_S: Final = 90.0


@dataclass(frozen=True)
class Place:
    """The server at `url`, another process of it `elsewhere`, and the secret with which they sign tokens."""

    url: str
    elsewhere: str
    secret: str


@dataclass
class Report:
    """What one theme said of itself over one transport."""

    name: str
    passed: int = 0
    failures: list[str] = field(default_factory=list)


async def judge(ground: Path, *, only: str = "") -> Verdict:
    """The tests that passed; `only` those whose `transport/theme` has this in it."""
    chosen = [
        (transport, theme) for transport in TRANSPORTS for theme in THEMES if only in f"{transport}/{theme}"
    ]
    await installed(ground)
    verdict = Verdict(0, 0)
    async with product(ground) as served, serving(ground, served.config) as elsewhere:
        assert served.config.jwt_secret is not None, "the harness has set one"
        place = Place(served.url, elsewhere.url, served.config.jwt_secret)
        for report in await run(ground, place, chosen):
            verdict.passed += report.passed
            verdict.total += report.passed + len(report.failures)
            verdict.notes.append(f"{report.name}: {report.passed} of {report.passed + len(report.failures)}")
            verdict.notes += [f"  {failure}" for failure in report.failures]
        for process in (served.process, elsewhere.process):
            verdict.heard(process)
    return verdict


async def installed(ground: Path) -> None:
    """The SDK as package-lock.json has it, with its hashes. Raises Broken without Node or its packages."""
    mark = HERE / "node_modules" / ".package-lock.json"
    lock = HERE / "package-lock.json"
    if mark.exists() and mark.stat().st_mtime >= lock.stat().st_mtime:
        return
    if shutil.which("node") is None or shutil.which("npm") is None:
        raise Broken("Node.js and npm are not installed (Node 20 or newer)")
    async with child("npm", "npm", "ci", ground=ground, cwd=HERE) as npm:
        status, _ = await npm.ended(INSTALLED_WITHIN_S)
        if status:
            raise Broken(f"npm could not install the SDK:\n{npm.errors()[-2000:]}")


async def run(ground: Path, place: Place, chosen: Sequence[tuple[str, str]]) -> list[Report]:
    """Each (transport, theme) there."""
    free = asyncio.Semaphore(AT_ONCE)

    async def one(transport: str, theme: str) -> Report:
        async with (
            free,
            httpx.AsyncClient(base_url=place.url, timeout=10) as http,
            contextlib.AsyncExitStack() as lines,
        ):
            return await _play(ground, Stage(place, Api(http), lines), transport, theme)

    return await asyncio.gather(*(one(transport, theme) for transport, theme in chosen))


class Stage:
    """What the scripts may ask for; a verb each."""

    def __init__(self, place: Place, api: Api, open_lines: contextlib.AsyncExitStack) -> None:
        self.place = place
        self._api = api
        self._open_lines = open_lines
        self._people: dict[str, Person] = {}
        self._lines: dict[str, Line] = {}
        self.verbs: dict[str, Callable[..., Awaitable[Any]]] = {
            "world": self._world,
            "rest": self._rest,
            "adjust": self._adjust,
            "token": self._token,
            "line": self._line,
            "cut": self._cut,
            "mend": self._mend,
        }

    async def _world(self) -> dict[str, Any]:
        """Ann and her team with an item in it, Bob who is a viewer of it, and Eve, a stranger."""
        ann, bob, eve = [await self._api.person(name) for name in ("Ann", "Bob", "Eve")]
        team = await self._api.team(ann, viewer=bob)
        beans = await item(ann, team, quantity=0)
        people = {person.name.lower(): person for person in (ann, bob, eve)}
        self._people |= {person.id: person for person in people.values()}
        shown = {name: {"id": person.id, "token": person.token} for name, person in people.items()}
        return {**shown, "team": team, "item": beans["id"], "channel": f"inventory:{team}"}

    async def _rest(self, user: str, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """One request as this user; `path` begins after /api."""
        more = {} if body is None else {"json": body}
        answer = await self._api.call(method, path, token=self._people[user].token, **more)
        return {"status": answer.status_code, "body": answer.json() if answer.content else None}

    async def _adjust(self, user: str, item: str, count: int = 1, ballast: int = 0) -> None:
        """Add 1 to the stock so many times, one after another, each with so many bytes of reason."""
        for _ in range(count):
            reason = "delivered" + "." * ballast
            answer = await self._people[user].post(
                f"/inventory/{item}/adjust", {"delta": 1, "reason": reason}
            )
            assert answer.status_code == 200, answer.text

    async def _token(self, user: str, lasts_s: int) -> str:
        """An access token of this user's session that ends so soon (negative: it has ended)."""
        person = self._people[user]
        issued = int(time.time())
        claims = {"sub": person.id, "sid": person.session_id, "iat": issued, "exp": issued + lasts_s}
        named = {"iss": tokens.ISSUER, "aud": tokens.AUDIENCE}
        return jwt.encode(
            {**claims, **named}, self.place.secret, algorithm="HS256", headers={"typ": "at+jwt"}
        )

    async def _line(self, bytes_per_s: int | None = None) -> str:
        """The URL of a line to the server."""
        made = await self._open_lines.enter_async_context(line(self.place.url, bytes_per_s=bytes_per_s))
        self._lines[made.url] = made
        return made.url

    async def _cut(self, line: str) -> None:
        self._lines[line].cut()

    async def _mend(self, line: str) -> None:
        self._lines[line].mend()


async def _play(ground: Path, stage: Stage, transport: str, theme: str) -> Report:
    report = Report(f"{transport}/{theme}")
    where = {"url": stage.place.url, "elsewhere": stage.place.elsewhere}
    about = msgspec.json.encode({"transport": transport, **where}).decode()
    script = HERE / "themes" / f"{theme}.mjs"
    answering: set[asyncio.Task[None]] = set()
    try:
        async with child(report.name, "node", script, about, ground=ground, cwd=HERE) as node:

            async def answer(number: int, what: str, arguments: dict[str, Any]) -> None:
                try:
                    node.tell({"answer": number, "value": await stage.verbs[what](**arguments)})
                except Exception as error:  # whatever it is, the script is to hear of it
                    node.tell({"answer": number, "error": f"{what}: {error!r}"})

            while (said := await node.line(SILENT_FOR_S)) is not None:
                message = msgspec.json.decode(said, type=dict[str, Any])
                if "ask" in message:
                    task = asyncio.create_task(
                        answer(message["ask"], message["what"], message.get("with", {}))
                    )
                    answering.add(task)
                    task.add_done_callback(answering.discard)
                elif message["ok"]:
                    report.passed += 1
                else:
                    report.failures.append(f"{message['test']}: {message['why']}")
            status, _ = await node.ended(SILENT_FOR_S)
            if status or not (report.passed or report.failures):
                report.failures.append(f"it ended with {status}: {node.errors()[-1000:]}")
    except Broken as broken:
        report.failures.append(str(broken))
    finally:
        for task in answering:
            task.cancel()
    return report
