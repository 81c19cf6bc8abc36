"""Tokens: short access JWTs that name a session, and opaque refresh tokens that are stored hashed.

Access   HS256, 10 minutes: `sub` (user), `sid` (session), `iat exp iss aud typ`; who, never what they may do.
Refresh  `mrt_`, the session, 256 bits, a MAC; the database keeps the SHA-256 of the newest one. The first is
         random, each following one is made from the one before it with a key of ours.
"""

import base64
import hashlib
import hmac
import re
import secrets
import time
from collections import OrderedDict
from datetime import datetime, timedelta

import jwt
import msgspec

from domain import keys
from domain.clock import now
from domain.errors import Unauthenticated

ACCESS_LASTS_S = 600
REFRESH_LASTS = timedelta(days=30)
ISSUER = AUDIENCE = "maycole"
LEEWAY_S = 5
VERIFIED_MAX = 10_000  # about 5 MB
_REFRESH = "mrt_"
_FOLLOWING = "mrt_ following"
_CSRF = "csrf"
# One spelling each: PyJWT would also take `=` at the end. Ours have some 330 characters.
_WRITTEN = re.compile(r"[A-Za-z0-9_-]{1,200}\.[A-Za-z0-9_-]{1,1000}\.[A-Za-z0-9_-]{1,100}", re.ASCII)
_ID_CHARS = 26
_MARK_CHARS = 24
_TYPE = "at+jwt"  # RFC 9068: nothing else that is signed with this key can pass for an access token


class Shown(msgspec.Struct, frozen=True):
    """How an API key was shown: the SHA-256 of what was sent, and from which address."""

    hash: str
    ip: str | None


class Claims(msgspec.Struct, frozen=True):
    """What a credential says: the user, the session or the key, when it ends (seconds since 1970; 0: never).

    `key` is there for an API key alone. What is said is believed once domain/auth/credentials.py has looked.
    """

    sub: str
    sid: str
    exp: int
    key: Shown | None = None


def access(user_id: str, session_id: str, at: datetime | None = None) -> str:
    """A signed access token, good for ACCESS_LASTS_S from `at`, which is now unless it is said."""
    issued = int((at or now()).timestamp())
    claims = {
        "sub": user_id,
        "sid": session_id,
        "iat": issued,
        "exp": issued + ACCESS_LASTS_S,
        "iss": ISSUER,
        "aud": AUDIENCE,
    }
    return jwt.encode(claims, keys.signing()[0], algorithm="HS256", headers={"typ": _TYPE})


def verify(token: str) -> Claims:
    """What the token says. What was found good is not looked into again until it expires.

    Raises Unauthenticated: `token_expired`, or `invalid_token` for all that is wrong with it.
    """
    mark = hashlib.sha256(token.encode(errors="surrogatepass")).digest()
    by = keys.signing()
    known = _verified.get(mark, by)
    if known is None:
        known = _decoded(token, by)
        _verified.put(mark, known)
    elif known.exp <= time.time() - LEEWAY_S:
        raise Unauthenticated("This access token has expired.", code="token_expired")
    return known


class Verified:
    """What good tokens say, of those seen last, by their SHA-256: the tokens themselves are not kept.

    It tells that we signed them, never that their session still holds.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._by: tuple[bytes, ...] = ()
        self._claims: OrderedDict[bytes, Claims] = OrderedDict()

    def get(self, mark: bytes, by: tuple[bytes, ...]) -> Claims | None:
        """What this token says, if it was verified by these very keys: a key taken back verifies nothing."""
        if self._by is not by:
            self._by = by
            self._claims.clear()
        found = self._claims.get(mark)
        if found is not None:
            self._claims.move_to_end(mark)
        return found

    def put(self, mark: bytes, claims: Claims) -> None:
        self._claims[mark] = claims
        if len(self._claims) > self._most:
            self._claims.popitem(last=False)

    def __len__(self) -> int:
        return len(self._claims)


_verified = Verified(VERIFIED_MAX)


def _decoded(token: str, by: tuple[bytes, ...]) -> Claims:
    for key in by if _WRITTEN.fullmatch(token) else ():
        try:
            decoded = jwt.decode_complete(
                token,
                key,
                algorithms=["HS256"],
                issuer=ISSUER,
                audience=AUDIENCE,
                leeway=LEEWAY_S,
                options={"require": ["sub", "sid", "iat", "exp", "iss", "aud"]},
            )
        except jwt.InvalidSignatureError:
            continue  # the other key may have signed it
        except jwt.ExpiredSignatureError as expired:
            raise Unauthenticated("This access token has expired.", code="token_expired") from expired
        except (jwt.InvalidTokenError, UnicodeError) as invalid:
            raise Unauthenticated("This is not a valid access token.", code="invalid_token") from invalid
        claims = decoded["payload"]
        if decoded["header"].get("typ") != _TYPE or not isinstance(claims["sid"], str):
            break
        return Claims(claims["sub"], claims["sid"], int(claims["exp"]))
    raise Unauthenticated("This is not a valid access token.", code="invalid_token")


def refresh(session_id: str) -> str:
    """The first refresh token of a session."""
    return _refresh(session_id.removeprefix("sess_"), secrets.token_urlsafe(32), keys.derived(_REFRESH)[0])


def following(token: str) -> list[str]:
    """What this refresh token is exchanged for: one that only its holder and we can tell, always the same.

    So all who exchange it get the same one, and it is kept nowhere. One for each of our keys, the current
    one's first.
    """
    body, _ = _parts(token)
    return [
        _refresh(body[:_ID_CHARS], _text(hmac.new(key, body.encode(), hashlib.sha256).digest()), mark)
        for key, mark in zip(keys.derived(_FOLLOWING), keys.derived(_REFRESH), strict=True)
    ]


def session_of(token: str) -> str | None:
    """The session a refresh token was once made for, whichever of its tokens it is; None for a made-up one.

    So a token that was exchanged long ago is still known for what it is: a copy in the wrong hands.
    """
    body, mark = _parts(token)
    made_here = any(hmac.compare_digest(mark, _mark(key, body).encode()) for key in keys.derived(_REFRESH))
    return f"sess_{body[:_ID_CHARS]}" if made_here and token.startswith(_REFRESH) else None


def csrf(session_id: str) -> str:
    """What a page of this session shows, beside the cookie, to prove that it is one (double submit)."""
    return _mark(keys.derived(_CSRF)[0], session_id)


def is_csrf(session_id: str, said: str) -> bool:
    """Whether this is the CSRF token of the session."""
    return any(
        hmac.compare_digest(_mark(key, session_id).encode(), said.encode()) for key in keys.derived(_CSRF)
    )


def hashed(token: str) -> str:
    """256 random bits need no slow hash."""
    return hashlib.sha256(token.encode()).hexdigest()


def _refresh(session: str, secret: str, key: bytes) -> str:
    body = session + secret
    return f"{_REFRESH}{body}{_mark(key, body)}"


def _parts(token: str) -> tuple[str, bytes]:
    return token.removeprefix(_REFRESH)[:-_MARK_CHARS], token[-_MARK_CHARS:].encode()


def _mark(key: bytes, body: str) -> str:
    return _text(hmac.new(key, body.encode(), hashlib.sha256).digest()[:18])


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")
