"""The level of the log, while running: SIGUSR1 tells more, SIGUSR2 tells less, one step each.

To be sent to the process that was started: with several workers it passes the signal on to them, and those
that it starts later begin where it stands. `kill -USR1 <pid>`; `docker kill -s USR1 <container>`.
"""

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from types import FrameType
from typing import Final

from app.config import tell_workers
from domain import behalf

log = logging.getLogger("maycole.logs")

LEVELS: Final = (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL)
NAMES: Final = ("DEBUG", "INFO", "WARN", "ERROR", "CRITICAL")
STEPS: Final = {signal.SIGUSR1: -1, signal.SIGUSR2: +1}


def obey() -> None:
    """Change the level at those signals from now on, where signals are heard at all: in the main thread.

    What was sent while this process was starting is heard now.
    """
    if threading.current_thread() is threading.main_thread():
        for number in STEPS:
            signal.signal(number, _step)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STEPS)


def pass_on(workers: Callable[[], Iterable[int | None]]) -> None:
    """Do so in these processes, too; those that are started later begin at the level of then.

    A worker that has only just been started would die of such a signal. So they are blocked here, which
    workers inherit until they `obey`, and a thread waits for them.
    """

    def heard(number: int, frame: FrameType | None = None) -> None:
        _step(number, frame)
        tell_workers("LOG_LEVEL", named())
        for pid in workers():
            if pid is not None:
                with suppress(ProcessLookupError):  # it has died just now
                    os.kill(pid, number)

    def hear() -> None:
        while True:
            heard(signal.sigwait(STEPS))

    for number in STEPS:
        signal.signal(number, heard)  # for threads that are there already
    signal.pthread_sigmask(signal.SIG_BLOCK, STEPS)
    threading.Thread(target=hear, name="the log level", daemon=True).start()


def named() -> str:
    """The level that it is."""
    level = logging.getLogger().level
    return next(name for at, name in zip(LEVELS, NAMES, strict=True) if at >= min(level, logging.CRITICAL))


def step(number: signal.Signals) -> str:
    """Do as this signal says; the name of the level that it is now."""
    root = logging.getLogger()
    at = next(place for place, level in enumerate(LEVELS) if level >= min(root.level, logging.CRITICAL))
    now = min(max(at + STEPS[number], 0), len(LEVELS) - 1)
    root.setLevel(LEVELS[now])
    return NAMES[now]


def _step(number: int, frame: FrameType | None) -> None:
    named = step(signal.Signals(number))
    # A signal comes in the midst of anything: it is not on behalf of the request that is worked on there.
    with behalf.working_for(None):
        # At the level itself, or at least ERROR's: whoever asked wants to see that it was heard.
        log.log(max(logging.getLogger().level, logging.INFO), "the log level is %s", named)
