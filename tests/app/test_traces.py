"""Whose trace a request is a part of, and how a process ends whose collector says nothing."""

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest

from app.pipeline.proxies import Proxies
from app.pipeline.seen import seen
from domain import tracing

THEIRS = f"00-{'a' * 32}-{'b' * 16}-01"
ENDS_WITHIN_S = 25  # without a bound of ours it takes the SDK's, 30 s
ENDING = """
from app import tracing
tracing.CLOSE_WITHIN_S = 0.1
traces = tracing.OpenTelemetry()
with traces.span("a span", None, None):
    pass
traces.close()
print("closed")
"""


class Noted:
    """A tracer (domain/tracing.py) that notes of which spans others are a part, and which they follow."""

    def __init__(self) -> None:
        self.spans: list[tuple[str | None, str | None]] = []

    def span(self, name: str, traceparent: str | None, follows: str | None) -> AbstractContextManager[None]:
        self.spans.append((traceparent, follows))
        return nullcontext()

    def request(self, method: str, route: str, status: int) -> None:
        """Nothing."""


@pytest.fixture
def noted(monkeypatch: pytest.MonkeyPatch) -> Noted:
    noted = Noted()
    monkeypatch.setattr(tracing, "tracer", noted)
    return noted


@pytest.mark.parametrize(
    ("trusted", "peer", "given", "span"),
    [
        (("10.0.0.0/8",), "10.1.2.3", [THEIRS], (THEIRS, None)),
        (("10.0.0.0/8",), "203.0.113.7", [THEIRS], (None, THEIRS)),
        (("127.0.0.1/32",), "127.0.0.1", [THEIRS], (THEIRS, None)),
        # Whoever is asked by a proxy on the same machine without knowing it sees everybody there.
        ((), "127.0.0.1", [THEIRS], (None, THEIRS)),
        ((), "203.0.113.7", [THEIRS], (None, THEIRS)),
        (("10.0.0.0/8",), "10.1.2.3", [], (None, None)),
        # One of two is a stranger's, and nobody can tell which.
        (("10.0.0.0/8",), "10.1.2.3", [THEIRS, THEIRS.replace("a", "c")], (None, None)),
    ],
)
async def test_only_a_trusted_proxy_says_of_which_trace_a_request_is_a_part(
    noted: Noted, trusted: tuple[str, ...], peer: str, given: list[str], span: tuple[str | None, str | None]
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def nothing(message: Any = None) -> Any:
        """Nobody listens."""

    headers = [(b"traceparent", value.encode()) for value in given]
    scope: Any = {"type": "http", "method": "GET", "scheme": "http", "client": (peer, 4711), "state": {}}
    await Proxies(trusted).before(seen(app))({**scope, "headers": headers}, nothing, nothing)
    assert noted.spans == [span]


@pytest.fixture
def silent() -> Iterator[str]:
    """A collector that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


async def test_a_collector_that_never_answers_does_not_keep_a_process_from_ending(silent: str) -> None:
    env = {**os.environ, "OTEL_EXPORTER_OTLP_ENDPOINT": silent, "OTEL_EXPORTER_OTLP_TIMEOUT": "600"}
    ended = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", ENDING],
        env=env,
        capture_output=True,
        text=True,
        timeout=ENDS_WITHIN_S,
        check=True,
    )
    assert ended.stdout.strip() == "closed"
    assert "the last spans are lost" in ended.stderr
