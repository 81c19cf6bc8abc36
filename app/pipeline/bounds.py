"""Step 0: every request has its place and its time.

place   among those that are worked on at once (app/pipeline/load.py), or it is refused: 503 `overloaded`
time    DEADLINE_S to begin its answer, then its work is cancelled: 503 `deadline_exceeded`. A transaction
        that was under way is rolled back and its connection given back before that is said

While a client sends its body it has neither (`sending`): that has a bound of its own (app/pipeline/body.py),
and whoever sends slowly takes nobody's place. An answer that has begun is bounded by who makes it.
"""

import asyncio
import logging
from typing import Any, Final

import msgspec
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from app.pipeline import seen
from app.pipeline.errors import Problem
from app.pipeline.load import Load, retry_after_s
from app.pipeline.stay import REFUSED, Overloaded, Stay
from channels.request_ids import request_id
from domain import deadline
from domain.errors import Unavailable

log = logging.getLogger("maycole.bounds")

DEADLINE_S: Final = 5.0
RETRY_AFTER_S: Final = 1
# By path, as routes have it: those with another deadline.
WITHIN_S: Final[dict[str, float]] = {}
# What is answered however busy we are, and takes no one's place: health, which asks for itself
# (app/health.py), and live connections, which do not end and have bounds of their own (channels/).
EXEMPT: Final = frozenset(
    {
        "/api/health",
        "/api/health/live",
        "/api/health/ready",
        "/api/metrics",
        "/connection/http_stream",
        "/connection/sse",
        "/connection/uni_sse",
        "/emulation",
    }
)


class Exceeded(Unavailable):
    """It took too long. Its commit may have been under way: what came of that is not known."""

    code = "deadline_exceeded"


def bounded(load: Load) -> Any:
    """The middleware (Litestar's type of that wants a class, hence Any)."""

    def middleware(app: ASGIApp) -> ASGIApp:
        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            path = scope["path_template"]
            if path in EXEMPT:
                await app(scope, receive, send)
            elif not load.begin():
                await _refuse(scope, send)
            else:
                await _serve(app, scope, receive, send, load, WITHIN_S.get(path, DEADLINE_S))

        return answer

    return middleware


async def _serve(
    app: ASGIApp, scope: Scope, receive: Receive, send: Send, load: Load, within_s: float
) -> None:
    timeout = asyncio.timeout(within_s)
    stay = Stay(load, timeout)
    scope["state"]["stay"] = stay

    async def begun(message: Message) -> None:
        stay.pause()
        await send(message)

    try:
        async with timeout:
            with deadline.of(timeout):
                await app(scope, receive, begun)
    except TimeoutError as late:
        if not timeout.expired():
            raise
        log.warning("%s was broken off after %g s", request_id(scope), within_s)
        raise Exceeded(
            f"It was not done within {within_s:g} s and was broken off. Whether a change was made is not "
            "known: read before you try again, or send the same Idempotency-Key.",
            retryAfter=RETRY_AFTER_S,
        ) from late
    finally:
        stay.leave()


async def _refuse(scope: Scope, send: Send) -> None:
    """Past everything that makes an answer of an error: this must be cheap."""
    wait_s = retry_after_s()
    seen.problem(scope, Overloaded.code, {})
    problem = Problem(
        type="about:blank",
        title="Service Unavailable",
        status=503,
        detail=REFUSED,
        instance=scope["raw_path"].decode("ascii", "replace"),
        success=False,
        code=Overloaded.code,
        request_id=request_id(scope),
        retry_after=wait_s,
    )
    body = msgspec.json.encode(problem)
    headers = [
        (b"content-type", b"application/problem+json"),
        (b"content-length", b"%d" % len(body)),
        (b"retry-after", b"%d" % wait_s),
    ]
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
