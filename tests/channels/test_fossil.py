"""The delta as the official SDK reads it: whatever changed, the client ends up with the new text."""

import json
import random

import pytest
from centrifuge.fossil import apply_delta
from hypothesis import given
from hypothesis import strategies as st

from channels.fossil import delta

# Characters of one to four bytes; some differ only in their last byte, some only in their first.
CHARACTERS = 'ab"\\{éĩ\u0430\u0431№字😀😁👩\u200d'
EMPTY = b""
RUN = b"a" * 4000


def encoded(document: object) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def dashboard(rows: int) -> list[dict[str, object]]:
    """About 150 bytes a row, always the same."""
    chance = random.Random(7)  # noqa: S311 - not a secret, a document
    return [
        {
            "id": f"itm_{chance.getrandbits(60):x}",
            "name": f"Müller №{row} 😀",
            "quantity": chance.randrange(100, 1000),
            "status": chance.choice(["active", "low", "out"]),
            "updated_at": f"2025-06-01T10:{chance.randrange(60):02}:00Z",
        }
        for row in range(rows)
    ]


def told(before: bytes, after: bytes) -> bytes | None:
    """The delta, after the client has made `after` from it."""
    change = delta(before, after)
    if change is not None:
        assert len(change) < len(after)
        assert apply_delta(before, change) == after
    return change


@st.composite
def edited(draw: st.DrawFn, pieces: st.SearchStrategy[str]) -> tuple[bytes, bytes]:
    """A text, and another made of parts of the first in any order, with new pieces between them."""
    before = "".join(draw(st.lists(pieces, max_size=20)))
    places = st.integers(0, len(before))
    after = ""
    for start, length, new in draw(st.lists(st.tuples(places, places, pieces), max_size=6)):
        after += before[start : start + length] + new
    return before.encode(), after.encode()


@st.composite
def changed_documents(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """A document as the product sends them, and the same with rows changed, gone, moved and new."""
    rows = dashboard(draw(st.integers(0, 30)))
    before = encoded({"items": rows})
    index = st.integers(0, max(0, len(rows) - 1))
    for row, what in draw(st.lists(st.tuples(index, st.integers(0, 3)), max_size=5)):
        if what == 0 or row >= len(rows):
            rows.insert(row, {"id": draw(st.text()), "quantity": draw(st.integers())})
        elif what == 1:
            rows[row] = rows[row] | {"name": draw(st.text()), "quantity": draw(st.integers())}
        elif what == 2:
            del rows[row]
        else:
            rows.append(rows.pop(row))
    return before, encoded({"items": rows})


characters = st.text(CHARACTERS, max_size=30)
runs = st.builds(str.__mul__, st.sampled_from(CHARACTERS), st.integers(1, 80))


@given(edited(characters) | edited(runs) | edited(st.text()) | changed_documents())
def test_the_client_makes_the_new_text_from_a_delta_that_is_text_itself(pair: tuple[bytes, bytes]) -> None:
    change = told(*pair)
    if change is not None:
        change.decode()


@given(st.binary(), st.binary(), st.binary(min_size=20))
def test_bytes_that_are_no_text_arrive_too(one: bytes, other: bytes, shared: bytes) -> None:
    told(one + shared + other, other + shared + one + shared)


@pytest.mark.parametrize("text", ["x", "é", "😀"])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("{t}", ""),
        ("", "{t}"),
        ("", ""),
        ("{t}", "{t}"),
        ("{t}{t}", "{t}"),
        ("{r}", "{r}{t}"),
        ("{r}{t}", "{r}"),
        ("{r}", "{t}{r}"),
        ("{t}{r}", "{r}"),
        ("{r}{t}{r}", "{r}{r}"),
        ("{r}{r}", "{r}{t}{r}"),
        ("{r}x{r}", "{r}y{r}"),
        ("{r}", "y{r}z"),
    ],
)
def test_the_edges_of_texts_and_runs(text: str, before: str, after: str) -> None:
    run = text * 100
    old, new = (template.format(t=text, r=run).encode() for template in (before, after))
    change = told(old, new)
    assert (change is None) == ("{r}" not in after), "a long text that was nearly there is told shorter"


@pytest.mark.parametrize(("old", "new"), [("😀", "😃"), ("é", "ĩ")])
def test_characters_that_begin_or_end_alike_are_never_cut(old: str, new: str) -> None:
    shared = encoded(dashboard(1)).decode()
    for before, after in [("x{c}{s}", "y{c}{s}z"), ("x{s}{c}y", "z{s}{c}"), ("{s}{c}!", "{s}{c}?")]:
        change = told(before.format(c=old, s=shared).encode(), after.format(c=new, s=shared).encode())
        assert change is not None
        assert new in change.decode()


def test_a_copy_begins_and_ends_with_what_is_the_same() -> None:
    shared = bytes(range(ord("0"), ord("p")))
    change = told(b"from 6" + shared + b"and on", b"elsewhere" + shared + b"otherwise")
    assert change is not None
    assert change.startswith(b"1I\n9:elsewhere10@6,9:otherwise")


def test_the_same_text_is_one_copy() -> None:
    text = encoded(dashboard(30))
    change = told(text, text)
    assert change is not None
    assert change.count(b"@") == 1
    assert b":" not in change


def test_the_spelling_is_the_one_of_the_format() -> None:
    # The checksum: 16 words "aaaa", then "b" filled up with zeros.
    checksum = (16 * 0x61616161 + 0x62000000) % 2**32
    digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz~"
    spelled = "".join(digits[checksum >> shift & 63] for shift in (30, 24, 18, 12, 6, 0)).lstrip("0")
    assert delta(b"a" * 64, b"a" * 64 + b"b") == f"11\n10@0,1:b{spelled};".encode()


def test_distant_changes_cost_what_they_change() -> None:
    rows = dashboard(40)
    before = encoded({"items": rows})
    rows[3] |= {"name": "renamed"}
    rows[35] |= {"quantity": 123_456}
    after = encoded({"items": rows})
    change = told(before, after)
    assert len(after) > 4000
    assert change is not None
    assert len(change) < 80


def test_keys_that_are_in_every_row_do_not_lead_astray() -> None:
    rows = dashboard(40)
    before = encoded(rows)
    change = told(before, encoded([row | {"quantity": 1000 + number} for number, row in enumerate(rows)]))
    assert change is not None
    assert change.count(b"@") < 50, "about one copy a row"


def test_what_moved_is_found_where_it_was() -> None:
    rows = dashboard(40)
    before = encoded(rows)
    change = told(before, encoded([*rows[20:], *rows[:20]]))
    assert change is not None
    assert len(change) < 80


@pytest.mark.parametrize(
    ("before", "after"),
    [(b'{"count":1}', b'{"count":2}'), (EMPTY, RUN), (RUN, EMPTY), (b"ab" * 20, b"cd" * 20)],
)
def test_what_would_not_be_shorter_is_no_delta(before: bytes, after: bytes) -> None:
    assert delta(before, after) is None
    assert delta(RUN, RUN) is not None, "others are"


class Watched(bytes):
    """Bytes that count how many of them were looked at."""

    seen = 0

    def __getitem__(self, key):
        part = super().__getitem__(key)
        self.seen += len(part) if isinstance(part, bytes) else 1
        return part


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("a", "ba"),
        ("a", f"{'a' * 30}b"),
        ("ab", f"{'ba' * 9}b"),
        (f"{'a' * 16}{'b' * 16}", f"{'b' * 16}c{'a' * 16}"),
        ("😀", f"{'😀' * 5}😁"),
        (encoded(dashboard(1)).decode(), encoded(dashboard(2)[1]).decode()),
        ("abc", "def"),
    ],
)
def test_the_work_grows_no_faster_than_the_texts(before: str, after: str) -> None:
    def work(size: int) -> int:
        old, new = (
            Watched(("!" + text * size)[:size].encode() + end)
            for text, end in ((before, b"1"), (after, b"2"))
        )
        delta(old, new)
        return old.seen + new.seen

    small, large = work(2_000), work(32_000)
    assert small > 2_000, "all of it was looked at"
    assert large < small * 16 * 1.25
