"""maycole: the command line.

maycole up        everything on this machine, no configuration
maycole serve     production: your Postgres, your Redis, any number of workers
maycole worker    do background jobs for `maycole serve`
maycole jobs      what waits, what is parked and why; try it again
maycole keys      seal secrets at rest again, with a new key
maycole audit     whether audit trails are what was signed
maycole migrate   bring the database to this version's schema
maycole demo      two users, a team, items, and a gentle stream of changes
"""

import argparse
import asyncio
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from app import config as configuration
from app.failed import CommandFailed

WORKERS_MAX = 256
_KEYS_TOO = ("DATABASE_URL", "JWT_SECRET", "ENCRYPTION_KEY")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command. Exits with 0, or with 1 and what is wrong on stderr."""
    given = _parser().parse_args(arguments)
    # A terminated process goes the same way as an interrupted one: everything it started is stopped again.
    signal.signal(signal.SIGTERM, _as_interrupt)
    try:
        given.run(given)
    except KeyboardInterrupt:
        sys.exit(130)
    except _what_goes_wrong() as error:
        print(f"maycole {given.command}: {error or type(error).__name__}", file=sys.stderr)
        sys.exit(1)


def _what_goes_wrong() -> tuple[type[Exception], ...]:
    """What is no bug: asked only when something went wrong, for its import takes its time."""
    import asyncpg

    return CommandFailed, asyncpg.PostgresError, OSError


# Each command imports what it works with, once its settings are known to be good: nobody who wants to know
# what commands there are, or forgot a setting, waits for the imports of a server.


def _up(given: argparse.Namespace) -> None:
    config = configuration.read()
    from app.up import up

    up(config, say=_say)


def _serve(given: argparse.Namespace) -> None:
    config = configuration.read(need=configuration.NEEDED)
    from app.server import serve_many

    serve_many(config, workers=given.workers, say=_say)


def _worker(given: argparse.Namespace) -> None:
    config = configuration.read(need=_KEYS_TOO)
    from app.background import work

    work(config, say=_say)


def _jobs(given: argparse.Namespace) -> None:
    config = configuration.read(need=("DATABASE_URL",))
    from app import jobs_cli

    jobs_cli.show(config, say=_say)


def _jobs_retry(given: argparse.Namespace) -> None:
    url = _database()
    from app import jobs_cli

    jobs_cli.retry(url, given.ids, everything=given.all, say=_say)


def _keys_rotate(given: argparse.Namespace) -> None:
    config = configuration.read(need=_KEYS_TOO)
    from app import keys_cli

    keys_cli.rotate(config, say=_say)


def _audit_verify(given: argparse.Namespace) -> None:
    config = configuration.read(need=_KEYS_TOO)
    from app import audit_cli

    audit_cli.verify(config, given.teams, given.checkpoints, say=_say)


def _audit_keep(given: argparse.Namespace) -> None:
    config = configuration.read(need=_KEYS_TOO)
    from app import audit_cli

    audit_cli.keep(config, given.team, given.days, say=_say)


def _audit_hold(given: argparse.Namespace) -> None:
    config = configuration.read(need=_KEYS_TOO)
    from app import audit_cli

    audit_cli.hold(config, given.team, held=given.what == "hold", say=_say)


def _database() -> str:
    url = configuration.read(need=("DATABASE_URL",)).database_url
    assert url is not None, "it was needed"
    return url


def _migrate(given: argparse.Namespace) -> None:
    url = _database()
    from app.migrate import migrate

    asyncio.run(migrate(url))
    _say("the database has this version's schema")


def _demo(given: argparse.Namespace) -> None:
    config = configuration.read()
    from app.demo import demo

    url = given.url or config.public_url or f"http://{config.host}:{config.port}"
    demo(url, every_s=given.every, changes=given.changes, say=_say)


def _say(line: str) -> None:
    print(line, flush=True)


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= WORKERS_MAX:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to {WORKERS_MAX}")
    return int(text)


def _as_interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="maycole",
        description="A real-time, websocket-first application server.",
        epilog="Every command has its own --help. Settings are environment variables; a wrong one is named.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, run: object, line: str, text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(
            name, help=line, description=text, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        added.set_defaults(run=run)
        return added

    command("up", _up, "start everything on this machine, with nothing to configure", _UP)
    serve = command("serve", _serve, "serve in production, on your own Postgres and Redis", _SERVE)
    serve.add_argument(
        "--workers", type=_count, default=1, metavar="N", help="processes to serve with (default: 1)"
    )
    command("worker", _worker, "do background jobs: mail, periodic work", _WORKER)
    _add_jobs(command("jobs", _jobs, "what waits, what is parked and why; try it again", _JOBS))
    keys = command("keys", _keys_rotate, "seal secrets at rest again, with a new key", _KEYS)
    keys.add_argument("what", choices=["rotate"], help="what is to be done with them")
    _add_audit(
        command("audit", _audit_verify, "whether audit trails are what was signed; what is kept", _AUDIT)
    )
    command("migrate", _migrate, "bring the database to this version's schema", _MIGRATE)
    demo_ = command("demo", _demo, "two users, a team, items, and a gentle stream of changes", _DEMO)
    demo_.add_argument("--url", help="the server (default: PUBLIC_URL, or HOST and PORT)")
    demo_.add_argument(
        "--every", type=float, default=1.0, metavar="S", help="seconds between changes (default: 1)"
    )
    demo_.add_argument(
        "--changes", type=int, metavar="N", help="stop after N changes (default: go on until stopped)"
    )
    return parser


def _add_jobs(jobs: argparse.ArgumentParser) -> None:
    retry = jobs.add_subparsers(metavar="[retry ID ... | --all]").add_parser(
        "retry", help="put parked jobs back", description="Puts parked jobs back: they are tried anew."
    )
    which = retry.add_mutually_exclusive_group(required=True)
    which.add_argument(
        "ids", nargs="*", type=int, default=[], metavar="ID", help="as `maycole jobs` shows it"
    )
    which.add_argument("--all", action="store_true", help="every parked job")
    retry.set_defaults(run=_jobs_retry)


def _add_audit(audit: argparse.ArgumentParser) -> None:
    tasks = audit.add_subparsers(dest="what", required=True, metavar="TASK")
    verify = tasks.add_parser("verify", help="go through trails, from the first row to the last")
    verify.add_argument("teams", nargs="*", default=[], metavar="TEAM", help="whose (default: all teams')")
    verify.add_argument(
        "--checkpoints", type=Path, metavar="FILE", help="checkpoints kept elsewhere, one JSON text a line"
    )
    keep = tasks.add_parser("keep", help="how many days a team's rows are kept")
    keep.add_argument("team", metavar="TEAM")
    keep.add_argument("days", type=int, metavar="DAYS")
    keep.set_defaults(run=_audit_keep)
    for task, line in (
        ("hold", "a legal hold: nothing of a team's trail goes"),
        ("release", "the hold ends"),
    ):
        held = tasks.add_parser(task, help=line)
        held.add_argument("team", metavar="TEAM")
        held.set_defaults(run=_audit_hold)


_UP = """\
Starts Maycole with its own Postgres and Redis (Valkey), migrates the database, and serves until Ctrl-C or
SIGTERM, which stop everything it started; its exit status is 0 then. Data, secrets and logs stay in one
directory, so a restart goes on where it was.

  HOST, PORT          where to serve (default 127.0.0.1:8000; port 0 takes a free one)
  MAYCOLE_DATA_DIR    where everything is kept (default .maycole in this directory)
  DATABASE_URL        use this Postgres instead of starting one
  REDIS_URL           use this Redis instead of starting one
  JWT_SECRET          sign tokens with this instead of the secret kept in the data directory
  ENCRYPTION_KEY      encrypt secrets with this instead of the key kept in the data directory
  JWT_SECRET_PREVIOUS, ENCRYPTION_KEY_PREVIOUS  those before
  ALLOWED_ORIGINS     pages that may use the API and the websocket (default: the server's own address)
  ALLOWED_HOSTS       names we go by beside PUBLIC_URL's and loopback, comma separated; * for any
  TRUSTED_PROXIES     addresses and networks whose X-Forwarded-For is believed, comma separated (default none)
  PUBLIC_URL          where people reach the server, if that is another address; links in mails begin with it
  SHUTDOWN_DELAY_S    how long it says that it will stop before it does (default 0)
  AUTH_REQUIRE_VERIFIED_EMAIL  on: nobody is let in before their address is confirmed (default off)
  SENDGRID_FROM_EMAIL whom mail is from (default Maycole <no-reply@localhost>)
  JOBS_PARKED_DAYS    drop jobs that failed for good after so many days (default 14; secret ones 3 at most)
  OAUTH_…             providers to sign in with: docs/identity/oauth.md
  PASSWORDS_ONLINE_CHECK  on: ask Have I Been Pwned about new passwords (default off)
  PASSWORDS_ONLINE_BASE   ask a mirror of it instead
  AWS_S3_BUCKET       where checkpoints of audit trails are copied to, with AWS_ACCESS_KEY, AWS_SECRET_KEY,
                      AWS_REGION (us-east-1), AWS_S3_ENDPOINT (default: nowhere)
  SENTRY_DSN          where bugs are reported, without anything of who asked or what was sent
  MAYCOLE_COMMIT      what /api/version says it was built from (default: what is checked out)
  METRICS_ALLOWED     addresses and networks that may read /api/metrics without a token (default: none)
  OTEL_EXPORTER_OTLP_ENDPOINT  where traces go, such as http://collector:4318 (default: nowhere)
  LOG_LEVEL           DEBUG, INFO, WARN, ERROR or CRITICAL (default INFO); SIGUSR1 tells more, SIGUSR2 less
"""
_SERVE = """\
Serves on your own Postgres and Redis; run `maycole migrate` first. Many machines may run it side by side.
Background jobs are done by `maycole worker`, of which at least one has to run. SIGTERM and Ctrl-C stop it in
good order, with exit status 0.

  DATABASE_URL        required, such as postgresql://user:password@host/maycole
  REDIS_URL           required, such as redis://host:6379
  JWT_SECRET          required, at least 32 random bytes (openssl rand -hex 32)
  JWT_SECRET_PREVIOUS the secret before, while its tokens are still around
  ENCRYPTION_KEY      required, 32 random bytes (openssl rand -base64 32); what is secret at rest
  ENCRYPTION_KEY_PREVIOUS  the key before, until `maycole keys rotate` has run
  HOST, PORT          where to serve (default 127.0.0.1:8000)
  PUBLIC_URL          where people reach the server, such as https://app.example; links in mails begin with it
  AUTH_REQUIRE_VERIFIED_EMAIL  on: nobody is let in before their address is confirmed (default off)
  ALLOWED_ORIGINS     comma separated, exact: https://app.example,https://admin.example
  ALLOWED_HOSTS       names we go by beside PUBLIC_URL's and loopback, comma separated; * for any
  TRUSTED_PROXIES     addresses and networks whose X-Forwarded-For is believed, comma separated (default none)
  SHUTDOWN_DELAY_S    how long it says that it will stop before it does (default 0)
  OAUTH_…             providers to sign in with: docs/identity/oauth.md
  SENTRY_DSN          where bugs are reported, without anything of who asked or what was sent
  PASSWORDS_ONLINE_CHECK  on: ask Have I Been Pwned about new passwords (default off)
  PASSWORDS_ONLINE_BASE   ask a mirror of it instead
  MAYCOLE_COMMIT      what /api/version says it was built from (default: what is checked out)
  METRICS_ALLOWED     addresses and networks that may read /api/metrics without a token (default: none)
  OTEL_EXPORTER_OTLP_ENDPOINT  where traces go, such as http://collector:4318 (default: nowhere)
  LOG_LEVEL           DEBUG, INFO, WARN, ERROR or CRITICAL (default INFO); SIGUSR1 tells more, SIGUSR2 less
"""
_WORKER = """\
Does the background jobs of `maycole serve`: mail, periodic work. Any number may run, on any machine; each job
is done by one of them, and those of a worker that was killed are taken by another one within half a minute.
SIGTERM lets it finish what it holds, for 10 seconds; what is left goes back to the others; its status is 0.

  DATABASE_URL        required
  JWT_SECRET, ENCRYPTION_KEY  required, the same as the servers' (and each _PREVIOUS)
  PUBLIC_URL, AUTH_REQUIRE_VERIFIED_EMAIL  the same as the servers'
  REDIS_URL           news of what jobs change is announced here at once; without it, it takes a second or two
  MAYCOLE_DATA_DIR    where mail is written, in mail/ (default .maycole in this directory)
  AWS_S3_BUCKET       where checkpoints of audit trails are copied to, with AWS_ACCESS_KEY, AWS_SECRET_KEY,
                      AWS_REGION (us-east-1), AWS_S3_ENDPOINT (default: nowhere)
  SENDGRID_FROM_EMAIL whom mail is from (default Maycole <no-reply@localhost>)
  JOBS_PARKED_DAYS    drop jobs that failed for good after so many days (default 14; secret ones 3 at most)
  SENTRY_DSN          where bugs are reported, without anything of who asked or what was sent
  METRICS_LISTEN      host:port where its metrics are shown (default: nowhere)
  OTEL_EXPORTER_OTLP_ENDPOINT  where traces go, such as http://collector:4318 (default: nowhere)
  LOG_LEVEL           DEBUG, INFO, WARN, ERROR or CRITICAL (default INFO); SIGUSR1 tells more, SIGUSR2 less
"""
_JOBS = """\
Shows how many background jobs there are, by name and state, and how old the oldest is. Those that failed for
good are parked: they are listed with how often they were tried and their last error, until somebody says
`maycole jobs retry`, or until they have been parked for JOBS_PARKED_DAYS and are dropped. Those that were
told something secret, such as mails with links, are dropped after 3 days at most.

  DATABASE_URL        required
  JOBS_PARKED_DAYS    the same as the workers' (default 14)
"""
_KEYS = """\
`maycole keys rotate` seals again, with ENCRYPTION_KEY, every secret at rest that another key had sealed.
Servers and workers go on meanwhile. With several of them there are two phases, so that each can always open
what the others seal: first give all of them the new key as ENCRYPTION_KEY_PREVIOUS, beside the old one; then
swap the two, again for all of them; then run this; when it says that nothing is left, the old key may go.

  DATABASE_URL             required
  JWT_SECRET               required, the same as the servers'
  ENCRYPTION_KEY           required, the new key
  ENCRYPTION_KEY_PREVIOUS  the key before it
"""
_AUDIT = """\
`maycole audit verify` computes every audit trail again, from the first row to the last, and holds it against
what was signed. It names the first row that is not what it was, and then exits with 1.

Give it checkpoints that were kept elsewhere (GET /api/audit-logs/checkpoints, or what came on the live
channel checkpoints:<teamId>): without them nobody can tell whether the whole database was put back to an
earlier day, or signed again with the installation's own key.

`maycole audit keep TEAM DAYS` says how long a team's rows are kept (400 days, if nobody says otherwise);
`maycole audit hold TEAM` keeps all of them, whatever their age, until `maycole audit release TEAM`.

  DATABASE_URL             required
  JWT_SECRET               required, the same as the servers'
  ENCRYPTION_KEY           required, the same as the servers' (and _PREVIOUS): the signing key opens with it
"""
_MIGRATE = """\
Runs the migrations that have not run yet and makes the coming partitions. Harmless to repeat, and to run from
several machines at once: one works, the others wait.

  DATABASE_URL        required
"""
_DEMO = """\
Registers two users with a running server, makes a team and some items, and changes their stock until stopped.
Prints what to type to follow along.
"""
