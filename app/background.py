"""What works on jobs: `maycole worker`, and what a server needs to do the same.

Kinds of jobs are declared in the domain. Whoever handles one in the shell is imported here, or no worker
starts (domain/jobs.py: handled).
"""

import asyncio
import logging
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Final

from app import logs, secrets
from app.adapters import sentry
from app.adapters.mail_files import MailFiles
from app.adapters.outgoing import Outgoing
from app.config import Config
from app.herald import Herald
from app.mail.rendering import render
from app.supervise import Stopped, Supervision
from app.watching import watching
from app.worker import Worker
from channels.announcing import announcing
from domain import db, idempotency, links, mail, parked
from domain.audit_logs import copies, retention, seals
from domain.auth import email_change, magic_link, recovery, sweeping, verification
from domain.teams import deletion, invite_answers, invites

log = logging.getLogger("maycole.background")

# Whoever declares jobs or periodic work: to be imported is what counts.
DECLARING: Final = (
    mail,
    parked,
    seals,
    retention,
    sweeping,
    email_change,
    magic_link,
    recovery,
    verification,
    deletion,
    invites,
    invite_answers,
    idempotency,
)


def write_links(config: Config) -> None:
    """Tell the domain where links in mails lead, and whether addresses are to be confirmed."""
    links.install(config.links_base)
    verification.install(required=config.require_verified_email)
    if config.public_url is None and not config.runs_jobs:
        log.warning("PUBLIC_URL is not set: links in mails lead to %s", config.links_base)


def equip(config: Config) -> None:
    """Give the domain what its jobs need to know, and reach the world with."""
    parked.install(kept_days=config.jobs_parked_days)
    folder = config.data_dir / "mail"
    mail.install(render, MailFiles(folder, sender=config.mail_from))
    log.info("no mail service is configured: mails are files in %s", folder)


@asynccontextmanager
async def copying(config: Config, outgoing: Outgoing) -> AsyncIterator[None]:
    """Copies of checkpoints go into the bucket, if there is one, until the block ends."""
    if config.bucket is None:
        yield
        return
    from app.adapters.s3 import S3  # its import takes seconds, which only who uses it should wait

    files = S3(config.bucket, outgoing)
    copies.install(partial(files.put, content_type="application/json"))
    try:
        yield
    finally:
        copies.install(None)
        await files.close()


def work(config: Config, *, say: Callable[[str], None]) -> None:
    """Do jobs until SIGTERM or SIGINT, then finish what is held.

    Raises ConfigError, OSError, asyncpg.PostgresError, and Stopped where nobody asked for its end.
    """
    logs.install(config.log_level)
    asyncio.run(_work(config, say))
    say("stopped")


async def _work(config: Config, say: Callable[[str], None]) -> None:
    assert config.database_url is not None, "it was needed"
    secrets.install(config)
    equip(config)
    write_links(config)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(sentry.flushed, sentry.installed(config))
        stack.push_async_callback(db.close_pool)
        await db.open_pool(config.database_url)
        worker, outgoing = Worker(config.database_url), Outgoing()
        supervision = Supervision(stop=worker.stop)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, worker.stop)
        await stack.enter_async_context(watching(config, outgoing, supervision))
        await stack.enter_async_context(copying(config, outgoing))
        await stack.enter_async_context(supervision.beside("the herald", Herald(outgoing).run))
        if config.redis_url is not None:
            await stack.enter_async_context(announcing(config.redis_url, supervision.beside))
        say("working")
        await worker.run()
    if supervision.died is not None:
        raise Stopped("the log above says why")
