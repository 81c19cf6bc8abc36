"""Every client of ours, against a server that fails in every way: it ends, in our words, and recovers."""

import asyncio
import hashlib
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import NamedTuple

import msgspec
import pytest

from app.adapters.breaker import CALLS_MIN, OPEN_S, PROBES
from app.adapters.oauth import Providers
from app.adapters.outgoing import Dependency, Outgoing
from app.adapters.pwned import Pwned
from app.adapters.s3 import S3
from app.config_oauth import Provider
from app.config_s3 import Bucket
from domain.auth.oauth_model import Flow
from domain.errors import DomainError, Faulty, Silent, Unavailable
from tests.app.outgoing.conftest import Time
from tests.doubles.vendor import BREAKS, NEVER_ENDS, Vendor

BREACHED = "a breached password of this test"
KEYS = {"client_id": "us", "client_secret": "a secret"}
FLOW = Flow(verifier="v" * 43, nonce="n", return_to=None, user_id=None, session_id=None)
BRIEF_S = 0.1
PATIENT = {"within_s": 120.0, "try_within_s": 60.0}


class Client(NamedTuple):
    """A client of ours: `use` is what a feature does with it, and answers whether it got what it wanted."""

    name: str
    dependency: Dependency
    use: Callable[[], Awaitable[bool]]
    repeatable: bool


async def _pwned(outgoing: Outgoing, url: str) -> AsyncIterator[Client]:
    pwned = Pwned(outgoing, url)
    yield Client("pwned", pwned.dependency, lambda: pwned.knows(BREACHED), True)
    await pwned.close()


async def _s3(outgoing: Outgoing, url: str) -> AsyncIterator[Client]:
    s3 = S3(Bucket(name="kept", access_key="an-id", secret_key="a-secret", endpoint=url), outgoing)

    async def use() -> bool:
        await s3.put("a", b"x", content_type="text/plain")
        return True

    yield Client("s3", s3.dependency, use, True)
    await s3.close()


async def _oidc(outgoing: Outgoing, url: str) -> AsyncIterator[Client]:
    """What is asked first of an issuer: who it is."""
    providers = Providers((Provider(name="acme", issuer=url, **KEYS),), url, (), outgoing)
    acme = providers.find("acme")

    async def use() -> bool:
        await acme.ready()
        acme._metadata = None  # type: ignore[union-attr]  # as after an hour
        return True

    yield Client("acme", acme.dependency, use, True)
    await providers.close()


async def _github(outgoing: Outgoing, url: str) -> AsyncIterator[Client]:
    """The exchange of a code, which is good for one use."""
    providers = Providers((Provider(name="github", base=url, api_base=url, **KEYS),), url, (), outgoing)
    github = providers.find("github")

    async def use() -> bool:
        return (await github.profile(FLOW, "a-code", None)).subject == "7"

    yield Client("github", github.dependency, use, False)
    await providers.close()


CLIENTS = {"pwned": _pwned, "s3": _s3, "oidc": _oidc, "github": _github}


@pytest.fixture(params=CLIENTS)
async def client(
    request: pytest.FixtureRequest, failing: Vendor, outgoing: Outgoing, time: Time
) -> AsyncIterator[Client]:
    """One of them. At the end no connection is left (tests/doubles/vendor.py), and no task."""
    digest = hashlib.sha1(BREACHED.encode(), usedforsecurity=False).hexdigest().upper()
    urls = {
        name: f"{failing.url}/{name}" for name in ("authorization_endpoint", "token_endpoint", "jwks_uri")
    }
    failing.answers = {
        "/range/": f"{digest[5:]}:7\r\n".encode(),
        "/.well-known": json.dumps({"issuer": failing.url, **urls}).encode(),
        "/login/oauth/access_token": b'{"access_token": "t", "token_type": "bearer"}',
        "/user/emails": b'[{"email": "pat@example.org", "primary": true, "verified": true}]',
        "/user": b'{"id": 7, "login": "pat"}',
        "/kept/": b"",
    }
    made = CLIENTS[request.param](outgoing, failing.url)
    async for one in made:
        # How busy this machine is says nothing about a vendor.
        one.dependency.policy = msgspec.structs.replace(one.dependency.policy, **PATIENT)
        yield one
    await failing.until(lambda: failing.open == 0)
    assert [task for task in asyncio.all_tasks() if _is_of_a_client(task)] == []


def _is_of_a_client(task: asyncio.Task[object]) -> bool:
    code = getattr(task.get_coro(), "cr_code", None)
    return code is not None and any(
        place in code.co_filename
        for place in ("/adapters/", "/httpx2/", "/httpcore2/", "/aiohttp/", "botocore/")
    )


async def outcome(client: Client) -> bool | DomainError:
    """What the feature sees; the test fails for anything but an answer or an error in our words."""
    async with asyncio.timeout(60):
        try:
            return await client.use()
        except DomainError as error:
            return error


async def test_a_vendor_that_behaves_is_asked_once(client: Client, failing: Vendor) -> None:
    assert await outcome(client) is True
    assert len(failing.asked) == client.dependency.counts.calls == client.dependency.counts.tries
    assert client.dependency.breaker.failures == 0


@pytest.mark.parametrize("way", NEVER_ENDS)
async def test_a_vendor_that_never_ends_is_not_waited_for(
    client: Client, failing: Vendor, outgoing: Outgoing, way: str
) -> None:
    usual = client.dependency.policy
    client.dependency.policy = msgspec.structs.replace(usual, try_within_s=BRIEF_S)
    failing.behaves = way
    seen = await outcome(client)
    counts = client.dependency.counts
    assert counts.tries == (usual.tries if client.repeatable else 1)
    assert counts.failures == counts.tries
    _is_said(client, seen, {"acme": Silent, "github": Silent, "s3": Unavailable})
    client.dependency.policy, failing.behaves = usual, "well"
    assert await outcome(client) is True, "and works again at once"


@pytest.mark.parametrize("way", BREAKS)
async def test_a_vendor_that_breaks_is_tried_again_where_that_is_right(
    client: Client, failing: Vendor, way: str, time: Time
) -> None:
    if client.name == "s3" and way == "half a body":
        failing.answers["/kept/"] = b"{}" * 20
    failing.behaves = way
    seen = await outcome(client)
    assert len(failing.asked) == (client.dependency.policy.tries if client.repeatable else 1)
    assert len(time.slept) == len(failing.asked) - 1
    away = Unavailable if way == "resets" else Faulty
    _is_said(client, seen, {"acme": away, "github": away, "s3": Unavailable})
    failing.behaves, failing.answers["/kept/"] = "well", b""
    assert await outcome(client) is True, "and works again at once"


def _is_said(client: Client, seen: bool | DomainError, kinds: dict[str, type[DomainError]]) -> None:
    if client.name == "pwned":
        assert seen is False, "a second opinion keeps nobody out"
        return
    assert type(seen) is kinds[client.name]
    assert isinstance(seen, DomainError)
    if type(seen) is Unavailable:
        assert seen.problem == f"{client.dependency.slug}_unavailable"
    assert ("retryAfter" in seen.details) == (type(seen) is not Faulty)


async def test_a_vendor_that_throttles_is_asked_when_it_says(
    client: Client, failing: Vendor, time: Time
) -> None:
    failing.behaves, failing.retry_after = "429", "0"
    seen = await outcome(client)
    assert len(failing.asked) == client.dependency.policy.tries, (
        "it did nothing: whatever it was may be sent again"
    )
    _is_said(client, seen, dict.fromkeys(("acme", "github", "s3"), Unavailable))

    failing.asked.clear()
    failing.retry_after = "3600"
    seen = await outcome(client)
    assert len(failing.asked) == 1, "nobody waits for an hour"
    if isinstance(seen, DomainError):
        assert seen.details["retryAfter"] == 3600, "but is told to"


@pytest.mark.parametrize("way", ["resets", "500"])
async def test_a_vendor_that_keeps_failing_is_left_alone_until_it_recovers(
    client: Client,
    failing: Vendor,
    outgoing: Outgoing,
    way: str,
    time: Time,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.CRITICAL)
    failing.behaves = way
    while client.dependency.breaker.state == "closed":
        await outcome(client)
    assert len(failing.asked) == CALLS_MIN
    for _ in range(3):
        seen = await outcome(client)
        if isinstance(seen, DomainError):
            assert (type(seen).__mro__[1], seen.problem) == (
                Unavailable,
                f"{client.dependency.slug}_unavailable",
            )
            assert 1 <= seen.details["retryAfter"] <= OPEN_S
        else:
            assert seen is False
    assert len(failing.asked) == CALLS_MIN, "nobody asks it"
    assert not outgoing.standings()[0].ok

    failing.behaves = "well"
    time.at += OPEN_S
    while client.dependency.breaker.state != "closed":
        assert await outcome(client) is True
    assert len(failing.asked) == CALLS_MIN + PROBES
    assert outgoing.standings()[0].ok
