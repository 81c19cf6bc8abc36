"""A flood of registrations: strangers hash for themselves, one at a time, and no login waits for them."""

import asyncio
import secrets
import threading
from collections import Counter
from collections.abc import Iterator

import httpx
import pytest

from domain import db
from domain.auth import passwords, verification
from tests.app.company import problem
from tests.app.signing_in import login
from tests.factories import PASSWORD, Api

WAITING_MAX = 5
MORE = 3


@pytest.fixture
def end(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Until this is set, whoever hashes a new password keeps their thread."""
    happened = threading.Event()
    real = passwords.PasswordHasher.hash

    def stuck(self: passwords.PasswordHasher, password: str) -> str:
        happened.wait()
        return real(self, password)

    monkeypatch.setattr(passwords.PasswordHasher, "hash", stuck)
    monkeypatch.setattr(passwords, "WAITING_MAX", WAITING_MAX)
    yield happened
    happened.set()


@pytest.fixture(params=[False, True], ids=["at once", "by a job"])
def registered(request: pytest.FixtureRequest) -> Iterator[int]:
    """What registering answers: an account, or that there will be one."""
    verification.install(required=request.param)
    yield 202 if request.param else 201
    verification.install(required=False)


async def register(api: Api) -> httpx.Response:
    email = f"flood-{secrets.token_hex(6)}@example.org"
    return await api.call(
        "POST", "/auth/register", json={"email": email, "password": PASSWORD, "name": "Ann"}
    )


async def test_however_many_register_a_login_has_a_thread(
    api: Api, known: str, registered: int, end: threading.Event
) -> None:
    flood = [asyncio.create_task(register(api)) for _ in range(WAITING_MAX + MORE)]
    while sum(task.done() for task in flood) < MORE:
        await asyncio.wait([task for task in flood if not task.done()], return_when=asyncio.FIRST_COMPLETED)
    for task in flood:
        if task.done():
            assert problem(task.result(), 503, "busy")["retryAfter"] > 0
    answers = await asyncio.gather(*(login(api, known) for _ in range(3)))
    assert [answer.status_code for answer in answers] == [200] * 3
    assert sum(task.done() for task in flood) == MORE, "all of it while they were still registering"
    end.set()
    statuses = Counter(answer.status_code for answer in await asyncio.gather(*flood))
    assert statuses == {registered: WAITING_MAX, 503: MORE}
    assert (await register(api)).status_code == registered, "and then there is room again"


@pytest.fixture
async def known(api: Api) -> str:
    """The address of somebody who registered before, and confirmed it."""
    ann = await api.person()
    await db.execute("UPDATE users SET email_verified_at = now() WHERE id = $1", ann.id)
    return ann.email
