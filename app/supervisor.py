"""The supervisor of several server processes: uvicorn's, whose processes stop as ours do."""

import logging
import pickle
import signal
import time
from functools import cached_property
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, Final

from uvicorn.supervisors import Multiprocess, multiprocess

from app.metrics.several import fold
from app.stopping import StoppingServer

log = logging.getLogger("maycole.supervisor")

LOOK_EVERY_S: Final = 0.1


class ServerProcess(multiprocess.Process):
    """One of them."""

    @cached_property
    def server(self) -> StoppingServer:
        return StoppingServer(self.config)

    def _healthcheck(self, timeout: float) -> bool | None:
        """As upstream, which waits for the answer of one that has just died as long as for that of any other:
        this process holds both ends of the pipe, so that its end tells nothing.
        """
        try:
            self.parent_conn.send(b"ping")
            if self.parent_conn in wait([self.parent_conn, self.process.sentinel], timeout):
                return bool(self.parent_conn.recv())
        except (OSError, EOFError, pickle.UnpicklingError):
            return None  # the pipe is broken, or what came through it is: as good as dead
        return None


# Upstream makes its processes in three places, and has no other way to say of which kind.
multiprocess.Process = ServerProcess  # type: ignore[misc]


class Supervisor(Multiprocess):
    """Passes on what it is told: to stop, and when told twice, to end at once.

    `measured` is where its processes keep what they count: it puts away the files of those that are gone.
    """

    def __init__(self, *given: Any, measured: Path, **named: Any) -> None:
        super().__init__(*given, **named)
        self._measured = measured
        self._known: set[int | None] = set()

    def keep_subprocess_alive(self) -> None:
        super().keep_subprocess_alive()
        pids = {process.pid for process in self.processes}
        if self._known - pids:
            try:
                fold(self._measured)
            except Exception:  # a full disk, a file that broke off: no reason not to serve
                log.exception("what a process that is gone has counted stays in files of its own")
        self._known = pids

    def join_all(self) -> None:
        while any(process.process.is_alive() for process in self.processes):
            if {signal.SIGTERM, signal.SIGINT} & set(self.signal_queue):
                self.kill_all()
                break
            time.sleep(LOOK_EVERY_S)
        super().join_all()

    def kill_all(self) -> None:
        for process in self.processes:
            process.process.kill()
