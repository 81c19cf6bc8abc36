"""Ids: a prefix and 26 characters, never twice, and in the order in which they were made."""

import os
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from domain import ids

PREFIXES = st.from_regex(r"[a-z]{2,8}", fullmatch=True)
A_MILLISECOND = 1 << 80


def number(text: str) -> int:
    """The 128 bits of an id, read as the TypeID specification says."""
    value = 0
    for character in text.rpartition("_")[2]:
        value = value * 32 + "0123456789abcdefghjkmnpqrstvwxyz".index(character)
    return value


@given(PREFIXES)
def test_an_id_is_its_prefix_and_a_uuid_of_version_7(prefix: str) -> None:
    text = ids.new(prefix)
    assert re.fullmatch(ids.PATTERN, text)
    assert ids.is_id(prefix, text)
    value = number(text)
    assert value < 1 << 128
    assert (value >> 76 & 0xF, value >> 62 & 0b11) == (7, 0b10)
    assert abs((value >> 80) - time.time_ns() // 1_000_000) < 60_000, "its first 48 bits are the time in ms"


@given(PREFIXES, PREFIXES)
def test_an_id_of_one_kind_is_not_one_of_another(prefix: str, other: str) -> None:
    assume(prefix != other)
    assert not ids.is_id(other, ids.new(prefix))


@given(st.data())
def test_what_is_not_an_id_is_not_taken_for_one(data: st.DataObject) -> None:
    text = ids.new("item")
    place = data.draw(st.integers(0, len(text) - 1), label="place")
    foreign = data.draw(st.characters(exclude_characters=ids.ALPHABET), label="character")
    assert not ids.is_id("item", text[:place] + foreign + text[place:])
    assert not ids.is_id("item", text[:place] + text[place + 1 :])
    assert not ids.is_id("item", text[:place] + foreign + text[place + 1 :])


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "item",
        "item_",
        "item_80000000000000000000000000",  # one more than 128 bits
        "ITEM_01kb3mzzzzzzzzzzzzzzzzzzzz",
        "item_01KB3MZZZZZZZZZZZZZZZZZZZZ",
        "item_01kb3mzzzzzzzzzzzzzzzzzzzi",  # i, l, o and u are not in the alphabet
        "item_01kb3mzzzzzzzzzzzzzzzzzzzz\n",
    ],
)
def test_a_wrong_shape_is_not_an_id(wrong: str) -> None:
    assert ids.is_id("item", "item_01kb3mzzzzzzzzzzzzzzzzzzzz"), "right but for the fault"
    assert not ids.is_id("item", wrong)


def test_the_alphabet_sorts_as_its_numbers_do() -> None:
    assert list(ids.ALPHABET) == sorted(ids.ALPHABET)
    assert len(set(ids.ALPHABET)) == 32


def test_ids_sort_by_the_time_they_were_made_even_within_a_millisecond() -> None:
    made = [ids.new("item") for _ in range(20_000)]
    assert made == sorted(made)
    assert len(set(made)) == len(made)
    milliseconds = [number(text) // A_MILLISECOND for text in made]
    assert len(set(milliseconds)) < len(made), "some must share one for this to mean anything"
    assert len(set(milliseconds)) > 1, "and some must not"


def test_ids_made_by_many_threads_are_all_different_and_rise_in_each_thread() -> None:
    together = threading.Barrier(8)

    def make(_: int) -> list[str]:
        together.wait()
        return [ids.new("item") for _ in range(10_000)]

    with ThreadPoolExecutor(8) as threads:
        batches = list(threads.map(make, range(8)))
    assert all(batch == sorted(batch) for batch in batches)
    assert len({text for batch in batches for text in batch}) == 8 * 10_000
    first, *others = sorted(batches)
    assert any(batch[0] < first[-1] for batch in others), "threads must overlap for this to mean anything"


def test_ids_do_not_go_back_when_the_clock_does(monkeypatch: pytest.MonkeyPatch) -> None:
    before = ids.new("item")
    monkeypatch.setattr(ids.time, "time_ns", lambda: 1_000_000_000_000_000_000)
    assert ids.new("item") > before


@pytest.mark.parametrize("kind", ["item", "user"])
def test_a_body_with_an_id_is_read_and_one_with_anything_else_is_not(kind: str) -> None:
    text = ids.new(kind)
    assert msgspec.json.decode(msgspec.json.encode(text), type=ids.Id) == text
    for wrong in (text.upper(), text[:-1], f"{text}0", f" {text}", f"{text}\n"):
        with pytest.raises(msgspec.ValidationError):
            msgspec.json.decode(msgspec.json.encode(wrong), type=ids.Id)


# Threads there are, of other tests; the child touches nothing of theirs.
@pytest.mark.filterwarnings("ignore:This process.*fork:DeprecationWarning")
def test_a_child_process_makes_other_ids_than_its_parent() -> None:
    ids.new("item")  # so that there is something ahead
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, "".join(ids.new("item")[-20:] for _ in range(20)).encode())
        os._exit(0)
    ours = {ids.new("item")[-20:] for _ in range(20)}
    os.waitpid(child, 0)
    text = os.read(reading, 4096).decode()
    for end in (reading, writing):
        os.close(end)
    theirs = {text[at : at + 20] for at in range(0, len(text), 20)}
    assert len(theirs) == len(ours) == 20
    assert not {one[8:] for one in ours} & {one[8:] for one in theirs}
