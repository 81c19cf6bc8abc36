"""HTTP to providers: every call ends, every answer has a size, no redirect is followed.

A provider is somebody else's server, and may be slow, broken or worse. What it does wrong leaves here as
Silent (504), Unavailable (503) or Faulty (502), never as anything that nobody expects. Tries, deadlines and
the breaker are those of app/adapters/outgoing.py; each provider is a dependency, `oauth.<name>`.
"""

import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import httpx2
import msgspec
from authlib.integrations.httpx_client import AsyncOAuth2Client, OAuthError

from app.adapters.outgoing import Dependency
from app.adapters.outgoing_http import raise_for_failure
from app.adapters.retrying import TOO_MANY, Policy
from domain.auth.oauth_model import Begun
from domain.errors import Faulty, Silent, Unauthenticated, Unavailable

log = logging.getLogger("maycole.oauth")
T = TypeVar("T")

# From the first byte out to the last byte in; a server that sends a byte a second must not hold us up either.
# Somebody's browser waits, and is answered within five seconds.
POLICY: Final = Policy(within_s=4.5, try_within_s=3.0)
CONNECT_WITHIN_S: Final = 2.0
ANSWER_BYTES_MAX: Final = 256 * 1024
CONNECTIONS_MAX: Final = 20
TEXT_CHARS_MAX: Final = 8192
SECRET_IN_BODY: Final = "client_secret_post"  # noqa: S105 - a method of RFC 6749 section 2.3.1


class Wrong(Exception):
    """What a provider answered that it must not; the message is for our log, and holds nothing secret."""


class Http:
    """The connections to all providers."""

    def __init__(self) -> None:
        self._transport: _Bounded | None = None
        # Their DEBUG lines hold headers, and an INFO line for every call is nobody's wish.
        for name in ("httpx2", "httpcore2"):
            logging.getLogger(name).setLevel(logging.WARNING)

    async def close(self) -> None:
        if self._transport is not None:
            await self._transport.aclose()
            self._transport = None

    def client(self, client_id: str, secret: str, **more: Any) -> AsyncOAuth2Client:
        """An OAuth client for one exchange: it holds the tokens of one person, so nobody else gets it."""
        if self._transport is None:
            self._transport = _Bounded()
        return AsyncOAuth2Client(
            client_id,
            secret,
            code_challenge_method="S256",
            transport=self._transport,
            timeout=httpx2.Timeout(POLICY.try_within_s, connect=CONNECT_WITHIN_S),
            follow_redirects=False,
            trust_env=False,
            headers={"Accept-Encoding": "identity", "User-Agent": "maycole"},
            **more,
        )


def address(client: AsyncOAuth2Client, endpoint: str, begun: Begun, **more: str) -> str:
    """Where to send the browser: an authorization request with PKCE."""
    url, _ = client.create_authorization_url(
        endpoint, state=begun.state, code_verifier=begun.verifier, **more
    )
    return str(url)


async def tokens(
    client: AsyncOAuth2Client, provider: Dependency, endpoint: str, code: str, verifier: str
) -> dict[str, Any]:
    """What the code is exchanged for. Raises Unauthenticated `oauth_failed` where the provider refuses it.

    A code is good for one use: what may have arrived is not sent again.
    """
    # A 429 may come with words that Authlib takes for a refusal of the code.
    client.register_compliance_hook("access_token_response", raise_for_failure)
    with asking(provider):
        try:
            given = await provider.call(
                lambda: client.fetch_token(
                    endpoint, grant_type="authorization_code", code=code, code_verifier=verifier
                ),
                repeatable=False,
            )
        except OAuthError as refused:
            # Not its description, which may repeat what we sent.
            log.warning("%s refuses a code: %.60r", provider.name, refused.error)
            raise Unauthenticated(
                "The provider refuses this sign-in: begin again.", code="oauth_failed"
            ) from None
        token = given.get("access_token")
        if not text(token) or not token.isascii() or " " in token:
            raise Wrong("the access token is none")
    return dict(given)


async def get(
    client: AsyncOAuth2Client, provider: Dependency, url: str, kind: type[T], *, token: str | None = None
) -> T:
    """A JSON document as a `kind`."""
    headers = {"Accept": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})

    async def ask() -> httpx2.Response:
        return raise_for_failure(await client.request("GET", url, withhold_token=True, headers=headers))

    with asking(provider):
        answer = await provider.call(ask, repeatable=True)
        if answer.status_code != 200:
            raise Wrong(f"{url} answers {answer.status_code}")
        return msgspec.json.decode(answer.content, type=kind)


def text(value: Any) -> str | None:
    """What a provider says in a field, if it can be kept: no NUL, no halves of characters, no novels."""
    return value if isinstance(value, str) and value.isprintable() and len(value) <= TEXT_CHARS_MAX else None


def kept(given: dict[str, Any]) -> dict[str, Any]:
    """Of a token answer, what may be of use later."""
    words = {name: text(given.get(name)) for name in ("access_token", "refresh_token", "token_type", "scope")}
    ends = given.get("expires_at")
    known = {name: word for name, word in words.items() if word is not None}
    return known | ({"expires_at": ends} if isinstance(ends, int) and 0 < ends < 2**53 else {})


@contextmanager
def asking(provider: Dependency) -> Iterator[None]:
    """Around every call to a provider: what goes wrong there is said in our words.

    Raises Silent, Unavailable `oauth_<name>_unavailable`, Faulty; lets refusals of ours through.
    """
    name = provider.name.partition(".")[2]
    try:
        yield
    except (TimeoutError, httpx2.TimeoutException) as late:
        log.warning("%s does not answer in time: %s", name, type(late).__name__)
        raise Silent(
            f"{name} does not answer in time: try again later.",
            code="oauth_failed",
            retryAfter=provider.retry_after_s(late),
        ) from None
    except httpx2.NetworkError as cut:
        raise _away(provider, name, cut) from None
    except httpx2.HTTPStatusError as failed:
        if failed.response.status_code == TOO_MANY:
            raise _away(provider, name, failed) from None
        log.warning("%s fails: %d", name, failed.response.status_code)
        raise Faulty(f"{name} does not answer as it should.", code="oauth_failed") from None
    except (
        Wrong,
        httpx2.HTTPError,
        httpx2.InvalidURL,
        msgspec.MsgspecError,
        ValueError,
        RecursionError,
    ) as wrong:
        # Our own words only, nothing that a provider wrote.
        reason = str(wrong) if isinstance(wrong, Wrong) else ""
        log.warning("%s answers wrongly: %s %s", name, type(wrong).__name__, reason)
        raise Faulty(f"{name} does not answer as it should.", code="oauth_failed") from None


def _away(provider: Dependency, name: str, error: Exception) -> Unavailable:
    log.warning("%s cannot be asked: %s", name, type(error).__name__)
    return Unavailable(
        f"{name} cannot be asked: try again later.",
        code=f"{provider.slug}_unavailable",
        retryAfter=provider.retry_after_s(error),
    )


class _Bounded(httpx2.AsyncBaseTransport):
    """A transport whose answers end: at most ANSWER_BYTES_MAX, and not compressed."""

    def __init__(self) -> None:
        limits = httpx2.Limits(max_connections=CONNECTIONS_MAX, keepalive_expiry=30)
        self._inner = httpx2.AsyncHTTPTransport(limits=limits)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        answer = await self._inner.handle_async_request(request)
        if answer.headers.get("content-encoding", "identity") != "identity":
            # A few bytes may stand for millions, and we have asked for none of it.
            await answer.aclose()
            raise Wrong("it is compressed")
        assert isinstance(answer.stream, httpx2.AsyncByteStream), "what an asynchronous transport answers"
        return httpx2.Response(
            answer.status_code,
            headers=answer.headers,
            stream=_Counted(answer.stream),
            extensions=answer.extensions,
        )

    async def aclose(self) -> None:
        await self._inner.aclose()


class _Counted(httpx2.AsyncByteStream):
    def __init__(self, inner: httpx2.AsyncByteStream) -> None:
        self._inner = inner

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size_bytes = 0
        async for part in self._inner:
            size_bytes += len(part)
            if size_bytes > ANSWER_BYTES_MAX:
                raise Wrong(f"it is longer than {ANSWER_BYTES_MAX} bytes")
            yield part

    async def aclose(self) -> None:
        await self._inner.aclose()
