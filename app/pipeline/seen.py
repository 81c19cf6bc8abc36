"""Step 0: every request is seen from outside: how long it took, what became of it, for whom.

One log line, one measurement, one span if somebody traces. A route is its template, never the address that
was asked; nothing of a query, a body or a header is written down but the request id.
"""

import asyncio
import logging
import time
from contextlib import AbstractContextManager
from typing import Any, Final

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from app.pipeline.proxies import TRUSTED
from channels import cycle, hang_ups, rpc
from channels.headers import all_sent
from channels.request_ids import request_id
from domain import behalf, measures, tracing
from domain.actor import Actor, source

log = logging.getLogger("maycole.requests")

METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
UNMATCHED: Final = "unmatched"
# They last as long as somebody listens: how long that is says nothing about the server. Whom they did not
# believe their gate has counted, over whichever transport (channels/gate.py).
STREAMS: Final = ("/connection/",)
# Asked all day by machines: answered well, that is no news.
PROBES: Final = frozenset({"/api/health", "/api/health/live", "/api/health/ready", "/api/metrics"})
PROBLEM: Final = "problem"
# What was shown is not good, though it is known who shows it: 403.
NOT_GOOD: Final = ("wrong_code", "wrong_password", "address_not_allowed")


def seen(app: ASGIApp) -> ASGIApp:
    """The app, which is watched."""

    async def watched(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == ScopeType.WEBSOCKET:
            await app(scope, receive, send)
            return
        answer = Answer(send)
        began = time.perf_counter()
        with behalf.working_for(request_id(scope)), _span(scope):
            try:
                await app(scope, receive, answer.send)
            except BaseException as error:
                answer.unsaid(scope, error)
                raise
            finally:
                tell(scope, answer, time.perf_counter() - began)

    return watched


def problem(scope: Any, code: str, details: dict[str, Any]) -> None:
    """What went wrong with this request, for its line (app/pipeline/errors.py says it)."""
    scope.setdefault("state", {})[PROBLEM] = (code, details)


class Answer:
    """What was sent: `status` 0 is nothing yet, 499 that nobody was there to hear it."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status = 0
        self.size = 0

    def unsaid(self, scope: Any, error: BaseException) -> None:
        """Nobody made an answer of this: the engine ends it, if there is anybody (channels/cycle.py)."""
        if self.status:
            return
        if isinstance(error, asyncio.CancelledError):
            self.status, code = cycle.stopped()
        else:
            self.status, code = 500, "internal_error"
        if code is not None:
            problem(scope, code, {})

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        elif message["type"] == "http.response.body":
            self.size += len(message.get("body", b""))
        await self._send(message)


def tell(scope: Any, answer: Answer, seconds: float) -> None:
    """That it was asked, and what became of it."""
    state = scope["state"]
    method = scope["method"] if scope["method"] in METHODS else "OTHER"
    route = scope.get("path_template") or UNMATCHED
    code, details = state.get(PROBLEM, (None, {}))
    was_told = answer.status not in (0, hang_ups.STATUS)
    status = f"{answer.status // 100}xx" if was_told else "none"  # none: the client was gone first
    if code is not None:
        measures.count("problems", code)
    if not route.startswith(STREAMS):
        measures.took("http_request", seconds, method, route, status)
        if answer.status == 401 or code in NOT_GOOD:
            measures.count("auth_failures", code or "unauthenticated")
    if answer.status == 429:
        measures.count("rate_limited", str(details.get("policy", code)))
    caller: Actor | None = state.get("caller")
    if caller is not None and caller.user_id is not None:
        scope["litestar_app"].state["live"].relay.activity.saw(caller.user_id)
    if tracing.tracer is not None:
        tracing.tracer.request(method, route, answer.status)
    level = logging.DEBUG if route in PROBES and 200 <= answer.status < 400 else logging.INFO
    if not log.isEnabledFor(level):
        return
    fields = {
        "method": method,
        "route": route,
        "status": answer.status,
        "code": code,
        "duration_ms": round(seconds * 1000, 2),
        "bytes": answer.size,
        "user_id": caller.user_id if caller else None,
        "key_id": caller.key_id if caller else None,
        "client": source(scope["client"][0]) if scope.get("client") else None,
        "via": "rpc" if rpc.CLAIMS in (scope.get("extensions") or {}) else None,
    }
    told = {name: value for name, value in fields.items() if value is not None}
    log.log(level, "request", extra={"fields": told})


def _span(scope: Any) -> AbstractContextManager[None]:
    """The request as a span. A proxy of ours may say of which trace it is a part. Where anybody else says so
    a new trace begins, which is linked to theirs: a stranger could have all they ask recorded, or mix it into
    the traces of others (W3C Trace Context, Security Considerations).
    """
    if tracing.tracer is None:
        return tracing.span(scope["method"])
    said = all_sent(scope, b"traceparent")
    given = said[0].decode("latin-1") if len(said) == 1 else None
    if scope.get(TRUSTED):
        return tracing.span(scope["method"], given)
    return tracing.span(scope["method"], follows=given)
