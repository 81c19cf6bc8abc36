"""Tokens: short access JWTs that name a session, and opaque refresh tokens that are stored hashed.

Access   HS256, 10 minutes, `sub` (user), `sid` (session), `iat exp iss aud typ`. Says who, never what they
may do. Refresh  256 random bits behind `mrt_`; the database keeps their SHA-256.
"""

import hashlib
import secrets
from datetime import timedelta

import jwt
import msgspec

from domain import keys
from domain.clock import now
from domain.errors import Unauthenticated

ACCESS_LASTS_S = 600
REFRESH_LASTS = timedelta(days=30)
ISSUER = AUDIENCE = "maycole"
LEEWAY_S = 5
_TYPE = "at+jwt"  # RFC 9068: nothing else that is signed with this key can pass for an access token


class Claims(msgspec.Struct, frozen=True):
    """What a verified access token says: the user, the session, and when it ends (seconds since 1970)."""

    sub: str
    sid: str
    exp: int


def access(user_id: str, session_id: str) -> str:
    """A signed access token, good for ACCESS_LASTS_S from now."""
    issued = int(now().timestamp())
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
    """What the token says.

    Raises Unauthenticated: `token_expired`, or `invalid_token` for all that is wrong with it.
    """
    for key in keys.signing():
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
            continue
        except jwt.ExpiredSignatureError as expired:
            raise Unauthenticated("This access token has expired.", code="token_expired") from expired
        except jwt.InvalidTokenError as invalid:
            raise Unauthenticated("This is not a valid access token.", code="invalid_token") from invalid
        claims = decoded["payload"]
        if decoded["header"].get("typ") != _TYPE or not isinstance(claims["sid"], str):
            break
        return Claims(claims["sub"], claims["sid"], int(claims["exp"]))
    raise Unauthenticated("This is not a valid access token.", code="invalid_token")


def refresh() -> tuple[str, str]:
    """A new refresh token, and the hash under which it is kept."""
    token = f"mrt_{secrets.token_urlsafe(32)}"
    return token, hashed(token)


def hashed(token: str) -> str:
    """256 random bits need no slow hash."""
    return hashlib.sha256(token.encode()).hexdigest()
