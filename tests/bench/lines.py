"""Lines: what one line of the log costs the event loop, in microseconds of its thread's CPU time.

    silent      a line below the level: what is not said
    bare        the standard library's own handler and format, for a line that says half as much
    request     the line of a request: JSON, masked, handed to the writer
    message     a line of ours with a request id

All in turns within one run; the figure is the median of the rounds.
"""

import logging
import os
import statistics
import time
from collections.abc import Callable
from typing import Final

from app.log_writer import Writer
from app.logs import Handler
from domain import behalf

ROUNDS: Final = 15
AT_ONCE: Final = 2000
FIELDS: Final = {
    "method": "GET",
    "route": "/api/inventory/{item_id}",
    "status": 200,
    "duration_ms": 1.23,
    "bytes": 512,
    "user_id": "user_01m82jzbmqe1psq5yb7z471kn4",
    "client": "203.0.113.7",
}


async def measure() -> None:
    """Print the cost of each."""
    with open(os.devnull, "w") as nowhere:  # noqa: ASYNC230, PTH123 - nothing is read or written by it
        ours, theirs = Handler(Writer(nowhere.fileno())), logging.StreamHandler(nowhere)
        ours.take("json")
        theirs.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
        measured, bare = _logger("bench.lines", ours), _logger("bench.bare", theirs)
        said: dict[str, Callable[[], None]] = {
            "silent": lambda: measured.debug("request", extra={"fields": FIELDS}),
            "bare": lambda: bare.info("GET /api/inventory/{item_id} %d", 200),
            "request": lambda: measured.info("request", extra={"fields": FIELDS}),
            "message": lambda: measured.info("only %d left", 3),
        }
        taken: dict[str, list[float]] = {name: [] for name in said}
        with behalf.working_for("req_0123456789abcdef01234567"):
            for _ in range(ROUNDS):
                for name, say in said.items():
                    taken[name].append(_microseconds(say))
                    ours.writer.flush()
        for name, times in taken.items():
            print(f"{name:<12}{statistics.median(times):>8.1f} us")


def _logger(name: str, handler: logging.Handler) -> logging.Logger:
    logger = logging.getLogger(name)
    logger.propagate = False
    logger.setLevel(logging.INFO)
    logger.handlers = [handler]
    return logger


def _microseconds(say: Callable[[], None]) -> float:
    began = time.thread_time()
    for _ in range(AT_ONCE):
        say()
    return (time.thread_time() - began) / AT_ONCE * 1e6
