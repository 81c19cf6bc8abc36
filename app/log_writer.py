"""The writer: log lines leave by a thread of their own, so that whoever reads them slowly stops nobody.

A line is whole in one write, with those that come within GATHER_S. Where more than LINES_MAX wait, lines are
dropped and counted, and the next one that gets through says how many. What waits when the process ends is
written first, for FLUSH_WITHIN_S.
"""

import os
import queue
import threading
import time
from collections.abc import Sequence
from select import PIPE_BUF
from typing import Final

LINES_MAX: Final = 10_000
FLUSH_WITHIN_S: Final = 2.0
# To wake the thread for each line would cost a busy server more than the line.
GATHER_S: Final = 0.01
GATHER_MAX: Final = 64


class Writer:
    """One per process. The thread starts with the first line, so a process may fork before."""

    def __init__(self, descriptor: int = 2) -> None:
        self._descriptor = descriptor
        # Of C: a line costs the event loop a fraction of a microsecond here.
        self._lines: queue.SimpleQueue[bytes | threading.Event] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._told = 0
        self.dropped = 0

    def write(self, line: bytes) -> None:
        """Never waits. `line` ends with a newline."""
        if self._lines.qsize() >= LINES_MAX:
            self.dropped += 1
            return
        self._lines.put(line)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="the log writer", daemon=True)
            self._thread.start()

    def flush(self, within_s: float = FLUSH_WITHIN_S) -> bool:
        """Wait until everything up to now is written; whether it is."""
        if self._thread is None:
            return True
        reached = threading.Event()
        self._lines.put(reached)
        return reached.wait(within_s)

    def _run(self) -> None:
        while True:
            gathered = [self._lines.get()]
            if isinstance(gathered[0], bytes):
                time.sleep(GATHER_S)
            while len(gathered) < GATHER_MAX and not self._lines.empty():
                gathered.append(self._lines.get())
            self._put(gathered)

    def _put(self, gathered: Sequence[bytes | threading.Event]) -> None:
        """What fits into a pipe at once is written at once: other processes may write to the same one."""
        lines = b""
        for one in gathered:
            if isinstance(one, threading.Event):
                self._write(lines)
                lines = b""
                one.set()
            elif len(lines) + len(one) > PIPE_BUF:
                self._write(lines)
                lines = one
            else:
                lines += one
        self._write(lines)

    def _write(self, line: bytes) -> None:
        if (lost := self.dropped - self._told) > 0:
            self._told += lost
            line = b'{"level":"error","event":"%d log lines were dropped"}\n%s' % (lost, line)
        while line:
            try:
                line = line[os.write(self._descriptor, line) :]
            except OSError:
                return  # nobody reads what we say: there is no one to tell
