"""Step 5: whatever goes wrong leaves as a problem document (RFC 9457), with the status from one table.

`type, title, status, detail, instance`, and our members `success: false`, `code`, `requestId`, `errors`, and
what the error itself brings along. A bug is logged with its request id; the client is told nothing but that
id.
"""

import logging
from http import HTTPStatus
from typing import Annotated, Any, Final

import asyncpg
import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException
from msgspec import Meta

from app.pipeline import seen
from app.pipeline.body import field_error
from app.pipeline.etag import etag
from app.pipeline.methods import allow
from channels.request_ids import request_id
from domain import bugs, db, errors
from domain.discretion import forget_values
from domain.errors import DomainError, FieldError
from domain.teams.refusals import Explanation

log = logging.getLogger("maycole.errors")

STATUS: Final[dict[type[DomainError], int]] = {
    errors.Malformed: 400,
    errors.Invalid: 422,
    errors.Unauthenticated: 401,
    errors.Forbidden: 403,
    errors.NotFound: 404,
    errors.Stale: 412,
    errors.Conflict: 409,
    errors.RateLimited: 429,
    errors.Faulty: 502,
    errors.Silent: 504,
    errors.Unavailable: 503,
}
# What Litestar itself raises: the code for each status it uses.
CODES: Final = {
    400: "bad_request",
    401: "unauthenticated",
    403: "forbidden",
    404: "no_such_route",
    408: "request_timeout",
    405: "method_not_allowed",
    413: "body_too_large",
    415: "unsupported_media_type",
    426: "upgrade_required",
    500: "internal_error",
}
RETRY_AFTER_S: Final = 1


class Problem(msgspec.Struct, rename="camel", kw_only=True, omit_defaults=True):
    """What every failure answers with (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: Annotated[str, Meta(description="what went wrong, for people")]
    instance: Annotated[str, Meta(description="the address that was asked")]
    success: Annotated[bool, Meta(description="false")]
    code: Annotated[str, Meta(description="what went wrong, for programs: stable, snake_case")]
    request_id: Annotated[str, Meta(description="the X-Request-Id; tell us when you ask about it")]
    errors: Annotated[list[FieldError], Meta(description="which fields or parameters are wrong")] = []
    explanation: Annotated[
        Explanation | None,
        Meta(description="which rule refused; only for staff who ask with `?explain=true`"),
    ] = None
    retry_after: Annotated[int | None, Meta(description="seconds after which waiting may have helped")] = None


def refused(request: Request[Any, Any, Any], error: DomainError) -> Response[Any]:
    """A DomainError: the caller is told."""
    status = next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
    current = error.details.get("current")
    if current is not None:
        headers["ETag"] = etag(current.version)
    if "retryAfter" in error.details:
        headers["Retry-After"] = str(error.details["retryAfter"])
    details = error.details
    if error.explanation is not None:
        details = {**details, "explanation": error.explanation}
    return _problem(request, status, error.problem, error.detail, error.errors, details, headers=headers)


def unreachable(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    """Postgres does not answer: 503, and the client may try again."""
    log.warning("%s the database: %s: %s", request_id(request.scope), type(error).__name__, error)
    said = "The database does not answer at the moment."
    return refused(request, errors.Unavailable(said, code="database_unavailable", retryAfter=RETRY_AFTER_S))


def from_litestar(request: Request[Any, Any, Any], error: HTTPException) -> Response[Any]:
    """What the framework refuses: routes, methods, bodies that do not fit their type."""
    if isinstance(error, ValidationException) and isinstance(error.extra, list):
        found = tuple(_field(request, item) for item in error.extra)
        detail = "; ".join(field.detail for field in found) or error.detail
        return refused(request, errors.Invalid(detail, errors=found))
    if error.status_code >= 500:
        return unforeseen(request, error)
    code = CODES.get(error.status_code, "bad_request")
    headers = dict(error.headers or {})
    if error.status_code == 405:
        headers = {"Allow": allow(headers.get("allow", "").split(", "), request.scope["path"])}
    return _problem(request, error.status_code, code, error.detail, headers=headers)


def unforeseen(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    """A bug of ours."""
    known_as = request_id(request.scope)
    forget_values(error)  # which row it was about may be somebody's address
    log.error("%s failed", known_as, exc_info=error)
    where = f"{request.scope['method']} {request.scope.get('path_template', '')}"
    bugs.report(error, where=where, request_id=known_as)
    return _problem(request, 500, CODES[500], "Something went wrong on our side.")


HANDLERS: Final[dict[Any, Any]] = {
    DomainError: refused,
    HTTPException: from_litestar,
    # Of the kin of a lost connection, but what we gave to a statement was wrong.
    asyncpg.exceptions._base.DataError: unforeseen,
    Exception: unforeseen,
    **dict.fromkeys(db.UNREACHABLE, unreachable),
}


def _field(request: Request[Any, Any, Any], item: Any) -> FieldError:
    """Litestar's {message, key} about a parameter, under the name that clients know (`/belowThreshold`)."""
    message = str(item.get("message", "") if isinstance(item, dict) else item)
    key = str(item.get("key", "") if isinstance(item, dict) else "")
    parameter = request.route_handler.parsed_fn_signature.parameters.get(key)
    known_as = getattr(parameter and parameter.kwarg_definition, "name", None)
    return field_error(message, known_as or key)


def _problem(
    request: Request[Any, Any, Any],
    status: int,
    code: str,
    detail: str,
    found: tuple[FieldError, ...] = (),
    details: dict[str, Any] | None = None,
    *,
    headers: dict[str, str] | None = None,
) -> Response[Any]:
    seen.problem(request.scope, code, details or {})
    problem = Problem(
        type="about:blank",
        title=HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        instance=request.scope["raw_path"].decode("ascii", "replace"),
        success=False,
        code=code,
        request_id=request_id(request.scope),
        errors=list(found),
    )
    return Response(
        {**msgspec.to_builtins(problem), **msgspec.to_builtins(details or {})},
        status_code=status,
        media_type="application/problem+json",
        headers=headers,
    )
