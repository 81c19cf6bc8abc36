"""Mail: sent with the commit and never without, once however often it is tried, for nobody else to read."""

import asyncio
import secrets
import stat
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from email.utils import parsedate_to_datetime
from pathlib import Path

import asyncpg
import jinja2
import msgspec
import pytest

from app.adapters.mail_files import MailFiles, message
from app.config import Config
from app.mail.rendering import TEMPLATES, render
from domain import db, ids, jobs, mail
from domain.errors import Invalid
from domain.mail import Letter
from domain.users.model import Email
from tests.mailbox import Mailbox, link, text

SENDER = "Maycole <no-reply@localhost>"
EVERYTHING = {
    "name": "Ann",
    "inviter": "Ann",
    "team": "Coffee",
    "email": "new@example.org",
    "program": "Firefox on Linux",
    "ip": "203.0.113.7",
    "role": "viewer",
    "ways": "the passkey Laptop",
    "days": "7",
    "way": "the passkey Laptop",
    "link": "https://app.example/x?token=abc",
}


def letter(kind: str = "verify_email", to: str = "ann@example.org", **context: str) -> Letter:
    given = {name: EVERYTHING[name] for name in mail.KINDS[kind]} | context
    return Letter(id=ids.new("mail"), at=datetime.now(UTC), to=to, kind=kind, context=given)


def parsed(data: bytes) -> EmailMessage:
    found = message_from_bytes(data, policy=policy.default)
    assert isinstance(found, EmailMessage)
    return found


def html(found: EmailMessage) -> str:
    part = found.get_body(("html",))
    assert part is not None
    content: str = part.get_content()
    return content


@pytest.fixture
def address() -> str:
    return f"ann-{secrets.token_hex(6)}@example.org"


async def test_a_mail_arrives_when_the_change_commits(mailbox: Mailbox, address: str) -> None:
    token = secrets.token_urlsafe(32)
    async with db.transaction():
        mail_id = await mail.send(
            address, "verify_email", name="Ann Ü", link=f"https://app.example/verify?token={token}"
        )
        assert mailbox.of(address) == []
    [found] = await mailbox.until(address)
    assert found["From"] == SENDER
    assert found["Subject"] == "Confirm your address"
    assert found["Message-ID"] == f"<{mail_id}@localhost>"
    assert abs(parsedate_to_datetime(found["Date"]) - datetime.now(UTC)).total_seconds() < 600
    assert "Hello Ann Ü," in text(found)
    assert await mailbox.link(address) == f"https://app.example/verify?token={token}"
    assert f'href="https://app.example/verify?token={token}"' in html(found)


async def test_a_change_that_is_rolled_back_sends_nothing(mailbox: Mailbox, address: str) -> None:
    async def change() -> None:
        async with db.transaction():
            await mail.send(address, "verify_email", name="Ann", link="https://app.example/1")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await change()
    async with db.transaction():
        await mail.send(address, "reset_password", name="Ann", link="https://app.example/2")
    assert await mailbox.link(address) == "https://app.example/2"
    assert len(mailbox.of(address)) == 1


async def test_no_table_holds_a_token_of_a_link_in_the_clear(
    mailbox: Mailbox, address: str, outside: asyncpg.Connection
) -> None:
    """Neither while the mail waits, which only its own transaction sees, nor after it."""
    token, public = secrets.token_hex(32), secrets.token_hex(32)

    async def dump(connection: asyncpg.Connection) -> str:
        tables = await connection.fetch(
            "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'"
        )
        rows = [
            row[0]
            for table in tables
            for row in await connection.fetch(f'SELECT t::text FROM "{table["relname"]}" t')  # noqa: S608
        ]
        # bytea is dumped as hex.
        return "\n".join(rows).replace(token.encode().hex(), token).replace(public.encode().hex(), public)

    async with db.maintenance() as unit:  # partitions by themselves are their owner's
        await mail.send(address, "magic_link", name="Ann", link=f"https://app.example/in?token={token}")
        await jobs.enqueue(PUBLIC, Public(public))
        waiting = await dump(unit.connection)
    assert token in await mailbox.link(address)
    assert "mail.send" in waiting
    assert public in waiting, "a token that is not sealed would have been found"
    assert token not in waiting
    assert token not in await dump(outside)


class Public(msgspec.Struct, frozen=True):
    word: str


PUBLIC = jobs.Job("test.public", Public)


@PUBLIC.handler
async def _nothing(given: Public) -> None: ...


async def test_a_mail_that_is_delivered_twice_is_one_file_that_only_we_may_read(tmp_path: Path) -> None:
    folder = tmp_path / "mail"
    files = MailFiles(folder, sender=SENDER)
    first, second = render(letter()), render(letter("magic_link"))
    await asyncio.gather(*(files.deliver(one) for one in (second, first, first, first)))
    written = sorted(folder.iterdir())
    assert [path.name for path in written] == [f"{first.id}.eml", f"{second.id}.eml"], (
        "in the order they were made"
    )
    assert written[0].read_bytes() == message(first, SENDER).as_bytes()
    assert {stat.S_IMODE(path.stat().st_mode) for path in (folder, *written)} == {0o700, 0o600}


@pytest.mark.parametrize("kind", mail.KINDS)
def test_every_kind_has_a_text_and_an_html_with_its_link_in_one_layout(kind: str) -> None:
    found = parsed(message(render(letter(kind)), SENDER).as_bytes())
    assert found["Subject"]
    if "link" in mail.KINDS[kind]:
        assert link(found) == EVERYTHING["link"]
        assert f'href="{EVERYTHING["link"]}"' in html(found)
    for name in mail.KINDS[kind]:
        assert EVERYTHING[name] in text(found), name
    assert "Maycole sent this" in text(found)
    assert "Maycole sent this" in html(found)


def test_templates_and_kinds_are_the_same_set() -> None:
    assert {path.stem for path in TEMPLATES.iterdir()} - {"layout"} == set(mail.KINDS)


def test_html_is_escaped_and_text_is_not() -> None:
    found = render(letter("team_invite", inviter="<b>Bob & Co</b>"))
    assert "<b>Bob & Co</b>" in found.text
    assert found.html is not None
    assert "<b>Bob" not in found.html
    assert "&lt;b&gt;Bob &amp; Co&lt;/b&gt;" in found.html


def test_a_template_does_not_make_up_what_it_is_not_told() -> None:
    bare = msgspec.structs.replace(letter(), context={})
    with pytest.raises(jinja2.UndefinedError):
        render(bare)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\u2028", "\x00", "\x0b"])
def test_no_name_adds_a_header(end: str) -> None:
    evil = f"Bob{end}Bcc: eve@example.org{end}{end}<html>"
    found = parsed(message(render(letter("team_invite", inviter=evil)), SENDER).as_bytes())
    assert found["Bcc"] is None
    assert found["Subject"] == "Bob Bcc: eve@example.org <html> invites you to Coffee"
    assert found["To"] == "ann@example.org"


@pytest.mark.parametrize("field", ["subject", "to", "headers"])
def test_a_mail_with_a_line_break_in_a_header_is_not_written(field: str) -> None:
    evil = "x@example.org\r\nBcc: eve@example.org"
    changed = msgspec.structs.replace(
        render(letter()), **{field: {"X-Kind": evil} if field == "headers" else evil}
    )
    with pytest.raises(ValueError, match=r"(?i)linefeed|address|CR|invalid"):
        message(changed, SENDER)


@pytest.mark.parametrize(
    "address",
    [
        "ann@example.org\nBcc: eve@example.org",
        "ann@example.org\n",
        "ann@example.org, eve@example.org",
        "Ann <ann@example.org>",
        "ann",
        "a@b@c",
        "a,b@c",
        "a b@c.d",
        "ann@example..org",
        "ann@\x80example.org",
        "ann@example.org.",
        f"{'x' * 250}@example.org",
        "ann@\x00example.org",
    ],
)
async def test_nothing_is_sent_to_what_is_no_address(url: str, address: str) -> None:
    async with db.transaction():
        with pytest.raises(Invalid):
            await mail.send(address, "verify_email", name="Ann", link="https://app.example")


async def test_a_kind_is_told_exactly_what_it_needs(url: str) -> None:
    async with db.transaction():
        with pytest.raises(ValueError, match=r"needs \['link', 'name'\]"):
            await mail.send("ann@example.org", "verify_email", name="Ann")


def test_an_address_may_be_in_any_script(config: Config) -> None:
    found = message(render(letter(to="анна@пример.example")), config.mail_from)
    assert "To: анна@пример.example\r\n".encode() in found.as_bytes()


@pytest.mark.parametrize(
    "address",
    [
        "ann@example.com",
        "ann.o'neil+shop@mail.example.co.uk",
        "ann@localhost",
        "a@xn--bcher-kva.example",
        "änne@bücher.example",
        "a..b.@example.org",
        f"{'a' * 64}@example.org",
    ],
)
def test_what_people_have_as_an_address_is_one(address: str) -> None:
    assert mail.is_deliverable(address)
    assert msgspec.convert(address, Email) == address


async def test_no_letter_of_an_address_folds_onto_one_that_is_somebody_elses(
    outside: asyncpg.Connection,
) -> None:
    """Else whoever registers `victim@gma\u0130l.com` would have taken the place of its owner."""
    surrogates = range(0xD800, 0xE000)
    known = [chr(point) for point in range(1, 0x110000) if point not in surrogates]
    admitted = {char for char in known if mail.is_deliverable(f"{char}@example.org")}
    assert {"a", "A", "ä", "Ä", "ß", "\u0131", "ς", "я"} <= admitted
    rows = await outside.fetch(
        """SELECT chr(n) AS char, lower(chr(n)) AS folded FROM generate_series(1, 1114111) AS n
           WHERE n NOT BETWEEN 55296 AND 57343 AND lower(chr(n)) <> chr(n)"""
    )
    # All others stay what they are.
    by_postgres = {row["char"]: row["folded"] for row in rows if row["char"] in admitted}
    by_unicode = {char: char.lower() for char in admitted if char.lower() != char}
    for folds in (by_postgres, by_unicode):
        assert len(folds) > 1000
        same: dict[str, set[str]] = {}
        for char, one in folds.items():
            same.setdefault(one, {one}).add(char)
            assert char.isascii() or not one.isascii()
        # A capital letter and its small one, and nothing else.
        assert max(map(len, same.values())) == 2
        assert same.keys() <= admitted
    assert {char for char in admitted if char.casefold().isascii() and not char.isascii()} == {"ß", "ẞ"}


@pytest.mark.parametrize("twin", ["\u0130", "\u017f", "\u01c5", "\u2126", "\u212a", "\u212b", "\ufb01"])
def test_a_letter_that_folds_onto_anothers_is_in_no_part_of_an_address(twin: str) -> None:
    for address in (f"v{twin}ctim@example.org", f"victim@gma{twin}l.com", f"victim@example.{twin}"):
        assert not mail.is_deliverable(address)
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(address, Email)
