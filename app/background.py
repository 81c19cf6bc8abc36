"""What works on jobs: `maycole worker`, and what a server needs to do the same (app/equipment.py)."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

from app import logs, secrets
from app.adapters import sentry
from app.adapters.outgoing import Outgoing
from app.config import Config
from app.equipment import equip, write_links
from app.herald import Herald
from app.supervise import Stopped, Supervision
from app.watching import watching
from app.worker import Worker
from channels.announcing import announcing
from domain import db
from domain.audit_logs import copies


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
