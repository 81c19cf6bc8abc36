"""The server around the application: uvicorn with our websocket engine, and a bound on everything."""

import socket
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import uvicorn
from litestar import Litestar
from uvicorn.config import STARTUP_FAILURE

from app import config as configuration
from app import log_levels, logs
from app.config import Config
from app.stopping import StoppingServer
from app.supervise import Stopped
from app.supervisor import Supervisor
from channels.live_http import LiveHttp
from channels.protocol import FRAME_BYTES_MAX
from channels.wire import LiveProtocol

GRACE_S: Final = 10
BACKLOG: Final = 2048
SETTINGS: Final[dict[str, Any]] = {
    "http": LiveHttp,
    "loop": "uvloop",
    "ws": LiveProtocol,
    "ws_max_size": FRAME_BYTES_MAX,
    # The protocol has pings of its own, and compression costs more than it saves on frames this small.
    "ws_ping_interval": None,
    "ws_per_message_deflate": False,
    "timeout_graceful_shutdown": GRACE_S,
    "timeout_keep_alive": 30,
    # Until a worker that says nothing is killed. It says nothing while it imports, which takes longer than
    # uvicorn's 5 s where all of them start on few cores: they were killed over and over again.
    "timeout_worker_healthcheck": 30,
    "access_log": False,
    "log_config": None,
    "server_header": False,
    # A client's address is the socket's; uvicorn would believe whatever a header says of it.
    "proxy_headers": False,
    "lifespan": "on",
}


class Server(StoppingServer):
    """uvicorn's server, which says when it serves."""

    def __init__(
        self,
        app: Any,
        *,
        on_started: Callable[[], None] = lambda: None,
        at_once: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(uvicorn.Config(app, **SETTINGS), at_once=at_once)
        self._on_started = on_started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        if self.started:
            self._on_started()


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens there. Raises OSError, saying who may be in the way."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is named because asyncio sets TCP_NODELAY only where it sees that it is TCP.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise OSError(
            f"cannot listen on {host}:{port} ({error.strerror}): set PORT to another one"
        ) from error
    listener.listen(BACKLOG)
    listener.set_inheritable(True)
    return listener


def address(listener: socket.socket) -> str:
    """The URL that reaches a listening socket."""
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def serve_many(config: Config, *, workers: int, say: Callable[[str], None]) -> None:
    """Serve until SIGTERM or Ctrl-C, with this many processes. Raises Stopped, OSError.

    Several of them read their configuration from the environment, each for itself.
    """
    with listening(config.host, config.port) as listener:
        say(f"listening on {address(listener)}")
        if workers == 1:
            from app.main import create_app  # several import it for themselves, and who starts them does not

            serve(create_app(config), listener)
            return
        logs.install(config.log_level)
        with tempfile.TemporaryDirectory(prefix="maycole-metrics-") as shared:
            _supervise(listener, workers, shared)


def _supervise(listener: socket.socket, workers: int, shared: str) -> None:
    """`shared` is where workers keep what they measure, for whichever of them is asked."""
    configuration.tell_workers("PROMETHEUS_MULTIPROC_DIR", shared)
    served = uvicorn.Config("app.main:create_app", factory=True, workers=workers, **SETTINGS)
    supervisor = Supervisor(served, sockets=[listener], measured=Path(shared))
    log_levels.pass_on(lambda: [worker.pid for worker in supervisor.processes])
    supervisor.run()
    if any(worker.exitcode == STARTUP_FAILURE for worker in supervisor.processes):
        raise OSError("the workers could not start: the log above says why")


def serve(app: Litestar, listener: socket.socket) -> None:
    """Serve with this process until SIGTERM or Ctrl-C. Raises Stopped where nobody asked for its end."""
    server = Server(app)
    try:
        server.run(sockets=[listener])
    except KeyboardInterrupt:
        # uvicorn has shut down in good order, and passes the signal on.
        if not server.started or server.force_exit:
            raise
    if not server.started or app.state.process.died:
        raise Stopped("the log above says why")
