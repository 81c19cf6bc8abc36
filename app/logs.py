"""Logs: one line of JSON for each thing that is said, by us or by a library, through the standard `logging`.

Every line has `timestamp`, `level` (debug, info, warn, error, critical), `logger`, `event`, and `request_id`
where it is on behalf of a request; the line of a request more (app/pipeline/seen.py). On a terminal it is
`key=value`, under `maycole up` it is made to be read (app/log_pretty.py). Secrets are masked
(app/log_masks.py); writing waits for nobody (app/log_writer.py); the level is changed while running by
signals (app/log_levels.py).
"""

import logging
import sys
from collections import Counter
from datetime import UTC, datetime
from typing import Any, Final, Literal

import msgspec
import structlog
from structlog.typing import EventDict, Processor

from app import log_levels
from app.log_masks import mask, text
from app.log_pretty import Pretty
from app.log_writer import Writer
from domain import behalf

Style = Literal["json", "plain", "pretty"]

# Its INFO lines hold websocket URLs with their query, which may be somebody's secret. What is asked of others
# holds as much: the beginning of a password's hash, a code, a key.
QUIET: Final = ("uvicorn.error", "httpx2", "httpcore2")
# In every line, and first.
_FIRST: Final = ("timestamp", "level", "logger", "event")
_encoder: Final = msgspec.json.Encoder(enc_hook=str)


def install(level: str, style: Style | None = None) -> None:
    """Write logs to stderr from now on. Where somebody else listens to the root logger (a test runner), they
    go on to, in their own way.
    """
    root = logging.getLogger()
    ours = next((handler for handler in root.handlers if isinstance(handler, Handler)), None)
    if ours is None and not root.handlers:
        ours = Handler(Writer())
        root.addHandler(ours)
        # Nothing of this is in a line, and each of them is asked of the system for each record.
        logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
        # Nor the line of code, for which the stack is walked (the logging HOWTO, "Optimization").
        setattr(logging, "_srcfile", None)  # noqa: B010 - it is not in the type hints
    if ours is not None:
        root.setLevel(level)
        if style is not None or ours.style is None:
            ours.take(style or ("plain" if sys.stderr.isatty() else "json"))
    for named in QUIET:
        quiet = logging.getLogger(named)
        quiet.setLevel(logging.WARNING)
        if _as_loud_as_the_rest not in quiet.filters:
            quiet.addFilter(_as_loud_as_the_rest)
    log_levels.obey()


def _as_loud_as_the_rest(record: logging.LogRecord) -> bool:
    """A level of its own would be above that of all others, also where that is higher."""
    return record.levelno >= logging.getLogger().level


class Handler(logging.Handler):
    """Makes lines of records, and hands them to the writer."""

    def __init__(self, writer: Writer) -> None:
        super().__init__()
        self.writer = writer
        # From nought: of what is not there before its first line nobody sees that it grows.
        self.lines = Counter(dict.fromkeys(LEVELS, 0))
        self.style: Style | None = None
        self._processors: list[Processor] = []

    def take(self, style: Style) -> None:
        """Write like this from now on."""
        self.style = style
        self._processors = [
            structlog.processors.format_exc_info,
            mask,
            _RENDERED[style],
        ]

    def emit(self, record: logging.LogRecord) -> None:
        level = _LEVELS.get(record.levelname, record.levelname.lower())
        # Not measures.count: a signal handler logs, and whoever it interrupts may hold Prometheus' lock.
        self.lines[level] += 1
        try:
            line: Any = _event(record, level)
            for process in self._processors:
                line = process(None, level, line)
            self.writer.write(
                line if isinstance(line, bytes) else text(line).encode("utf-8", "replace") + b"\n"
            )
        except Exception:
            self.handleError(record)  # says so on stderr: a line that cannot be written harms nobody

    def flush(self) -> None:
        self.writer.flush()


def _event(record: logging.LogRecord, level: str) -> EventDict:
    """What a record says, as structlog has it."""
    event: EventDict = {
        "timestamp": datetime.fromtimestamp(record.created, UTC),
        "level": level,
        "logger": record.name,
        "event": record.getMessage(),
    }
    if (request_id := behalf.request_id()) is not None:
        event["request_id"] = request_id
    event.update(getattr(record, "fields", ()))
    if record.exc_info:
        event["exc_info"] = record.exc_info
    if record.stack_info:
        event["stack"] = record.stack_info
    return event


def _json(logger: object, method: str, event: EventDict) -> bytes:
    return _encoder.encode(event) + b"\n"


_LEVELS: Final = {"WARNING": "warn"}
LEVELS: Final = ("debug", "info", "warn", "error", "critical")
_RENDERED: Final[dict[Style, Processor]] = {
    "json": _json,
    "plain": structlog.processors.LogfmtRenderer(key_order=_FIRST),
    "pretty": Pretty(colors=sys.stderr.isatty()),
}
