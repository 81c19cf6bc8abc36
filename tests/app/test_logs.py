"""Log lines: what is in them, what never is, and that writing them holds nobody up."""

import logging
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import log_levels, log_masks, log_writer, logs
from app.log_pretty import Pretty
from app.log_writer import Writer
from app.logs import Handler, Style
from channels.request_ids import known_as
from domain import behalf, measures

CANARY = "canary0123456789abcdef"
JWT = f"eyJhbGciOiJIUzI1NiJ9.{CANARY}.sig-nature_{CANARY}"

Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def handler(tmp_path: Path) -> Iterator[Handler]:
    descriptor = os.open(tmp_path / "log", os.O_RDWR | os.O_CREAT)
    made = Handler(Writer(descriptor))
    made.take("json")
    yield made
    assert made.writer.flush()
    os.close(descriptor)


@pytest.fixture
def log(handler: Handler) -> Iterator[logging.Logger]:
    """A logger whose lines go nowhere else."""
    logger = logging.getLogger("maycole.test_logs")
    logger.propagate, before = False, logger.level
    logger.setLevel(logging.DEBUG)
    logger.addHandler(handler)
    yield logger
    logger.removeHandler(handler)
    logger.propagate = True
    logger.setLevel(before)


def written(handler: Handler, tmp_path: Path) -> str:
    assert handler.writer.flush()
    return (tmp_path / "log").read_text()


def lines(handler: Handler, tmp_path: Path) -> list[dict[str, Any]]:
    return [msgspec.json.decode(line) for line in written(handler, tmp_path).splitlines()]


def test_a_line_says_when_how_bad_who_and_what(handler: Handler, log: logging.Logger, tmp_path: Path) -> None:
    with behalf.working_for("req_1"):
        log.warning("only %d left", 3)
    log.critical("two\nlines \0 and é")
    first, second = lines(handler, tmp_path)
    assert first.pop("timestamp").endswith("Z")
    assert first == {
        "level": "warn",
        "logger": "maycole.test_logs",
        "event": "only 3 left",
        "request_id": "req_1",
    }
    assert (second["level"], second["event"]) == ("critical", "two\nlines \0 and é")
    assert "request_id" not in second


@pytest.mark.parametrize(
    "said",
    [
        f"Authorization: Bearer {CANARY}",
        f"Basic {CANARY}",
        f"the token {JWT} is over",
        f"key mk_live_{CANARY}_{CANARY}",
        f"postgresql://maycole:{CANARY}@db.example:5432/maycole",
        f"redis://:{CANARY}@cache.example",
        f'{{"password": "{CANARY} with spaces \\" and {CANARY}", "name": "Ann"}}',
        f"password='{CANARY} x' and more",
        f"refreshToken=mrt_{CANARY}",
        f"/auth/magic-link?token={CANARY}&x=1",
        f"Cookie: session={CANARY}",
        f"API_KEY={CANARY}",
        f"mlt_{CANARY}.{CANARY}",
    ],
)
def test_what_looks_like_a_secret_is_masked_wherever_it_is(
    handler: Handler, log: logging.Logger, tmp_path: Path, said: str
) -> None:
    log.info("%s", said)
    log.info("fields", extra={"fields": {"about": said, "deep": {"list": [said]}}})
    try:
        raise ValueError(said)
    except ValueError:
        log.exception("it broke")
    for style in ("plain", "pretty"):
        handler.take(style)
        log.info("%s", said)
    text = written(handler, tmp_path)
    assert log_masks.MASK in text
    assert CANARY not in text


@pytest.mark.parametrize(
    "name",
    ["password", "newPassword", "accessToken", "refresh_token", "token", "client_secret", "Authorization",
     "set-cookie", "x-api-key", "encryption_key", "apiKey", "totp", "database_url", "key"],
)  # fmt: skip
def test_what_goes_by_the_name_of_a_secret_is_masked(
    handler: Handler, log: logging.Logger, tmp_path: Path, name: str
) -> None:
    log.info("given", extra={"fields": {name: CANARY, "in": {name: [CANARY]}}})
    assert CANARY not in written(handler, tmp_path)


@given(
    st.from_regex(
        r"([A-Za-z]{0,5}[._-])?(eyJ|m[a-z]{1,3}t_|mk_(live|test)_)[A-Za-z0-9._-]{0,50}", fullmatch=True
    )
)
def test_a_request_can_be_found_by_the_id_that_it_was_told(sent: str) -> None:
    told = known_as(sent.encode())
    assert log_masks.mask(None, "info", {"request_id": told}) == {"request_id": told}


def test_what_is_no_secret_is_left_as_it_is() -> None:
    plain = {"key_id": "key_01abc", "monkey": "business", "tokens_left": 4, "status": 200, "keyboard": "de"}
    assert log_masks.mask(None, "info", dict(plain)) == plain
    for said in (
        "a key was made",
        "secretly",
        "the cookie jar is empty",
        "https://app.example/a:b",
        "at_once",
    ):
        assert log_masks.text(said) == said


REQUEST = {
    "method": "PUT",
    "route": "/api/inventory/{item_id}",
    "status": 409,
    "code": "stale_version",
    "duration_ms": 4.31,
    "bytes": 412,
    "user_id": "user_01m836pkqvek7vjgsw6f54z04y",
    "client": "127.0.0.1",
}


def pretty(colors: bool, level: str, event: str, **more: Any) -> str:
    at = datetime(2026, 11, 23, 16, 20, 31, tzinfo=UTC).astimezone()
    said = {"timestamp": at, "level": level, "logger": "maycole.it", "event": event, **more}
    line = Pretty(colors=colors)(None, level, said)
    assert f"{at:%H:%M:%S}" in line
    return line.replace(f"{at:%H:%M:%S}", "HH:MM:SS")


def test_a_request_under_up_is_a_line_of_columns() -> None:
    request = pretty(False, "info", "request", request_id="req_1", **REQUEST)
    nobodys = {"method": "GET", "route": "/api/version", "status": 200, "duration_ms": 12.345}
    assert [request, pretty(False, "info", "request", request_id="req_2", **nobodys)] == [
        "HH:MM:SS PUT    /api/inventory/{item_id}             409     4.3 …54z04y req_1 code=stale_version",
        "HH:MM:SS GET    /api/version                         200    12.3 -       req_2",
    ]


def test_anything_else_under_up_says_who_says_what() -> None:
    assert pretty(False, "warn", "only 3 left", of="green tea", request_id="req_1") == (
        'HH:MM:SS warn   maycole.it only 3 left of="green tea" request_id=req_1'
    )
    broken = pretty(False, "error", "it broke", exception="Traceback\n  at 1\nValueError: x")
    assert broken.splitlines()[1:] == ["Traceback", "  at 1", "ValueError: x"]


def test_nothing_that_is_logged_moves_the_cursor_or_makes_a_line_of_its_own() -> None:
    line = pretty(True, "info", "a\nHH:MM:SS b\x1b[2J\u2028", name="x\r\x9b2J", exception="one\x1b[2Jtwo")
    ours = re.sub(r"\x1b\[\d+m", "", line)
    assert ours.split("\n") == [
        "HH:MM:SS info   maycole.it a\\nHH:MM:SS b\\x1b[2J\\u2028 name=x\\r\\x9b2J",
        "one\\x1b[2Jtwo",
    ]


def test_a_terminal_shows_how_a_request_ended_in_colours() -> None:
    shown = {
        status: pretty(True, "info", "request", **REQUEST | {"status": status}) for status in (200, 409, 500)
    }
    colours = {status: re.search(rf"\x1b\[(\d+)m{status}", line) for status, line in shown.items()}
    assert len({found[1] for found in colours.values() if found}) == 3
    assert "\x1b" not in pretty(False, "info", "request", **REQUEST)


@pytest.mark.parametrize("style", ["plain", "pretty"])
def test_people_read_lines_too(handler: Handler, log: logging.Logger, tmp_path: Path, style: Style) -> None:
    handler.take(style)
    log.warning("only 3 left")
    [line] = written(handler, tmp_path).splitlines()
    assert "only 3 left" in line
    assert "warn" in line
    assert not line.startswith("{")


def test_a_reader_that_reads_nothing_stops_nobody_and_hears_what_it_missed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(log_writer, "LINES_MAX", 50)
    reading, writing = os.pipe()
    writer = Writer(writing)
    line = b"x" * 4095 + b"\n"
    for _ in range(1000):  # far more than a pipe holds: were it to wait, this would never end
        writer.write(line)
    assert writer.dropped > 0
    assert not writer.flush(0.01)

    heard = bytearray()

    def read() -> None:
        while part := os.read(reading, 65536):
            heard.extend(part)

    reader = threading.Thread(target=read)
    reader.start()
    assert writer.flush(20)
    writer.write(b"after\n")
    assert writer.flush(20)
    os.close(writing)
    reader.join()
    os.close(reading)
    told = [text for text in heard.decode().splitlines() if "dropped" in text]
    assert sum(int(text.split('"event":"')[1].split()[0]) for text in told) == writer.dropped
    assert heard.count(line) == 1000 - writer.dropped
    assert heard.endswith(b"after\n")


@pytest.fixture
def root_level() -> Iterator[None]:
    before = logging.getLogger().level
    yield
    logging.getLogger().setLevel(before)


def test_the_level_goes_one_step_at_a_time_and_stops_at_the_ends(root_level: None) -> None:
    logging.getLogger().setLevel(logging.WARNING)
    more, less = signal.SIGUSR1, signal.SIGUSR2
    assert [log_levels.step(number) for number in (more, more, more)] == ["INFO", "DEBUG", "DEBUG"]
    told = [log_levels.step(less) for _ in range(5)]
    assert told == ["INFO", "WARN", "ERROR", "CRITICAL", "CRITICAL"]


def test_somebody_elses_logging_is_left_alone() -> None:
    """A test runner listens to the root logger: no second handler is put beside its own."""
    from app import logs

    assert logging.getLogger().handlers
    logs.install("INFO")
    assert not [handler for handler in logging.getLogger().handlers if isinstance(handler, Handler)]
    assert sys.stderr is not None


def test_what_is_louder_than_others_is_as_quiet_as_they_are_where_that_is_more(root_level: None) -> None:
    logs.install("ERROR")
    for named in logs.QUIET:
        record = logging.LogRecord(named, logging.WARNING, "", 0, "an odd request", None, None)
        logging.getLogger().setLevel(logging.ERROR)
        assert not logging.getLogger(named).filter(record)
        logging.getLogger().setLevel(logging.INFO)
        assert logging.getLogger(named).filter(record)


def test_a_signal_that_comes_amid_a_request_is_not_on_its_behalf(
    handler: Handler, tmp_path: Path, root_level: None
) -> None:
    logging.getLogger().setLevel(logging.INFO)
    log_levels.log.addHandler(handler)
    try:
        with behalf.working_for("req_of_somebody"):
            log_levels._step(signal.SIGUSR1, None)
            assert behalf.request_id() == "req_of_somebody"
    finally:
        log_levels.log.removeHandler(handler)
    said = msgspec.json.decode(written(handler, tmp_path))
    assert said["event"] == "the log level is DEBUG"
    assert "request_id" not in said


def test_a_line_is_counted_without_a_lock_that_whoever_it_interrupts_may_hold(
    handler: Handler, log: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody(*_: object) -> None:
        raise AssertionError("a signal handler logs, and Prometheus has a lock")

    monkeypatch.setattr(measures, "count", nobody)
    monkeypatch.setattr(measures, "took", nobody)
    before = handler.lines["warn"]
    log.warning("careful")
    assert handler.lines["warn"] == before + 1
