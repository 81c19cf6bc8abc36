"""One embedded server as our own child process: started, watched, stopped, and its survivors put away.

A parent that was SIGKILLed leaves its servers running. PR_SET_PDEATHSIG is not used against that: it follows
the thread that forked rather than the process, and only Linux has it. The next start finds the survivor and
replaces it with a child of its own, which can be waited for.

Rules   no signal goes to a process whose command line does not show it to be this server in this directory;
        every child is waited for.
"""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from app.embedded_place import EmbeddedError, Place

READY_WITHIN_S = 60.0
STOP_WITHIN_S = 30.0  # Postgres writes a checkpoint before it goes
GONE_WITHIN_S = 10.0  # after SIGKILL
POLL_S = 0.02
LAST_LINES = 8

PROC = Path("/proc/self/cmdline").exists()  # Linux; elsewhere we ask `ps`, which slim containers do not have


@dataclass(frozen=True)
class Server:
    """What is particular to a server."""

    name: str
    argv: Sequence[str]
    mark: str  # in a command line, shows that the process is this server in this directory
    folder: Path
    pid_file: Path  # written by the server itself
    ends_on: signal.Signals  # stops it in order, whoever is connected
    clear: Callable[[], None]  # away with what a killed one left that would keep a new one from starting
    answers: Callable[[], bool]


class Child:
    """A server under our hand; after `stop` or `kill` it can be started again, at the same address."""

    def __init__(self, server: Server, place: Place, say: Callable[[str], None]) -> None:
        self._server = server
        self._place = place
        self._say = say
        self._process: subprocess.Popen[str] | None = None
        self._log = place.log(server.name)
        self._log_starts = 0  # bytes, where what this process says begins

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it and wait until it answers. Raises EmbeddedError with what it last said if it does not."""
        if self.is_running():
            return
        began = time.monotonic()
        server = self._server
        self._replace_survivor()
        server.clear()
        with self._log.open("ab") as log:
            self._log_starts = log.tell()
            self._process = self._place.account.start(server.argv, server.folder, log.fileno())
        try:
            self._wait_until_it_answers(began + READY_WITHIN_S)
        except BaseException:
            self.kill()
            raise
        self._say(f"{server.name}: ready in {time.monotonic() - began:.1f} s")

    def stop(self) -> None:
        """End it in order, or by SIGKILL if it takes longer than STOP_WITHIN_S."""
        if self._process is None:
            return
        try:
            self._process.send_signal(self._server.ends_on)
            self._process.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._say(f"{self._server.name}: did not stop within {STOP_WITHIN_S:.0f} s, killing it")
        finally:
            self.kill()  # also after a second Ctrl-C: hurry, but leave nothing behind

    def kill(self) -> None:
        """SIGKILL it and the processes it has started, and return when all of them are gone."""
        if self._process is None:
            return
        if self._process.poll() is None:
            orphans = _kill_whole(self._process.pid)
            self._process.wait()
            _wait_until_gone(orphans)
        self._process = None

    def ending(self) -> str | None:
        """How it ended by itself and what it said last; None while it runs or if we ended it."""
        if self._process is None or self._process.poll() is None:
            return None
        code = self._process.returncode
        how = f"exited with {code}" if code >= 0 else f"was ended by {signal.Signals(-code).name}"
        return f"{self._server.name} {how}: {self._last_lines()}"

    def _wait_until_it_answers(self, deadline: float) -> None:
        while not self._server.answers():
            if ending := self.ending():
                raise EmbeddedError(ending)
            if time.monotonic() > deadline:
                name = self._server.name
                raise EmbeddedError(f"{name} did not answer in {READY_WITHIN_S:.0f} s: {self._last_lines()}")
            time.sleep(POLL_S)

    def _last_lines(self) -> str:
        said = self._log.read_bytes()[self._log_starts :].decode(errors="replace").strip().splitlines()
        return "\n".join(said[-LAST_LINES:]) or f"it said nothing in {self._log}"

    def _replace_survivor(self) -> None:
        pid = self._survivor()
        if pid is None:
            return
        self._say(f"{self._server.name}: replacing the one that a killed run left behind (pid {pid})")
        with suppress(ProcessLookupError):
            os.kill(pid, self._server.ends_on)
        if not _gone_within(STOP_WITHIN_S, [pid]) and pid == self._survivor():
            _wait_until_gone([pid, *_kill_whole(pid)])

    def _survivor(self) -> int | None:
        try:
            pid = int(self._server.pid_file.read_text().split("\n")[0])
        except (FileNotFoundError, ValueError):
            return None
        return pid if self._server.mark in f"{_command_line(pid)} " else None


def _command_line(pid: int) -> str:
    """Its program and arguments; empty if there is none, or only a zombie that its parent does not bury."""
    if PROC:
        try:
            return Path(f"/proc/{pid}/cmdline").read_text(errors="surrogateescape").replace("\0", " ").strip()
        except (FileNotFoundError, ProcessLookupError):
            return ""
    state, _, command = _ps("-p", str(pid), "-o", "stat=,command=").strip().partition(" ")
    return "" if state.startswith("Z") else command.strip()


def _children(pid: int) -> list[int]:
    if not PROC:
        pairs = (line.split() for line in _ps("-A", "-o", "pid=,ppid=").splitlines())
        return [int(child) for child, parent in pairs if int(parent) == pid]
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(FileNotFoundError, ProcessLookupError):  # it ended while we looked
            # `pid (name) state parent …`, and a name may hold spaces and parentheses.
            if int(stat.read_text(errors="replace").rpartition(")")[2].split()[1]) == pid:
                found.append(int(stat.parent.name))
    return found


def _ps(*arguments: str) -> str:
    said = subprocess.run(["/bin/ps", "-ww", *arguments], capture_output=True, text=True, check=False)  # noqa: S603 - numbers
    return said.stdout


def _kill_whole(pid: int) -> list[int]:
    """SIGKILL a process of ours and its children; the children, which are now somebody else's to bury.

    Postgres's backends lead sessions of their own, so no process group has them all. A stopped parent can
    neither start another nor bury one, so that no pid in the list can come to mean someone else.
    """
    children: list[int] = []
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGSTOP)
        children = _children(pid)
        for each in (*children, pid):
            os.kill(each, signal.SIGKILL)
    return children


def _wait_until_gone(pids: Sequence[int]) -> None:
    if not _gone_within(GONE_WITHIN_S, pids):
        raise EmbeddedError(f"{pids} still run {GONE_WITHIN_S:.0f} s after SIGKILL.")


def _gone_within(seconds: float, pids: Sequence[int]) -> bool:
    deadline = time.monotonic() + seconds
    while any(_command_line(pid) for pid in pids):
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True
