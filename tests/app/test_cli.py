"""The command line says what it does, and what is wrong."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.cli import main
from app.config import NEEDED, Config
from tests.architecture import ROOT
from tests.processes import running

MAYCOLE = Path(sys.executable).parent / "maycole"
# What a process tells its workers, and what OpenTelemetry has pages about.
OF_OTHERS = {"PROMETHEUS_MULTIPROC_DIR", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"}
COMMANDS = ("up", "serve", "worker", "jobs", "migrate", "demo")


def run(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """One command in a process of its own, with these settings and no others."""
    unset = {"MAYCOLE_DATA_DIR", "ALLOWED_ORIGINS", "PUBLIC_URL", "HOST", "PORT", "LOG_LEVEL", *NEEDED}
    environ = {name: value for name, value in os.environ.items() if name not in unset}
    return subprocess.run(
        [MAYCOLE, *arguments], env={**environ, **settings}, capture_output=True, text=True, timeout=60
    )


@pytest.fixture
def parse(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., tuple[object, str]]]:
    """What the parser alone makes of a command line: the exit code, and what it printed."""
    before = signal.getsignal(signal.SIGTERM)

    def parsed(*arguments: str) -> tuple[object, str]:
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        printed = capsys.readouterr()
        return ended.value.code, printed.out + printed.err

    yield parsed
    signal.signal(signal.SIGTERM, before)


def test_help_names_every_command(parse: Callable[..., tuple[object, str]]) -> None:
    code, text = parse("--help")
    assert code == 0
    for command in COMMANDS:
        assert re.search(rf"^ +{command} +\w", text, re.MULTILINE), command


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(parse: Callable[..., tuple[object, str]], command: str) -> None:
    code, text = parse(command, "--help")
    assert code == 0
    assert f"usage: maycole {command}" in text
    if command != "demo":
        assert "DATABASE_URL" in text, "the settings it reads are among what it explains"


def test_up_names_every_variable_that_it_obeys(parse: Callable[..., tuple[object, str]]) -> None:
    """All that are read, but those of workers."""
    not_its_own = {"METRICS_LISTEN", *OF_OTHERS}
    read = variables()
    assert {"TRUSTED_PROXIES", "SENTRY_DSN", "OAUTH_GITHUB"} <= read
    _, text = parse("up", "--help")
    named = {name for name in read if re.search(rf"\b{name}\b", text)}
    left = {name for name in read - named - not_its_own if not name.startswith("OAUTH_")}
    assert left == set()
    assert "OAUTH_…" in text


def test_every_variable_is_in_the_documentation() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    told = "".join(page.read_text() for page in pages)
    read = {name for name in variables() - OF_OTHERS if name not in ("OAUTH_GITHUB", "OAUTH_GOOGLE")}
    assert len(read) > 20
    assert {name for name in read if not re.search(rf"\b{name}\b", told)} == set()


def variables() -> set[str]:
    """All that the configuration reads."""
    sources = "".join(path.read_text() for path in (ROOT / "app").glob("config*.py"))
    return {*re.findall(r'"([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)"', sources), "HOST", "PORT"}


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("dance",),
        ("serve", "--workers", "x"),
        ("migrate", "now"),
        ("jobs", "retry"),
        ("jobs", "retry", "x"),
        ("jobs", "retry", "1", "--all"),
    ],
)
def test_what_it_does_not_understand_exits_with_2_and_its_usage(
    parse: Callable[..., tuple[object, str]], arguments: tuple[str, ...]
) -> None:
    code, text = parse(*arguments)
    assert code == 2
    assert "usage: maycole" in text


def test_serving_without_settings_names_all_that_are_missing() -> None:
    refused = run("serve")
    assert refused.returncode == 1
    assert refused.stdout == ""
    assert refused.stderr.startswith("maycole serve: ")
    assert all(f"{name} is not set" in refused.stderr for name in NEEDED)
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize(
    ("module", "spared"),
    [("app.cli", ("litestar", "redis", "piccolo", "pgqueuer")), ("app.server", ("app.main", "app.api"))],
    ids=["what commands there are", "who starts several servers"],
)
def test_nobody_waits_for_imports_of_what_somebody_else_does(module: str, spared: tuple[str, ...]) -> None:
    script = f"import sys, {module}; print(*sys.modules)"
    asked = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    imported = asked.stdout.split()
    assert module in imported
    assert not set(spared) & set(imported)


def test_serving_on_a_port_that_is_taken_says_so(config: Config) -> None:
    assert config.database_url is not None
    assert config.redis_url is not None
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        refused = run(
            "serve",
            PORT=port,
            DATABASE_URL=config.database_url,
            REDIS_URL=config.redis_url,
            JWT_SECRET="x" * 32,
            ENCRYPTION_KEY="x" * 43,
        )
    assert refused.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port} (Address already in use): set PORT" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_database_that_is_not_there_is_said_in_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    refused = run("migrate", DATABASE_URL=f"postgresql://127.0.0.1:{port}/maycole")
    assert refused.returncode == 1
    assert refused.stderr.startswith("maycole migrate: ")
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("workers", [1, 2])
async def test_a_server_that_is_told_to_stop_exits_with_0(
    config: Config, workers: int, number: signal.Signals
) -> None:
    async with running(config, workers=workers) as served:
        served.process.send_signal(number)
        assert await served.process.wait() == 0
