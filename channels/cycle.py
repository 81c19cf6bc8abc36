"""One request under uvicorn's HTTP engine: the application is run, whatever comes of it, or stopped.

uvicorn lets a handler run on when its client is gone: whoever sends requests and hangs up would keep locks
and connections busy for nothing. Here it is cancelled, its transaction is rolled back, and nothing is logged
as a failure; unless it is at its COMMIT already (domain/commits.py), or has begun to answer: a stream is told
by its own receive(). Nothing is paid for that by a request whose client stays.
"""

import asyncio
import logging
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from channels.refusals import refusal
from domain import bugs, commits

log = logging.getLogger("maycole.http")

HUNG_UP: Final = 499  # nginx's status for a request whose client did not wait

_running: Final[dict[asyncio.Task[None], RequestResponseCycle]] = {}


class HangUps:
    """How many were stopped in this process because their client was gone."""

    count = 0


async def run(cycle: RequestResponseCycle, app: Any) -> None:
    """Let the application answer; a task of the server's, so whatever goes wrong ends here."""
    task = asyncio.current_task()
    assert task is not None, "the server makes a task of it"
    _running[task] = cycle
    try:
        await app(cycle.scope, cycle.receive, cycle.send)
        if not cycle.disconnected and not cycle.response_complete:
            raise RuntimeError("the application did not answer to the end")
    except asyncio.CancelledError:
        if cycle.disconnected:
            HangUps.count += 1
            method, path = cycle.scope["method"], cycle.scope["path"]
            log.info("%s %s %r %d: the client is gone", _request_id(cycle), method, path, HUNG_UP)
        else:
            # The server stops, and its grace is over.
            log.error("%s was cut off: the server stops", _request_id(cycle))
            _end(cycle, 503)
    except Exception as error:
        log.error("%s failed", _request_id(cycle), exc_info=error)
        bugs.report(error, where="the HTTP engine", request_id=_request_id(cycle))
        _end(cycle, 500)
    finally:
        del _running[task]
        cycle.on_response = lambda: None


def client_is_gone(task: asyncio.Task[None]) -> None:
    """Stop its work, where that undoes something."""
    cycle = _running.get(task)
    if cycle is None or cycle.response_started or commits.have_begun(task):
        return
    cycle.disconnected = True  # upstream says so only to the last one in a pipeline
    task.cancel()


def _end(cycle: RequestResponseCycle, status: int) -> None:
    if cycle.disconnected or cycle.transport.is_closing():
        return
    if not cycle.response_started:
        cycle.response_started = True
        cycle.transport.write(refusal(status, _request_id(cycle)))
    cycle.response_complete = True
    cycle.transport.close()


def _request_id(cycle: RequestResponseCycle) -> str | None:
    known: str | None = cycle.scope.get("state", {}).get("request_id")
    return known
