"""The supervisor of several server processes: uvicorn's, whose processes stop as ours do."""

import signal
import time
from functools import cached_property
from typing import Final

from uvicorn.supervisors import Multiprocess, multiprocess

from app.stopping import StoppingServer

LOOK_EVERY_S: Final = 0.1


class ServerProcess(multiprocess.Process):
    """One of them."""

    @cached_property
    def server(self) -> StoppingServer:
        return StoppingServer(self.config)


# Upstream makes its processes in three places, and has no other way to say of which kind.
multiprocess.Process = ServerProcess  # type: ignore[misc]


class Supervisor(Multiprocess):
    """Passes on what it is told: to stop, and when told twice, to end at once."""

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
