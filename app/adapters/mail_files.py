"""Mail as files: the transport where no mail service is configured.

A mail is an .eml file that any mail program opens, named by its id: names sort by time, and a mail that is
delivered twice is one file. Only we may read them, since links in them let people in.
"""

import asyncio
import os
from email import policy
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime, parseaddr
from pathlib import Path
from secrets import token_hex

from domain.mail import Mail


class MailFiles:
    """A folder of mails, made when the first one comes."""

    def __init__(self, folder: Path, *, sender: str) -> None:
        self._folder = folder
        self._sender = sender

    async def deliver(self, mail: Mail) -> None:
        """Write it, unless it is there already."""
        await asyncio.to_thread(self._write, mail)

    def _write(self, mail: Mail) -> None:
        path = self._folder / f"{mail.id}.eml"
        if path.exists():
            return
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Of two that write the same mail at once each has a draft of its own; the last one renames over.
        draft = self._folder / f".{mail.id}.{token_hex(8)}.new"
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(message(mail, self._sender).as_bytes())
            file.flush()
            os.fsync(file.fileno())
        draft.rename(path)


def message(mail: Mail, sender: str) -> EmailMessage:
    """The mail in the form of RFC 5322. Raises ValueError where a header would hold a line break."""
    # An address that is not ASCII cannot be written in any other way (RFC 6532).
    name, address = parseaddr(sender)
    is_ascii = mail.to.isascii() and address.isascii()
    built = EmailMessage(policy=policy.SMTP if is_ascii else policy.SMTPUTF8)
    built["From"] = Address(name, addr_spec=address)
    local, _, domain = mail.to.rpartition("@")
    built["To"] = Address(username=local, domain=domain)
    built["Subject"] = mail.subject
    built["Date"] = format_datetime(mail.at)
    built["Message-ID"] = f"<{mail.id}@{address.rpartition('@')[2]}>"
    built["Auto-Submitted"] = "auto-generated"
    for header, value in mail.headers.items():
        built[header] = value
    built.set_content(mail.text)
    if mail.html is not None:
        built.add_alternative(mail.html, subtype="html")
        built.set_boundary(mail.id)  # the same bytes each time
    return built
