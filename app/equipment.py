"""What those who work on jobs need, in every process that touches them: all kinds of jobs, and the world.

Kinds of jobs are declared in the domain. Whoever handles one in the shell is imported here, or no worker
starts (domain/jobs.py: handled).
"""

import logging
from typing import Final

from app.adapters.mail_files import MailFiles
from app.config import Config
from app.mail.rendering import render
from domain import idempotency, links, mail, parked
from domain.audit_logs import retention, seals
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
