"""An OpenID issuer that lets everybody in at once, and lies in whatever way a test asks for.

It checks what a client has to do right: its secret, the redirect URI, PKCE, one use of a code.
"""

import base64
import hashlib
import secrets
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from tests.doubles.asgi import Answer, Asked, Double, Route

CLIENT, SECRET = "maycole-at-the-issuer", "s3cret:with/odd+characters"
Json = dict[str, Any]


class Key:
    """A signing key, and what is published of it."""

    def __init__(self, algorithm: str, kid: str) -> None:
        self.algorithm, self.kid = algorithm, kid
        if algorithm == "RS256":
            self.private: Any = rsa.generate_private_key(65537, 2048)
            public = RSAAlgorithm.to_jwk(self.private.public_key(), as_dict=True)
        elif algorithm == "ES256":
            self.private = ec.generate_private_key(ec.SECP256R1())
            public = ECAlgorithm.to_jwk(self.private.public_key(), as_dict=True)
        else:
            self.private = Ed25519PrivateKey.generate()
            public = OKPAlgorithm.to_jwk(self.private.public_key(), as_dict=True)
        self.public: Json = {**public, "kid": kid, "use": "sig", "alg": algorithm}

    def sign(self, claims: Json) -> str:
        return jwt.encode(claims, self.private, self.algorithm, headers={"kid": self.kid})


class Issuer(Double):
    """`person` is who comes to it; `claims`, `sign` and `grant` change what it says of them."""

    def __init__(self) -> None:
        self.first = Key("RS256", "first")
        super().__init__()

    def reset(self) -> None:
        super().reset()
        self.key = self.first
        self.published = [self.first.public]
        self.discovery: Json = {}
        self.person: Json = {}
        self.says_who = False
        self.sign: Callable[[Json], str] = lambda claims: self.key.sign(claims)
        self.claims: Callable[[Json], Json] = lambda claims: claims
        self.grant: Callable[[Json], Json] = lambda grant: grant
        self.codes: dict[str, Json] = {}
        self.requests: list[Json] = []
        self.access: dict[str, Json] = {}

    def is_at(self, **person: Any) -> None:
        """Whoever comes now."""
        self.person = {"sub": secrets.token_hex(8), **person}

    def routes(self) -> dict[str, Route]:
        return {
            "/.well-known/openid-configuration": self._discovery,
            "/authorize": self._authorize,
            "/token": self._token,
            "/keys": self._keys,
            "/userinfo": self._userinfo,
        }

    async def _discovery(self, asked: Asked) -> Answer:
        document = {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/keys",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256", "ES256", "EdDSA"],
            "token_endpoint_auth_methods_supported": ["client_secret_post", "client_secret_basic"],
            "authorization_response_iss_parameter_supported": self.says_who,
        }
        return Answer({**document, **self.discovery})

    async def _authorize(self, asked: Asked) -> Answer:
        self.requests.append(asked.query)
        code = secrets.token_urlsafe(16)
        self.codes[code] = {**asked.query, "person": self.person}
        back = {"code": code, "state": asked.query["state"], **({"iss": self.url} if self.says_who else {})}
        return Answer(b"", 302, {"Location": f"{asked.query['redirect_uri']}?{urlencode(back)}"})

    async def _token(self, asked: Asked) -> Answer:
        form = asked.form
        flow = self.codes.pop(form.get("code", ""), None)
        if (form.get("client_id"), form.get("client_secret")) != (CLIENT, SECRET):
            return Answer({"error": "invalid_client"}, 401)
        challenge = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        if (
            flow is None
            or form.get("redirect_uri") != flow["redirect_uri"]
            or flow["code_challenge_method"] != "S256"
            or base64.urlsafe_b64encode(challenge).decode().rstrip("=") != flow["code_challenge"]
        ):
            return Answer({"error": "invalid_grant", "error_description": form.get("code")}, 400)
        access = f"at-{secrets.token_urlsafe(16)}"
        self.access[access] = flow["person"]
        at = int(time.time())
        claims = {
            "iss": self.url,
            "aud": CLIENT,
            "iat": at,
            "exp": at + 300,
            "nonce": flow["nonce"],
            "at_hash": half_hash(access),
            **flow["person"],
        }
        return Answer(
            self.grant(
                {
                    "access_token": access,
                    "token_type": "Bearer",
                    "expires_in": 300,
                    "id_token": self.sign(self.claims(claims)),
                }
            )
        )

    async def _keys(self, asked: Asked) -> Answer:
        return Answer({"keys": self.published})

    async def _userinfo(self, asked: Asked) -> Answer:
        person = self.access.get(asked.bearer)
        return Answer(person) if person else Answer({"error": "invalid_token"}, 401)


def half_hash(token: str, algorithm: str = "sha256") -> str:
    digest = hashlib.new(algorithm, token.encode()).digest()
    return base64.urlsafe_b64encode(digest[: len(digest) // 2]).decode().rstrip("=")
