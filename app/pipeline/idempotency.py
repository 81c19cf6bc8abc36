"""Step 4a: Idempotency-Key. Whoever repeats a change with the same key gets the first answer again.

    WHOLE       the handler and its answer are one transaction: both are committed, or neither is
    IN_PARTS    the handler commits as it goes; its last commit is held back until the answer stands beside it
    KEYLESS     the header means nothing there

The caller is asked for first, as ever, and so are the limits, the key and the body: what is refused there is
not remembered. Of what a handler refuses, that stands which would be refused in the same way again; not who
may come back with better credentials or later (401, 408, 425, 429, ASK_AGAIN), and no failure of ours (5xx).

Without the header a handler is called as it was, through one plain function.
"""

import functools
import logging
import re
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any, Final, NamedTuple

import msgspec
from litestar import Litestar, Request, Response
from litestar.handlers import HTTPRouteHandler
from litestar.response.base import ASGIResponse
from litestar.routes import HTTPRoute

from app.pipeline import positions
from app.pipeline.errors import HANDLERS
from channels.headers import all_sent
from channels.nobody import nobody
from domain import db, idempotency, last_commit
from domain.actor import Actor
from domain.auth import throttle
from domain.errors import DomainError, Malformed
from domain.idempotency import KEY_CHARS_MAX, Answer, Asked

log = logging.getLogger("maycole.idempotency")

REPLAYED: Final = "Idempotent-Replayed"
CHANGING: Final = frozenset({"POST", "PUT", "PATCH", "DELETE"})
KEYLESS: Final = {
    "AuthController.refresh": "the token is the key: who exchange it together get one pair, and who comes "
    "with it later has stolen it",
    "UsersController.export": "it reads, at length: who asks again is to get it as it is then",
}
_COUNTED = "what was guessed stays counted and in the trail, though it is refused"
_HASHED = "a password is hashed, and looked for among breached ones, for which no transaction waits"
IN_PARTS: Final = {
    "AuthController.register": _HASHED,
    "AuthController.login": f"{_HASHED}; {_COUNTED}",
    "EmailController.change_email": f"{_HASHED}; {_COUNTED}",
    "MailsController.change_password": f"{_HASHED}; {_COUNTED}",
    "MailsController.consume_magic_link": _COUNTED,
    "MailsController.reset_password": _HASHED,
    "MfaController.confirm_totp": _COUNTED,
    "MfaController.step_up": f"{_HASHED}; {_COUNTED}",
    "MfaController.verify_second_factor": _COUNTED,
    "OauthController.oauth_exchange": _COUNTED,
    "OauthController.oauth_link": "a provider is asked",
    "PasskeysController.add_passkey": "a challenge is spent, whatever comes of it",
    "PasskeysController.passkey_login": _COUNTED,
}
_NOT_KEPT: Final = frozenset({401, 408, 425, 429})
# These say what to do first: then the same request is to go through.
ASK_AGAIN: Final = frozenset({"step_up_required", "email_not_verified"})
_HEADER: Final = b"idempotency-key"
_KEY: Final = re.compile(rb"[!-~]([ -~]{,%d}[!-~])?" % (KEY_CHARS_MAX - 2))
# What else says who somebody is who has not signed in: whom the answer is for.
_OF_NOBODY: Final = (b"cookie", b"x-csrf-token")

AnyRequest = Request[Any, Any, Any]
_request: ContextVar[AnyRequest | None] = ContextVar("keyed_request", default=None)


class _Answered(NamedTuple):
    answer: Answer
    response: Response[Any]


Work = Callable[[], Awaitable[_Answered]]


def takes_key(handler: HTTPRouteHandler) -> bool:
    """Whether a route takes an Idempotency-Key: every change in the API, but for KEYLESS."""
    documented: bool = handler.resolve_include_in_schema()
    return bool(handler.http_methods & CHANGING) and documented and handler.fn.__qualname__ not in KEYLESS


def install(app: Litestar) -> None:
    """Let the routes that take a key look for one."""
    routes = [route for route in app.routes if isinstance(route, HTTPRoute)]
    handlers = {id(one): one for route in routes for one, _ in route.route_handler_map.values()}
    for handler in handlers.values():
        if takes_key(handler):
            handler._fn = _once(handler)


def notice(request: AnyRequest) -> None:
    """A before_request hook: whether this change has a key. Raises Malformed for one that is none."""
    if request.scope["method"] not in CHANGING:
        return
    given = all_sent(request.scope, _HEADER)
    _request.set(request if given else None)
    if given and takes_key(request.route_handler) and not (len(given) == 1 and _KEY.fullmatch(given[0])):
        detail = f"Idempotency-Key is 1 to {KEY_CHARS_MAX} printable ASCII characters, sent once."
        raise Malformed(detail, code="invalid_idempotency_key")


def _once(handler: HTTPRouteHandler) -> Callable[..., Any]:
    """The handler's function, which does its work once for each key."""
    fn: Callable[..., Awaitable[Any]] = handler.fn
    run = _in_parts if fn.__qualname__ in IN_PARTS else _whole

    @functools.wraps(fn)
    def called(**given: Any) -> Awaitable[Any]:
        request = _request.get()
        if request is None:
            return fn(**given)
        return keyed(request, given)

    async def keyed(request: AnyRequest, given: dict[str, Any]) -> Response[Any]:
        async def work() -> _Answered:
            done = await fn(**given)
            response = await handler.to_response(app=request.app, data=done, request=request)
            assert isinstance(response, ASGIResponse), "a change is answered in one piece"
            answer = _answer(response)
            return _Answered(answer, _Finished(answer))

        return await run(request, await _asked(request, handler), work)

    return called


async def _whole(request: AnyRequest, asked: Asked, work: Work) -> Response[Any]:
    """Everything in one transaction. What is refused is undone, and the refusal kept in its place."""
    async with db.transaction() as unit:
        known = await idempotency.found(asked)
        if known is not None:
            return _again(request, known)
        await last_commit.savepoint(unit)
        refusal: DomainError | None = None
        try:
            answer, response = await work()
        except DomainError as error:
            answer = _refused(request, error)
            if not _stands(answer, error):
                raise
            refusal, response = error, _Finished(answer)
            await last_commit.back_to_savepoint(unit)
        if answer.status < 500:
            unit.before_commit.append(lambda: idempotency.keep(asked, _placed(request, unit, answer)))
    if refusal is not None:
        raise refusal
    return response


async def _in_parts(request: AnyRequest, asked: Asked, work: Work) -> Response[Any]:
    """Claimed first. What the handler has committed stays; its last commit has the answer in it."""
    async with db.transaction():
        known = await idempotency.found(asked)
        claimed = await idempotency.claim(asked) if known is None else ""
    if known is not None:
        return _again(request, known)
    with last_commit.holding() as held:
        refusal: DomainError | None = None
        try:
            try:
                answer, response = await work()
            except DomainError as error:
                answer = _refused(request, error)
                if answer.status >= 500:
                    raise
                refusal, response = error, _Finished(answer)

            async def beside() -> None:
                if _stands(answer, refusal):
                    await idempotency.finish(claimed, asked, _placed(request, held.unit, answer))
                else:
                    await idempotency.let_go(claimed)

            await held.commit(beside)
        except BaseException:
            await _give_up(held, claimed)
            raise
    if refusal is not None:
        raise refusal
    return response


async def _give_up(held: last_commit.Held, claimed: str) -> None:
    try:
        await held.undo()
        await idempotency.let_go(claimed)
    except db.UNREACHABLE as error:
        # What went wrong before is what the caller is told; the claim lapses by itself.
        log.info("the claim %s stays until it lapses: %s", claimed, type(error).__name__)


async def _asked(request: AnyRequest, handler: HTTPRouteHandler) -> Asked:
    """Who asks for what. The body counts as what it says, not as it is spelled."""
    [key] = [value.decode() for value in all_sent(request.scope, _HEADER)]
    body = b""
    if handler.parsed_data_field is not None:
        body = msgspec.json.encode(msgspec.json.decode(await request.body()), order="sorted")
    said = [
        request.scope["method"].encode(),
        request.scope["path"].rstrip("/").encode(),
        request.scope["query_string"],
        _lines(request, b"if-match"),
        body,
    ]
    caller: Actor | None = request.scope["state"].get("caller")
    if caller is not None:
        return Asked(caller.key_id or caller.user, key, idempotency.fingerprints(said))
    said += [_lines(request, name) for name in _OF_NOBODY]
    where = throttle.network(nobody(request.scope).ip).encode()
    whose = f"anonymous:{idempotency.fingerprints([b'caller', where])[0]}"
    return Asked(whose, key, idempotency.fingerprints(said))


def _lines(request: AnyRequest, name: bytes) -> bytes:
    """All of a header, however often it was sent."""
    return b"\n".join(all_sent(request.scope, name))


def _answer(response: ASGIResponse) -> Answer:
    headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in response.encode_headers()]
    return Answer(response.status_code, headers, response.body, {})


def _refused(request: AnyRequest, error: DomainError) -> Answer:
    problem: Response[Any] = HANDLERS[DomainError](request, error)
    return _answer(problem.to_asgi_response(app=None, request=request))


def _stands(answer: Answer, refusal: DomainError | None) -> bool:
    """Whether this is the answer for good."""
    if refusal is not None and refusal.problem in ASK_AGAIN:
        return False
    return answer.status < 500 and answer.status not in _NOT_KEPT


def _placed(request: AnyRequest, unit: db.Unit | None, answer: Answer) -> Answer:
    """With the positions that what was committed has reached, and what is about to be."""
    reached = positions.reached(request, unit.written if unit else ())
    return msgspec.structs.replace(answer, reached=reached)


def _again(request: AnyRequest, known: Answer) -> Response[Any]:
    request.scope["state"]["reached"].update(known.reached)
    return _Finished(msgspec.structs.replace(known, headers=[*known.headers, (REPLAYED.lower(), "true")]))


class _Finished(Response[bytes]):
    """An answer that was rendered before; Litestar's handlers need a Response to pass on."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.body, status_code=answer.status)
        self.answer = answer

    def to_asgi_response(self, *args: Any, **more: Any) -> ASGIResponse:
        """As it was; what the route would add to an answer is in it."""
        known = self.answer
        return ASGIResponse(body=known.body, headers=known.headers, status_code=known.status)
