"""An answer leaves in one write, and nothing of it waits for what does not come."""

import asyncio
from collections.abc import Iterable
from typing import Any, cast

from channels.one_write import OneWrite

HEAD, BODY, MORE = b"HTTP/1.1 200 OK\r\n\r\n", b"body", b"more"


class Wire:
    """What reaches the kernel, write by write."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.is_closed = False

    def write(self, data: bytes) -> None:
        assert not self.is_closed
        self.writes.append(data)

    def writelines(self, lines: Iterable[bytes]) -> None:
        self.write(b"".join(lines))

    def is_closing(self) -> bool:
        return self.is_closed

    def close(self) -> None:
        self.is_closed = True

    def get_extra_info(self, name: str) -> Any:
        return f"the {name}"


def answered_over(wire: Wire) -> OneWrite:
    return OneWrite(cast(asyncio.Transport, wire), asyncio.get_running_loop())


async def test_head_and_body_are_one_write_and_what_follows_is_its_own() -> None:
    wire = Wire()
    answer = answered_over(wire)
    answer.write(HEAD)
    answer.write(BODY)
    answer.write(MORE)
    await asyncio.sleep(0)
    assert wire.writes == [HEAD + BODY, MORE]


async def test_a_head_whose_body_comes_later_does_not_wait_for_it() -> None:
    wire = Wire()
    answer = answered_over(wire)
    answer.write(HEAD)
    assert wire.writes == []
    await asyncio.sleep(0)
    assert wire.writes == [HEAD]
    answer.write(BODY)
    assert wire.writes == [HEAD, BODY]


async def test_a_head_without_a_body_is_sent_before_the_wire_is_closed() -> None:
    wire = Wire()
    answer = answered_over(wire)
    answer.write(HEAD)
    answer.close()
    await asyncio.sleep(0)
    assert (wire.writes, wire.is_closed) == ([HEAD], True)


async def test_nothing_is_written_to_a_wire_that_was_cut_meanwhile() -> None:
    wire = Wire()
    answer = answered_over(wire)
    answer.write(HEAD)
    wire.close()
    await asyncio.sleep(0)
    assert wire.writes == []


async def test_all_else_is_the_wires_own() -> None:
    wire = Wire()
    assert answered_over(wire).get_extra_info("peername") == "the peername"
