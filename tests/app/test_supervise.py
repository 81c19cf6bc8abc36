"""Who supervises background tasks: one that ends before it may stops the process, and is named."""

import asyncio
import logging
import socket
from collections.abc import Iterator

import msgspec
import pytest

from app.adapters.outgoing import Outgoing
from app.config import Config
from app.config_eyes import Eyes
from app.supervise import Supervision
from app.watching import watching
from domain import bugs, streams

WITHIN_S = 20


@pytest.fixture
def reported() -> Iterator[list[tuple[BaseException, str]]]:
    told: list[tuple[BaseException, str]] = []
    bugs.install(lambda error, where: told.append((error, where.where)))
    yield told
    bugs.install(None)


async def forever() -> None:
    await asyncio.Event().wait()


async def returns() -> None:
    """Nothing."""


async def fails() -> None:
    raise LookupError("there was nothing left to do")


async def test_a_task_that_fails_is_told_and_reported_and_stops_the_process(
    reported: list[tuple[BaseException, str]], caplog: pytest.LogCaptureFixture
) -> None:
    stopped = asyncio.Event()
    supervision = Supervision(stopped.set)
    async with (
        supervision.beside("one that lives", forever),
        supervision.beside("the doomed task", fails),
        asyncio.timeout(WITHIN_S),
    ):
        await stopped.wait()
    assert supervision.died == "the doomed task"
    [(error, where)] = reported
    assert (type(error), where) == (LookupError, "the doomed task")
    [said] = [record for record in caplog.records if record.levelno == logging.CRITICAL]
    assert said.getMessage() == "the doomed task died: this process stops"


async def test_one_that_merely_ends_is_as_bad_and_the_first_to_die_is_named() -> None:
    stops: list[str] = []
    supervision = Supervision(lambda: stops.append("told to stop"))
    first, second = supervision.supervise("the first", returns), supervision.supervise("the second", fails)
    await asyncio.wait({first, second})
    await asyncio.sleep(0)
    assert supervision.died == "the first"
    assert stops == ["told to stop"], "who is told twice stops at once, and not in good order"


async def test_one_that_ends_with_its_block_or_after_it_was_let_go_has_not_died() -> None:
    stops: list[str] = []
    supervision = Supervision(lambda: stops.append("told to stop"))
    async with supervision.beside("until the block ends", forever):
        [task] = supervision.tasks
        await asyncio.sleep(0)
    assert task.cancelled()
    let_go = supervision.supervise("let go", returns)
    supervision.let_go()
    await let_go
    supervision.supervise("until the end", forever)
    await supervision.end()
    assert (supervision.died, stops, supervision.tasks) == (None, [], set())


async def test_a_port_for_metrics_that_is_taken_leaves_nothing_open(config: Config) -> None:
    supervision = Supervision(stop=lambda: None)
    listeners, before = list(streams.listeners), keepers()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        eyes = Eyes(metrics_listen=taken.getsockname()[:2])
        own = msgspec.structs.replace(config, eyes=eyes)
        with pytest.raises(OSError, match="in use"):
            async with watching(own, Outgoing(), supervision):
                pytest.fail("it has begun without")
    assert keepers() == before
    assert streams.listeners == listeners
    assert supervision.died is None, "it was ended, and did not die"


def keepers() -> set[asyncio.Task[object]]:
    """Those there are; the app of this process has one."""
    return {task for task in asyncio.all_tasks() if task.get_name() == "the keeper of gauges"}
