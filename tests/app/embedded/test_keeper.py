"""An embedded Redis that ends by itself is started again, until that is of no use; Postgres ends everything.

With real servers, and what their users see of it: tests/stories/test_one_command.py.
"""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from app import embedded_keeper
from app.embedded import Embedded, EmbeddedError
from app.embedded_keeper import TRIES_MAX, Keeper

DIED = "redis was ended by SIGKILL: it said nothing"


class Servers:
    """Servers whose Redis dies as soon as it is started, or does not start; Postgres dies after `starts`."""

    def __init__(self, *, starts: int, fails: bool = False) -> None:
        self._starts = starts
        self._fails = fails
        self.started = 0
        self.postgres = SimpleNamespace(ending=lambda: "postgres too" if self.started >= starts else None)
        # What has not started has been put away: it says no more how it ended.
        ending = lambda: None if self._fails and self.started else DIED  # noqa: E731 - of a namespace
        self.redis = SimpleNamespace(is_running=lambda: False, ending=ending)

    def start_again(self, child: Any) -> None:
        assert child is self.redis
        self.started += 1
        if self._fails:
            raise EmbeddedError("redis exited with 1: no such setting")


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOOK_EVERY_S", "WAIT_S"):
        monkeypatch.setattr(embedded_keeper, name, 0)


@pytest.mark.parametrize("fails", [False, True])
async def test_a_redis_that_does_not_stay_is_given_up(fails: bool) -> None:
    servers, said = Servers(starts=1000, fails=fails), list[str]()
    gone = await Keeper(servers, said.append).run()
    assert servers.started == TRIES_MAX
    assert gone.startswith("redis exited with 1" if fails else DIED)
    assert f"{TRIES_MAX} times" in gone
    assert said[0] == "redis was ended by SIGKILL: it is started again"


async def test_who_has_stayed_for_a_while_has_all_tries_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded_keeper, "STAYS_S", -1)
    servers = Servers(starts=3 * TRIES_MAX)
    assert await Keeper(servers, lambda line: None).run() == "postgres too"
    assert servers.started == 3 * TRIES_MAX


async def test_waits_get_longer_and_end_somewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded_keeper, "WAIT_S", 0.5)
    now, waits = 0.0, []
    keeper = Keeper(Servers(starts=1000), lambda line: None, lambda: now)
    while not await keeper._look():
        if keeper._due_at is not None:
            waits.append(keeper._due_at - now)
            now = keeper._due_at
    assert waits == [0.5, 1, 2, 4, 8, *[10.0] * 5]


def test_nothing_is_started_again_when_all_is_to_end(data_dir: Path) -> None:
    with Embedded(data_dir, postgres=False) as servers:
        servers.stop()
        servers.start_again(servers.redis)
        assert not servers.redis.is_running()
