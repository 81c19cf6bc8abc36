"""Autobahn's cases for websocket servers, run by kosoku, against the server as it is shipped.

The cases want an echo, so the application is one (echo.py); the server around it has `app.server.SETTINGS`.

as shipped        every case with messages up to FRAME_BYTES_MAX
above the limit   the others twice: as shipped, where the answer has to be 1009; with `ws_max_size` lifted,
                  and nothing else, where they have to pass
at the endpoint   the cases in which nothing is echoed, again, at /connection/websocket of the product

Compression is not offered, so 12.* and 13.* do not apply. A server that complains on stderr fails.
"""

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from kosoku import FailureError, run_fuzzingclient

from app.server import SETTINGS
from tests.conformance.harness import Broken, Verdict, child, listens_on, module, product

ALL_WITHIN_S: Final = 240.0
COMPRESSED: Final = ("12.*", "13.*")
ABOVE_THE_LIMIT: Final = (
    *(f"9.{kind}.{size}" for kind in (1, 2) for size in range(2, 7)),
    *("9.3.*", "9.4.*", "9.5.*", "9.6.*"),
)
LIFTED_BYTES: Final = 16 * 1024 * 1024  # the largest message of all


async def judge(ground: Path) -> Verdict:
    """Run everything; the cases that passed, of those that apply."""
    limit = SETTINGS["ws_max_size"]
    verdict = Verdict(0, 0)

    def count(what: str, results: Sequence[dict[str, Any]], wrong: Iterable[str]) -> None:
        wrong = list(wrong)
        verdict.total += len(results)
        verdict.passed += len(results) - len(wrong)
        verdict.notes.append(f"{what}: {len(results) - len(wrong)} of {len(results)}")
        verdict.notes += wrong

    async with _echo(ground, verdict) as url:
        shipped = await _run(ground, url, (), (*ABOVE_THE_LIMIT, *COMPRESSED))
        cut = await _run(ground, url, ABOVE_THE_LIMIT, ())
    count("as shipped", shipped, _failed(shipped))
    uncut = [f"  {one['case']}: {one['code']} instead of 1009" for one in cut if one["code"] != 1009]
    count(f"above {limit} bytes, as shipped, are answered with 1009", cut, uncut)
    async with _echo(ground, verdict, f"ws_max_size={LIFTED_BYTES}") as url:
        lifted = await _run(ground, url, ABOVE_THE_LIMIT, ())
    count(f"above {limit} bytes, with ws_max_size={LIFTED_BYTES}", lifted, _failed(lifted))
    # The echoes of 9.* are not kept with the results.
    unechoed = [one["case"] for one in shipped if not one["echoed"] and not one["case"].startswith("9.")]
    async with product(ground) as served:
        at_endpoint = await _run(ground, served.websocket, unechoed, ())
        verdict.heard(served.process)
    count("nothing to echo, at /connection/websocket", at_endpoint, _failed(at_endpoint))
    verdict.notes.append("compression is not offered, so 12.* and 13.* do not apply")
    return verdict


@contextlib.asynccontextmanager
async def _echo(ground: Path, verdict: Verdict, *settings: str) -> AsyncIterator[str]:
    """Where the echo listens."""
    async with child("the echo", *module("echo"), *settings, ground=ground) as server:
        yield (await listens_on(server)).replace("http", "ws", 1)
        verdict.heard(server)


async def _run(
    ground: Path, url: str, include: Sequence[str], exclude: Sequence[str]
) -> list[dict[str, Any]]:
    """In a process of its own: kosoku has been seen to abort the interpreter when it ends."""
    asked = json.dumps({"url": url, "include": include, "exclude": exclude})
    async with child("kosoku", *module("autobahn"), asked, ground=ground) as runner:
        status, printed = await runner.ended(ALL_WITHIN_S)
        if status:
            raise Broken(f"kosoku ended with {status}:\n{runner.errors()[-2000:]}")
    results: list[dict[str, Any]] = json.loads(printed)
    return results


def _failed(results: Iterable[dict[str, Any]]) -> Iterable[str]:
    return [f"  {one['case']}: {one['why']}" for one in results if not one["passed"]]


async def _fuzz(asked: dict[str, Any]) -> None:
    try:
        results = await run_fuzzingclient(asked["url"], asked["include"] or None, asked["exclude"] or None)
    except FailureError as failure:
        results = failure.results
    said = [
        {
            "case": one.case_id,
            "passed": one.passed,
            "code": one.remote_close_code,
            "echoed": any(event[0] == "message" for event in one.received),
            "why": f"{one.behavior.value}, close {one.behavior_close.value} {one.remote_close_code}",
        }
        for one in results
    ]
    print(json.dumps(said), flush=True)


if __name__ == "__main__":
    asyncio.run(_fuzz(json.loads(sys.argv[1])))
    os._exit(0)
