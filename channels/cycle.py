"""One request under uvicorn's HTTP engine: the application is run, whatever comes of it, or stopped.

uvicorn lets a handler run on when its client is gone: whoever sends requests and hangs up would keep locks
and connections busy for nothing. Here it is cancelled, its transaction is rolled back, and nothing is logged
as a failure; unless it is at a COMMIT (channels/hang_ups.py), or has begun to answer: a stream is
told by its own receive(). Nothing is paid for that by a request whose client stays.
"""

import asyncio
import logging
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from channels import hang_ups
from channels.refusals import REFUSALS, refusal
from channels.request_ids import known_as
from domain import bugs

log = logging.getLogger("maycole.http")

# What a request is told that is stopped by the server's end. By what its client sent: see `is_broken`.
STOPPING: Final = "busy"

# In a request's state: its body has come with its head, and waits for nobody.
BODY_IS_HERE: Final = "body_is_here"

_broken: Final[dict[asyncio.Task[None], str]] = {}
_running: Final[dict[asyncio.Task[None], RequestResponseCycle]] = {}


async def run(cycle: RequestResponseCycle, app: Any) -> None:
    """Let the application answer; a task of the server's, so whatever goes wrong ends here."""
    task = asyncio.current_task()
    assert task is not None, "the server makes a task of it"
    _running[task] = cycle
    cycle.scope["state"][BODY_IS_HERE] = not cycle.more_body
    try:
        await app(cycle.scope, cycle.receive, cycle.send)
        if not cycle.disconnected and not cycle.response_complete:
            raise RuntimeError("the application did not answer to the end")
    except asyncio.CancelledError:
        _, code = stopped()
        if code is None:
            hang_ups.count("http")
        else:
            if code == STOPPING:
                # The server stops, and its grace is over.
                log.error("%s was cut off: the server stops", _request_id(cycle))
            _end(cycle, code, is_broken_off=task in _broken)
    except Exception as error:
        log.error("%s failed", _request_id(cycle), exc_info=error)
        bugs.report(error, where="the HTTP engine", request_id=_request_id(cycle))
        _end(cycle, "internal_error", is_broken_off=task in _broken)
    finally:
        del _running[task]
        _broken.pop(task, None)
        cycle.on_response = lambda: None


def client_is_gone(task: asyncio.Task[None]) -> None:
    """Stop its work, unless it is at a COMMIT."""
    cycle = _running.get(task)
    if cycle is not None and not cycle.response_started and hang_ups.stop(task):
        cycle.disconnected = True  # upstream says so only to the last one in a pipeline


def is_broken(task: asyncio.Task[None], code: str) -> None:
    """What it still had to be sent is refused with this code: stop its work, as if the client was gone."""
    cycle = _running.get(task)
    if cycle is not None and not cycle.response_started and hang_ups.stop(task):
        _broken[task] = code


def stopped() -> tuple[int, str | None]:
    """What becomes of the request whose task, this one, is cancelled: its status, and the code it is told.

    Of a task that is not the server's (rpc) the client is gone.
    """
    task: Any = asyncio.current_task()
    cycle = _running.get(task)
    if cycle is None or cycle.disconnected:
        return hang_ups.STATUS, None
    code = _broken.get(task, STOPPING)
    return REFUSALS[code].status, code


def _end(cycle: RequestResponseCycle, code: str, *, is_broken_off: bool) -> None:
    if cycle.disconnected or cycle.transport.is_closing():
        return
    if not cycle.response_started:
        cycle.response_started = True
        request_id = _request_id(cycle) or known_as(None)
        cycle.transport.write(refusal(code, cycle.scope.get("litestar_app"), request_id))
    cycle.response_complete = True
    if is_broken_off:
        cycle.on_response()  # which ends the connection when the client has had time to read that
    else:
        cycle.transport.close()


def _request_id(cycle: RequestResponseCycle) -> str | None:
    known: str | None = cycle.scope.get("state", {}).get("request_id")
    return known
