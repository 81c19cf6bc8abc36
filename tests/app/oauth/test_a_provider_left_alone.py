"""A provider that keeps failing is left alone: who signs in, the staff and /api/health are told so."""

from collections import Counter

import pytest

from app import herald
from app.adapters.breaker import CALLS_MIN, OPEN_S
from app.adapters.outgoing import Nature, Outgoing
from app.adapters.retrying import Policy, of_status
from app.herald import Herald
from app.supervise import Supervision
from domain import channels, db, health, streams
from domain.health import DependencyState
from tests.app.company import problem
from tests.app.outgoing.conftest import Time
from tests.doubles.asgi import Answer, Asked
from tests.doubles.world import World
from tests.factories import Api
from tests.listener import Listeners

DISCOVERY = "/.well-known/openid-configuration"
START = "https://maycole.example/api/auth/oauth/google/start"


async def failing(asked: Asked) -> Answer:
    return Answer({"error": "server_error"}, 500)


@pytest.fixture
def time(here: World, monkeypatch: pytest.MonkeyPatch) -> Time:
    """The time that the providers of this test live in."""
    made = Time()
    monkeypatch.setattr(
        here.served.app.state.outgoing, "_nature", Nature(made.clock, made.sleep, lambda: 1.0)
    )
    here.served.app.state.oauth = here.providers()
    return made


async def test_everybody_is_told_of_a_provider_that_fails_and_recovers(
    here: World, api: Api, time: Time, listeners: Listeners, email: str
) -> None:
    sam = await api.person("Sam")
    await db.execute("UPDATE users SET is_staff = true WHERE id = $1", sam.id)
    screen = await listeners(here.served.url, sam.token)
    await screen.follow(channels.HEALTH)
    here.google.is_at(email=email, email_verified=True)
    here.google.instead[DISCOVERY] = failing
    told: Counter[tuple[int, str]] = Counter()
    while "google" not in _open(here):
        answer = await here.browser().open(START)
        told[answer.status_code, answer.json()["code"]] += 1
    assert set(told) <= {(502, "oauth_failed"), (503, "oauth_google_unavailable")}
    assert here.google.asked[DISCOVERY] == CALLS_MIN

    refused = await here.browser().open(START)
    about = problem(refused, 503, "oauth_google_unavailable")
    assert 1 <= about["retryAfter"] <= OPEN_S
    assert refused.headers["Retry-After"] == str(about["retryAfter"])
    assert here.google.asked[DISCOVERY] == CALLS_MIN
    answer = await api.call("GET", "/health")
    data = answer.json()["data"]
    assert (answer.status_code, data["status"]) == (200, "degraded")
    assert not data["checks"]["outgoing.oauth.google"]["ok"]
    assert data["checks"]["outgoing.oauth.github"]["ok"]
    assert (await api.call("GET", "/health/ready")).status_code == 200

    here.google.instead.clear()
    time.at += OPEN_S
    assert (await here.browser().sign_in("google")).status_code == 200
    assert _open(here) == set()
    assert (await api.call("GET", "/health")).json()["data"]["checks"]["outgoing.oauth.google"]["ok"]
    await screen.until(lambda: len(screen.seen[channels.HEALTH]) == 3)
    heard = [entry["data"] for _, entry in screen.seen[channels.HEALTH]]
    changes = [("closed", "open"), ("open", "half_open"), ("half_open", "closed")]
    assert [(one["before"], one["state"]) for one in heard] == changes
    assert {one["dependency"] for one in heard} == {"oauth.google"}
    assert (heard[0]["calls"], heard[0]["failures"]) == (CALLS_MIN, CALLS_MIN)


def _open(here: World) -> set[str]:
    standings = here.served.app.state.outgoing.standings()
    return {one.name.removeprefix("oauth.") for one in standings if one.state != "closed"}


@pytest.mark.usefixtures("url")
async def test_a_worker_is_heard_too_and_while_postgres_is_away_its_newest_word_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    away, say = [True], health.say
    refused = 0

    async def sometimes(state: DependencyState) -> None:
        nonlocal refused
        if away[0]:
            refused += 1
            away[0] = refused < 3
            time.at += OPEN_S
            await dependency.call(well, repeatable=True)
            raise ConnectionRefusedError
        await say(state)

    async def well() -> None: ...

    async def fail() -> None:
        raise TimeoutError

    monkeypatch.setattr(health, "say", sometimes)
    monkeypatch.setattr(herald, "TRY_AGAIN_AFTER_S", 0.01)
    time = Time()
    outgoing = Outgoing(Nature(time.clock, time.sleep))
    policy = Policy(within_s=1.0, try_within_s=1.0, tries=1)
    dependency = outgoing.dependency("s3", policy, lambda error: of_status(503))
    before = (await streams.open_head(channels.HEALTH)).offset
    async with Supervision(stop=lambda: None).beside("the herald", Herald(outgoing).run):
        while outgoing.standings()[0].state == "closed":
            with pytest.raises(TimeoutError):
                await dependency.call(fail, repeatable=True)
        entries = []
        while not entries:
            entries = await streams.read(channels.HEALTH, before, limit=10)
    assert refused == 3
    [entry] = [entry for entry in entries if '"s3"' in entry.data]
    assert '"state":"closed"' in entry.data, "what it found out in the end"
