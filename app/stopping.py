"""Stopping: what happens when somebody asks a server to end, and in which order.

1 not ready    /api/health/ready says 503; for SHUTDOWN_DELAY_S all else goes on, for the balancer to see it
2 no more      nobody is accepted; what comes on open connections is answered and told `Connection: close`
3 drained      live connections are closed with 3001, each at its moment (channels/drain.py), once what they
               are at is answered (channels/under_way.py)
4 finished     requests under way end, within GRACE_S, or are cancelled
5 put away     jobs are finished or given back, background tasks end, pools close (app/lifespan.py)

Whoever asks a second time gets it at once, as if by SIGKILL: what is promised holds for that, too.
"""

import asyncio
import logging
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from socket import socket
from types import FrameType
from typing import Any

import uvicorn


class StoppingServer(uvicorn.Server):
    """uvicorn's server, which says that it stops before it does; `at_once` is called where it is not to."""

    def __init__(self, config: uvicorn.Config, *, at_once: Callable[[], None] = lambda: None) -> None:
        super().__init__(config)
        self._at_once = at_once
        self._has_died = False

    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        state = self._state()
        if (checks := state.get("checks")) is not None:
            checks.stopping = True
            # A process of which a part has died has nothing to wait for.
            await asyncio.sleep(0 if self._died() else state["config"].shutdown_delay_s)
        await super().shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """As upstream, which dies of the signal in the end; what was logged until then is written first."""
        with super().capture_signals():
            try:
                yield
            finally:
                for handler in logging.getLogger().handlers:
                    handler.flush()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        died = self._died()
        if not self.should_exit or (died and not self._has_died):
            # Nobody has asked for it before, or nobody but ourselves does now (app/lifespan.py).
            self._has_died = died
            super().handle_exit(sig, frame)
            return
        self._at_once()
        signal.signal(sig, signal.SIG_DFL)
        signal.raise_signal(sig)

    def _died(self) -> bool:
        process = self._state().get("process")
        return process is not None and process.died is not None

    def _state(self) -> Any:
        """That of the app (Litestar's, hence Any); before it is loaded there is none."""
        return self.config.loaded_app.state if self.config.loaded else {}
