"""What tests stand on: real Postgres and Redis, the real app under its real server, on a free port."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import msgspec
import pytest
import uvloop
from hypothesis import HealthCheck, settings
from litestar import Litestar

from app.config import Config
from app.embedded import Embedded
from app.main import create_app
from app.migrate import migrate
from app.pipeline.policies import Limits
from app.server import Server, address, listening
from channels.live import Live
from domain import keys
from tests import answered, error_codes
from tests.factories import Api
from tests.generous import GENEROUS
from tests.ground import ENCRYPTION_KEY, temporary_ground
from tests.listener import Listeners
from tests.mailbox import Mailbox
from tests.npm import install

# How fast the machine is today says nothing about the product.
settings.register_profile("maycole", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("maycole")


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The event loop that production runs on: it differs from asyncio's own in what a dead socket does."""
    return {"uvloop": uvloop.new_event_loop}


SECRET = "tests sign their tokens with this secret"
ORIGIN = "https://app.example"


@pytest.fixture(scope="session", autouse=True)
def every_code_is_listed() -> Iterator[None]:
    """Whatever problem is answered to a client of these tests has its code in docs/errors.md."""
    with answered.all_listed(error_codes.PAGE.read_text()):
        yield


@pytest.fixture(scope="session")
def ground() -> Iterator[Path]:
    """Where the servers of all tests keep what they have."""
    with temporary_ground("tests") as place:
        yield place


@pytest.fixture(scope="session")
def servers(ground: Path) -> Iterator[Embedded]:
    """Postgres and Redis for all tests that do not break them."""
    with Embedded(ground / "shared", durable=False) as started:
        yield started


@pytest.fixture(scope="session")
async def config(servers: Embedded, ground: Path) -> Config:
    """The configuration of every app under test: a migrated database, its Redis, one secret. It does jobs."""
    assert servers.database_url is not None
    await migrate(servers.database_url)
    return Config(
        database_url=servers.database_url,
        redis_url=servers.redis_url,
        jwt_secret=SECRET,
        encryption_key=ENCRYPTION_KEY,
        allowed_origins=(ORIGIN,),
        log_level="WARN",
        data_dir=ground / "data",
        runs_jobs=True,
    )


class Served(NamedTuple):
    """A running app, and where it answers."""

    url: str
    app: Litestar
    server: Server


@contextlib.asynccontextmanager
async def serving(config: Config, limits: Limits = GENEROUS) -> AsyncIterator[Served]:
    """The app under its own server in this event loop. One at a time: the pool is the process's."""
    started = asyncio.Event()
    with listening("127.0.0.1", 0) as listener:
        # As `maycole up` does: links in mails lead here.
        app = create_app(msgspec.structs.replace(config, port=listener.getsockname()[1]), limits=limits)
        server = Server(app, on_started=started.set)
        # Not serve(): that would take the signal handlers from pytest.
        running = asyncio.create_task(server._serve([listener]))
        waiting = asyncio.create_task(started.wait())
        await asyncio.wait({running, waiting}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        assert server.started, "the app did not start: see the log"
        try:
            yield Served(address(listener), app, server)
        finally:
            server.should_exit = True
            await running


@pytest.fixture(scope="session")
async def served(config: Config) -> AsyncIterator[Served]:
    """The app of this process."""
    async with serving(config) as running:
        yield running


@pytest.fixture(scope="session")
def url(served: Served) -> str:
    """Where the app of this process answers; domain tests use its pool."""
    return served.url


@pytest.fixture(scope="session")
def mailbox(served: Served, config: Config) -> Mailbox:
    """The mail that the app of this process has sent."""
    return Mailbox(config.data_dir / "mail")


@pytest.fixture(scope="session")
def live(served: Served) -> Live:
    """The live half of the app of this process."""
    state: Live = served.app.state.live
    return state


@pytest.fixture(scope="session")
async def http(url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=url, timeout=10) as client:
        yield client


@pytest.fixture(scope="session")
def api(http: httpx.AsyncClient) -> Api:
    """The REST API, as a client sees it."""
    return Api(http)


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the Node packages that tests run with (tests/node.py)."""
    return install(tmp_path_factory.mktemp("node"))


@pytest.fixture
async def listeners() -> AsyncIterator[Listeners]:
    """Official SDK clients, disconnected when the test ends."""
    async with Listeners() as all_of_them:
        yield all_of_them


@pytest.fixture
def rotate() -> Iterator[Callable[..., None]]:
    """`keys.install`, taken back when the test ends."""
    before = keys._secrets
    try:
        yield keys.install
    finally:
        keys._secrets = before
        keys.derived.cache_clear()


@pytest.fixture
def sealed_by_hand(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The server's own worker seals nothing meanwhile, until this is undone."""

    async def nobody() -> list[str]:
        return []

    monkeypatch.setattr("domain.audit_logs.seals._unsealed", nobody)
    return monkeypatch
