"""Mail as those it is for find it: read from the files that the app under test writes."""

import asyncio
import re
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path

ARRIVES_WITHIN_S = 20


class Mailbox:
    """Everybody's mail."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read: dict[Path, EmailMessage] = {}

    def of(self, address: str) -> list[EmailMessage]:
        """What has come to this address so far, oldest first."""
        return [mail for mail in self.all() if mail["To"] == address]

    def all(self) -> list[EmailMessage]:
        """What has come to anybody so far, oldest first."""
        for path in set(self._folder.glob("*.eml")) - set(self._read):
            mail = message_from_bytes(path.read_bytes(), policy=policy.default)
            assert isinstance(mail, EmailMessage)
            self._read[path] = mail
        return [self._read[path] for path in sorted(self._read)]

    async def until(self, address: str, count: int = 1) -> list[EmailMessage]:
        """Its first `count` mails, once they are there."""
        async with asyncio.timeout(ARRIVES_WITHIN_S):
            while len(found := self.of(address)) < count:
                await asyncio.sleep(0.02)
        return found

    async def link(self, address: str, count: int = 1) -> str:
        """The link in the newest of the first `count` mails to this address."""
        return link((await self.until(address, count))[count - 1])


def text(mail: EmailMessage) -> str:
    """What people read who read plain text."""
    part = mail.get_body(("plain",))
    assert part is not None
    content: str = part.get_content()
    return content


def link(mail: EmailMessage) -> str:
    """The first address in it."""
    found = re.search(r"https?://\S+", text(mail))
    assert found is not None, f"no link in {text(mail)!r}"
    return found[0]
