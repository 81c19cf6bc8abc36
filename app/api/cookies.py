"""Cookie mode, for browsers: the refresh token travels in a cookie that no script can read.

Whoever signs in with `"mode": "cookie"` finds no refresh token in the answer. It is in an HttpOnly,
SameSite=Strict cookie, which is sent to /api/auth alone and is good for one thing: `POST /auth/refresh`. That
call must prove that a page of ours makes it: the CSRF token of the session in a header, as in the cookie that
scripts can read (double submit), and an Origin that is ours or listed. Everything else is asked with the
access token, as a bearer, and needs none of this.
"""

import hmac
from typing import Any, Final

import msgspec
from litestar import Request, Response
from litestar.datastructures import Cookie
from msgspec import UNSET

from app.api.envelope import One, one
from app.config import Config
from domain.auth import tokens
from domain.auth.model import Mode, SignedIn
from domain.errors import Forbidden, Unauthenticated

REFRESH: Final = "maycole_refresh"
CSRF: Final = "maycole_csrf"
CSRF_HEADER: Final = "X-CSRF-Token"
SENT_TO: Final = "/api/auth"
LASTS_S: Final = int(tokens.REFRESH_LASTS.total_seconds())

AnyRequest = Request[Any, Any, Any]


def signed_in(
    request: AnyRequest, answer: SignedIn, mode: Mode, *, at: str | None = None
) -> Response[One[SignedIn]]:
    """The answer to whoever has signed in or renewed their tokens, in the mode that they asked for."""
    if mode == "token":
        return one(answer, at=at)
    assert answer.refresh_token is not UNSET, "the domain answers with both tokens"
    csrf = tokens.csrf(answer.session_id)
    response = one(msgspec.structs.replace(answer, refresh_token=UNSET, csrf_token=csrf), at=at)
    response.set_cookie(_cookie(request, REFRESH, answer.refresh_token, path=SENT_TO, lasts_s=LASTS_S))
    response.set_cookie(_cookie(request, CSRF, csrf, path="/", lasts_s=LASTS_S))
    return response


def forgotten(request: AnyRequest) -> Response[None]:
    """The answer to whoever has signed out: their cookies are gone."""
    response = Response(None, status_code=204)
    for name, path in ((REFRESH, SENT_TO), (CSRF, "/")):
        if name in request.cookies:
            response.set_cookie(_cookie(request, name, "", path=path, lasts_s=0))
    return response


def refresh_token(request: AnyRequest) -> str:
    """The refresh token in the cookie.

    Raises Unauthenticated `no_token` where there is none, Forbidden `csrf_failed` where no page of ours asks.
    """
    token = request.cookies.get(REFRESH)
    if not token:
        raise Unauthenticated("There is no refresh token in a cookie: sign in again.", code="no_token")
    session_id = tokens.session_of(token)
    said = request.headers.get(CSRF_HEADER, "")
    in_cookie = request.cookies.get(CSRF, "")
    right = session_id is not None and tokens.is_csrf(session_id, said)
    if not right or not hmac.compare_digest(said.encode(), in_cookie.encode()) or not _is_ours(request):
        raise Forbidden(f"Send the CSRF token of the session as `{CSRF_HEADER}`.", code="csrf_failed")
    return token


def _is_ours(request: AnyRequest) -> bool:
    """Whether the browser says that a page of ours asks; what is no browser says nothing."""
    config: Config = request.app.state.config
    origin = request.headers.get("origin")
    if origin is not None:
        host = request.headers.get("host")
        return origin in (*config.allowed_origins, f"http://{host}", f"https://{host}")
    return request.headers.get("sec-fetch-site", "same-origin") == "same-origin"


def _cookie(request: AnyRequest, name: str, value: str, *, path: str, lasts_s: int) -> Cookie:
    config: Config = request.app.state.config
    behind_tls = (config.public_url or str(request.base_url)).startswith("https://")
    return Cookie(
        key=name,
        value=value,
        path=path,
        max_age=lasts_s,
        secure=behind_tls,
        httponly=name == REFRESH,
        samesite="strict",
    )
