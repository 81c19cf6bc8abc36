"""`maycole up`: everything on this machine, with nothing to configure.

What is not given by the environment is brought along: Postgres, Redis, a secret. It is all kept in the data
directory, so tokens and data outlive a restart; Ctrl-C stops everything that was started.
"""

import asyncio
import os
import secrets
import socket
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from app import logs
from app.api import docs
from app.config import Config
from app.embedded import Embedded
from app.embedded import EmbeddedError as EmbeddedError  # to be caught by who calls up()
from app.embedded_keeper import Keeper
from app.main import create_app
from app.migrate import migrate
from app.server import Server, address, listening
from app.supervise import Stopped
from domain import crypto

Say = Callable[[str], None]


def up(config: Config, *, say: Say) -> None:
    """Start, serve until stopped, stop. Raises EmbeddedError, MigrationFailed, Stopped, OSError."""
    logs.install(config.log_level, "pretty")
    with (
        Embedded(
            config.data_dir, postgres=config.database_url is None, redis=config.redis_url is None, say=say
        ) as servers,
        listening(config.host, config.port) as listener,
    ):
        own = address(listener)
        port = listener.getsockname()[1]
        config = msgspec.structs.replace(
            config,
            database_url=config.database_url or servers.database_url,
            redis_url=config.redis_url or servers.redis_url,
            runs_jobs=True,
            port=port,
            jwt_secret=config.jwt_secret or kept_secret(config.data_dir / "jwt-secret"),
            encryption_key=config.encryption_key or kept_secret(config.data_dir / "encryption-key"),
            allowed_origins=config.allowed_origins
            or (_origin(config.public_url or own), f"http://127.0.0.1:{port}", f"http://localhost:{port}"),
        )
        assert config.database_url is not None, "given, or started just now"
        say("database: migrating")
        asyncio.run(migrate(config.database_url))
        _serve(config, servers, listener, say)
    say("stopped, and everything that was started with it")


def kept_secret(path: Path) -> str:
    """The secret in this file, which is made, readable by its owner only, when it is not there yet."""
    if not path.exists():
        draft = path.with_suffix(".new")
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(crypto.KEY_BYTES))
            file.flush()
            # Renamed before it is on disk, it might be there and empty after a power cut.
            os.fsync(file.fileno())
        draft.rename(path)
    return path.read_text().strip()


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _serve(config: Config, servers: Embedded, listener: socket.socket, say: Say) -> None:
    url = address(listener)

    def started() -> None:
        say(f"\nMaycole serves on {url}")
        say(f"  the API, to read and to try:  {url}{docs.PATH}")
        say(f"  live updates:                 {url.replace('http', 'ws', 1)}/connection/websocket")
        say(f"  mail that it sends:           {config.data_dir / 'mail'}")
        say("  to stop:                      Ctrl-C")

    app = create_app(config)
    server = Server(app, on_started=started, at_once=servers.stop)
    ended: list[str] = []

    async def watch() -> None:
        try:
            ended.append(await Keeper(servers, say).run())
        finally:
            server.should_exit = True

    async def serve() -> None:
        watching = asyncio.create_task(watch())
        await server.serve(sockets=[listener])
        watching.cancel()
        await asyncio.wait({watching})
        if not watching.cancelled():
            watching.result()  # a bug of the keeper's is not kept from anybody

    try:
        with asyncio.Runner(loop_factory=server.config.get_loop_factory()) as runner:
            runner.run(serve())
    except KeyboardInterrupt:
        # uvicorn has shut down in good order and passes the signal on.
        say("stopping")
    if ended:
        raise Stopped(ended[0])
    if not server.started or app.state.process.died:
        raise Stopped("the log above says why")
