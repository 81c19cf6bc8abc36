"""ID tokens: what an OpenID provider has signed about somebody, and whether it is to be believed.

Source: OpenID Connect Core 1.0 section 3.1.3.7, RFC 8725. The algorithms are named here, and no key, ours
or the provider's, is ever used with another kind of algorithm than its own.
"""

import base64
import hashlib
import hmac
from collections.abc import Collection
from typing import Any, Final

import jwt
from jwt import PyJWK

from app.adapters.oauth_http import Wrong, text

ALGORITHMS: Final = {"RS256": "RSA", "ES256": "EC", "EdDSA": "OKP"}
LEEWAY_S: Final = 30
SUBJECT_CHARS_MAX: Final = 255  # OpenID Connect Core 1.0 section 2
_HASHES: Final = {"RS256": hashlib.sha256, "ES256": hashlib.sha256, "EdDSA": hashlib.sha512}


def header(token: Any, allowed: Collection[str]) -> tuple[str, str | None]:
    """The algorithm and the id of the key it claims to be signed with. Raises Wrong."""
    try:
        said = jwt.get_unverified_header(token)
    except (jwt.PyJWTError, TypeError, AttributeError, UnicodeError) as error:
        raise Wrong("the id_token is none") from error
    algorithm, kid = said.get("alg"), said.get("kid")
    if algorithm not in ALGORITHMS or algorithm not in allowed:
        raise Wrong("the id_token is signed with an algorithm that is not accepted")
    return str(algorithm), kid


def key(keys: list[dict[str, Any]], algorithm: str, kid: str | None) -> PyJWK | None:
    """The provider's key for it; None where there is none, or where it is not clear which."""
    fitting = [
        one
        for one in keys
        if one.get("kty") == ALGORITHMS[algorithm]
        and one.get("use", "sig") == "sig"
        and one.get("alg", algorithm) == algorithm
        and (kid is None or one.get("kid") == kid)
    ]
    if len(fitting) != 1:
        return None
    try:
        return PyJWK(fitting[0], algorithm)
    except jwt.PyJWTError as error:
        raise Wrong("the provider's key is none") from error


def claims(
    token: str, signed_with: PyJWK, *, issuer: str, client_id: str, nonce: str, access_token: str
) -> dict[str, Any]:
    """What it says, once it is shown to be this issuer's, for us, of this flow, and in time.

    Raises Wrong.
    """
    algorithm = signed_with.algorithm_name
    try:
        said: dict[str, Any] = jwt.decode(
            token,
            signed_with,
            algorithms=[algorithm],
            issuer=issuer,
            audience=client_id,
            leeway=LEEWAY_S,
            options={
                "require": ["iss", "sub", "aud", "exp", "iat"],
                "enforce_minimum_key_length": True,
            },
        )
    except (jwt.PyJWTError, TypeError, UnicodeError) as error:
        raise Wrong(f"the id_token is not valid: {type(error).__name__}") from error
    audience = said["aud"]
    party = said.get("azp")
    if (isinstance(audience, list) and len(audience) > 1 and party is None) or party not in (None, client_id):
        raise Wrong("the id_token is for somebody else too")
    if not hmac.compare_digest(str(said.get("nonce", "")).encode(), nonce.encode()):
        raise Wrong("the id_token is of another flow")
    if "at_hash" in said and not _matches(said["at_hash"], access_token, algorithm):
        raise Wrong("the id_token is of another access token")
    subject = said["sub"]
    if not isinstance(subject, str) or not 0 < len(subject) <= SUBJECT_CHARS_MAX or text(subject) is None:
        raise Wrong("the id_token names nobody")
    return said


def _matches(at_hash: Any, access_token: str, algorithm: str) -> bool:
    """Section 3.1.3.6: the left half of the hash that goes with the signature's algorithm."""
    digest = _HASHES[algorithm](access_token.encode()).digest()
    right = base64.urlsafe_b64encode(digest[: len(digest) // 2]).rstrip(b"=")
    return isinstance(at_hash, str) and hmac.compare_digest(at_hash.encode().rstrip(b"="), right)
