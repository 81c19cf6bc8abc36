"""The writer: log lines leave by a thread of their own, so that whoever reads them slowly stops nobody.

A line is one write, whole. Where more than LINES_MAX wait, lines are dropped and counted, and the next one
that gets through says how many. What waits when the process ends is written first, for FLUSH_WITHIN_S.
"""

import os
import queue
import threading
from typing import Final

LINES_MAX: Final = 10_000
FLUSH_WITHIN_S: Final = 2.0


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
            line = self._lines.get()
            if isinstance(line, threading.Event):
                line.set()
            else:
                self._put(line)

    def _put(self, line: bytes) -> None:
        if (lost := self.dropped - self._told) > 0:
            self._told += lost
            line = b'{"level":"error","event":"%d log lines were dropped"}\n%s' % (lost, line)
        while line:
            try:
                line = line[os.write(self._descriptor, line) :]
            except OSError:
                return  # nobody reads what we say: there is no one to tell
