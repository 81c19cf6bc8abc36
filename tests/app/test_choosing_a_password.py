"""Choosing a password: what others would try first is refused, and the second opinion keeps nobody out."""

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator

import pytest

from app.adapters.breaker import CALLS_MIN
from app.adapters.outgoing import Outgoing
from app.adapters.pwned import Pwned
from domain.auth import common_passwords, passwords
from tests.app.company import problem
from tests.factories import Api

BREACHED = "a breached password of this test"


@pytest.mark.parametrize(
    ("password", "code"),
    [
        ("password123", "password_too_common"),
        ("PassWord123", "password_too_common"),
        (" qwertyuiop ", "password_too_common"),
        ("\uff11\uff12\uff13\uff14\uff15\uff16\uff17\uff18\uff19\uff10", "password_too_common"),
        ("Maycole2026!", "password_too_personal"),
        ("maycole maycole", "password_too_personal"),
        ("ann.smithee@example.org", "password_too_personal"),
        ("AnnSmithee1!", "password_too_personal"),
        ("Smithee-Ann-2026", "password_too_personal"),
        ("example.org 99", "password_too_personal"),
    ],
)
async def test_a_password_that_others_would_try_first_is_refused(api: Api, password: str, code: str) -> None:
    body = {"email": "ann.smithee@example.org", "password": password, "name": "Ann Smithee"}
    refused = problem(await api.call("POST", "/auth/register", json=body), 422, "invalid")
    assert [(error["pointer"], error["code"]) for error in refused["errors"]] == [("/password", code)]
    assert password.strip() not in str(refused)


async def test_a_name_in_a_sentence_is_no_reason_to_refuse_it() -> None:
    for password in ("ann has a small red boat", "maycole keeps my beans", "1029384756473"):
        await passwords.check(password, email="ann@example.org", name="Ann")


def test_the_list_has_what_was_put_in_and_hardly_ever_says_so_of_another() -> None:
    shipped = common_passwords.shipped()
    assert shipped.words > 100_000
    alarms = sum(f"nobody ever had this {nth}" in shipped for nth in range(100_000))
    assert alarms < 20, "expected is one"
    words = [f"some word {nth}" for nth in range(2000)]
    made = common_passwords.read(common_passwords.written(common_passwords.made(words)))
    assert all(word in made for word in words)
    for spoiled in (b"", b"x" * 100, common_passwords.FILE.read_bytes()[:-1]):
        with pytest.raises((ValueError, common_passwords.struct.error)):
            common_passwords.read(spoiled)


class Range:
    """What answers in place of the range API: a real server, which does as it is told."""

    def __init__(self) -> None:
        self.url = ""
        self.asked: list[str] = []
        self.behaves = "well"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            self.asked.append(head)
            await self._answer(head.split()[1].removeprefix("/range/"), reader, writer)
        writer.close()

    async def _answer(self, prefix: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.behaves == "stalls":
            await reader.read()  # until the client gives up
            return
        status = "500 No" if self.behaves == "fails" else "200 OK"
        digest = hashlib.sha1(BREACHED.encode(), usedforsecurity=False).hexdigest().upper()
        count = 0 if self.behaves == "pads" else 7
        body = (
            f"{'0' * 35}:3\r\n{digest[5:]}:{count}\r\n" if digest.startswith(prefix) else f"{'0' * 35}:3\r\n"
        )
        head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        writer.write(head.encode())
        if self.behaves == "trickles":
            while True:
                await writer.drain()
                await asyncio.sleep(0.05)
                writer.write(b"0")
        writer.write(body.encode())
        await writer.drain()


@pytest.fixture
async def double() -> AsyncIterator[Range]:
    made = Range()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield made


@pytest.fixture
async def pwned(double: Range) -> AsyncIterator[Pwned]:
    asked = Pwned(Outgoing(), double.url)
    try:
        yield asked
    finally:
        await asked.close()


async def test_a_breached_password_is_known_by_five_characters_of_its_hash(
    double: Range, pwned: Pwned
) -> None:
    assert await pwned.knows(BREACHED)
    assert not await pwned.knows("one that nobody has lost")
    digest = hashlib.sha1(BREACHED.encode(), usedforsecurity=False).hexdigest().upper()
    assert double.asked[0].splitlines()[0] == f"GET /range/{digest[:5]} HTTP/1.1"
    assert digest[:6] not in double.asked[0]
    assert "add-padding: true" in double.asked[0].lower()
    double.behaves = "pads"
    assert not await pwned.knows(BREACHED), "padding has a count of nought"


@pytest.mark.parametrize("behaves", ["stalls", "fails", "trickles"])
async def test_where_it_does_not_answer_the_password_is_taken(
    double: Range, pwned: Pwned, behaves: str, caplog: pytest.LogCaptureFixture
) -> None:
    double.behaves = behaves
    assert not await pwned.knows(BREACHED)
    assert "was not looked up" in caplog.text
    assert BREACHED not in caplog.text
    double.behaves = "well"
    assert await pwned.knows(BREACHED), "one failure is no reason to stop asking"


async def test_whoever_keeps_failing_is_left_alone(double: Range, pwned: Pwned) -> None:
    double.behaves = "fails"
    for _ in range(CALLS_MIN):
        assert not await pwned.knows(BREACHED)
    assert len(double.asked) == CALLS_MIN


async def test_what_is_known_from_a_breach_is_refused_at_registration(
    api: Api, pwned: Pwned, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passwords, "_also", pwned.knows)
    body = {"email": "breached@example.org", "password": BREACHED, "name": "Ann"}
    refused = problem(await api.call("POST", "/auth/register", json=body), 422, "invalid")
    assert refused["errors"][0]["code"] == "password_too_common"
