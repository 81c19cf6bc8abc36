"""GitHub, as much of it as signing in needs: authorize, access_token, /user and /user/emails.

Held to its documentation ("Authorizing OAuth apps", "REST API: users, emails"): errors of the token endpoint
come with status 200, an API call without a token gets 401, and PKCE counts where a challenge was sent.
"""

import base64
import hashlib
import secrets
from typing import Any
from urllib.parse import urlencode

from tests.doubles.asgi import Answer, Asked, Double, Route

CLIENT, SECRET = "Iv1.maycole", "github-s3cret"


class GitHub(Double):
    def reset(self) -> None:
        super().reset()
        self.user: dict[str, Any] = {}
        self.emails: list[dict[str, Any]] = []
        self.codes: dict[str, dict[str, str]] = {}
        self.tokens: set[str] = set()

    def is_at(self, login: str, *emails: tuple[str, bool, bool], number: int | None = None) -> None:
        """Whoever comes now, with addresses: which, primary, verified."""
        self.user = {
            "id": number or secrets.randbits(40),
            "login": login,
            "name": None,
            "email": "x@public.example",
        }
        self.emails = [
            {"email": email, "primary": primary, "verified": verified, "visibility": None}
            for email, primary, verified in emails
        ]

    def routes(self) -> dict[str, Route]:
        return {
            "/login/oauth/authorize": self._authorize,
            "/login/oauth/access_token": self._token,
            "/user": self._user,
            "/user/emails": self._emails,
        }

    async def _authorize(self, asked: Asked) -> Answer:
        code = secrets.token_hex(10)
        self.codes[code] = asked.query
        back = urlencode({"code": code, "state": asked.query["state"]})
        return Answer(b"", 302, {"Location": f"{asked.query['redirect_uri']}?{back}"})

    async def _token(self, asked: Asked) -> Answer:
        form = asked.form
        if (form.get("client_id"), form.get("client_secret")) != (CLIENT, SECRET):
            return Answer({"error": "incorrect_client_credentials"})
        flow = self.codes.pop(form.get("code", ""), None)
        challenge = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        if flow is None or base64.urlsafe_b64encode(challenge).decode().rstrip("=") != flow["code_challenge"]:
            return Answer({"error": "bad_verification_code", "error_description": "incorrect or expired"})
        token = f"gho_{secrets.token_hex(18)}"
        self.tokens.add(token)
        return Answer({"access_token": token, "token_type": "bearer", "scope": "read:user,user:email"})

    async def _user(self, asked: Asked) -> Answer:
        return self._api(asked, self.user)

    async def _emails(self, asked: Asked) -> Answer:
        return self._api(asked, self.emails)

    def _api(self, asked: Asked, content: Any) -> Answer:
        if asked.bearer not in self.tokens:
            return Answer({"message": "Requires authentication"}, 401)
        return Answer(content)
