"""Lines for people, as `maycole up` writes them: narrow, aligned, and in colours on a terminal.

    16:20:31 PUT    /api/inventory/{item_id}             409     4.3 …54z04y req_2456… code=stale_version
    16:20:33 warn   maycole.outgoing s3: open, was closed; 10 of the newest 20 tries failed

A request: the time here, method, route, status, milliseconds, the end of the user's id, the request's id;
anything else the time, level, logger and event. Then, as key=value, what else there is to know.
"""

import re
from datetime import UTC, datetime
from typing import Any, Final

from structlog.typing import EventDict

REQUEST: Final = "request"
NOBODY: Final = "-"
ROUTE_WIDTH: Final = 36
# What a request's line has in its places, and what is of no use to who sits before it.
_PLACED: Final = ("method", "route", "status", "duration_ms", "user_id", "request_id")
_LEFT_OUT: Final = ("bytes", "client")
_DIM, _BOLD, _RED, _GREEN, _YELLOW, _CYAN = 2, 1, 31, 32, 33, 36
_BY_STATUS: Final = {2: _GREEN, 3: _CYAN, 4: _YELLOW}
_BY_LEVEL: Final = {"debug": _DIM, "info": _GREEN, "warn": _YELLOW, "error": _RED, "critical": _RED}
# What moves the cursor, or ends a line, could make one line look like another.
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_PLAIN: Final = re.compile(r'[^\s"=]+')


class Pretty:
    """A structlog processor that makes the line, without its end."""

    def __init__(self, *, colors: bool) -> None:
        self._colors = colors

    def __call__(self, logger: object, level: str, event: EventDict) -> str:
        at: datetime = event.pop("timestamp", datetime.now(UTC))
        said, tracebacks = str(event.pop("event", "")), _tracebacks(event)
        clock = self._in(_DIM, f"{at.astimezone():%H:%M:%S}")
        if said == REQUEST and "route" in event:
            line = self._request(event)
        else:
            level, name = event.pop("level", level), event.pop("logger", "")
            line = f"{self._in(_BY_LEVEL.get(level, 0), f'{level:<6}')} {self._in(_DIM, name)} {_shown(said)}"
        rest = "".join(f" {self._in(_DIM, f'{name}=')}{_value(value)}" for name, value in event.items())
        return f"{clock} {line}{rest}{tracebacks}"

    def _request(self, event: EventDict) -> str:
        """The places of a request's line; they are taken from the event."""
        for name in ("level", "logger", *_LEFT_OUT):
            event.pop(name, None)
        method, route, status, took_ms, user_id, request_id = (event.pop(name, None) for name in _PLACED)
        user = f"…{user_id[-6:]}" if user_id else NOBODY
        return " ".join(
            (
                self._in(_BOLD, f"{method:<6}"),
                f"{route:<{ROUTE_WIDTH}}",
                self._in(_BY_STATUS.get((status or 0) // 100, _RED), f"{status or NOBODY:>3}"),
                f"{took_ms or 0:>7.1f}",
                f"{user:<7}",
                self._in(_DIM, _shown(str(request_id or NOBODY))),
            )
        )

    def _in(self, code: int, said: str) -> str:
        return f"\x1b[{code}m{said}\x1b[0m" if self._colors and said else said


def _tracebacks(event: EventDict) -> str:
    found = [str(event.pop(name)) for name in ("stack", "exception") if event.get(name)]
    return "".join(f"\n{_shown(line)}" for one in found for line in one.splitlines())


def _value(value: Any) -> str:
    said = _shown(str(value))
    return said if _PLAIN.fullmatch(said) else '"' + said.replace('"', '\\"') + '"'


def _shown(said: str) -> str:
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), said)
