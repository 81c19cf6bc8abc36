"""The fossil delta: a JSON text told as what changed since the text before it.

A delta is the new text's length and a newline, then copies from the old text and literals in the order of
the new text, then the new text's checksum. It is itself UTF-8, because it travels inside a JSON string:
a copy begins and ends between two characters of the new text, so literals hold whole characters.

What both texts begin and end with is two copies. Between them every place of the new text is looked up in
an index of the old text's blocks, so what moved, or stayed between distant changes, is found where it is.
Work is in proportion to both lengths for any texts: a place is compared with a few blocks at most, and what
was compared is copied and passed over.

Source: PROTOCOL.md section 7; https://fossil-scm.org/home/doc/trunk/www/delta_format.wiki.
"""

from bisect import bisect_left
from collections.abc import Iterator
from typing import Final, NamedTuple

BLOCK_BYTES: Final = 16
# What JSON has most of is keys, so a block may be in many places. The order of things changes seldom: tried
# are the first place so soon after the end of the last copy, and so many indexed ones to both sides of it.
NEARBY_BYTES: Final = 256
CANDIDATES_EACH_WAY: Final = 1
# A copy of the beginning or the end is about so long itself, with the head of a literal beside it.
COPY_BYTES: Final = 8
_DIGITS: Final = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz~"


class Copy(NamedTuple):
    """`new[start:end]` is what the old text has from `source` on; all in bytes."""

    source: int
    start: int
    end: int


def delta(before: bytes, after: bytes) -> bytes | None:
    """What makes `after` from `before`, or None where that is not shorter than `after`: then send `after`.

    Both are shorter than 4 GiB. The delta is UTF-8 if `after` is, and once quoted as a JSON string still not
    longer than `after` would be. The client must have exactly the bytes of `before`: another spelling of
    the same JSON will not do.
    """
    parts = [_number(len(after)), b"\n"]
    done = 0
    for source, start, end in _copies(before, after):
        if done < start:
            parts += _number(start - done), b":", after[done:start]
        parts += _number(end - start), b"@", _number(source), b","
        done = end
    if done < len(after):
        parts += _number(len(after) - done), b":", after[done:]
    parts += _number(_checksum(after)), b";"
    told = b"".join(parts)
    return told if len(told) < len(after) else None


def _copies(before: bytes, after: bytes) -> Iterator[Copy]:
    """What to copy, in the order of `after`, without overlaps."""
    shorter = min(len(before), len(after))
    head = _same_after(before, 0, after, 0, shorter)
    tail = _same_before(before, len(before), after, len(after), shorter - head)
    begun = _boundary_before(after, head) if head >= COPY_BYTES else 0
    ending = _boundary_after(after, len(after) - tail) if tail >= COPY_BYTES else len(after)
    if begun:
        yield Copy(0, 0, begun)
    if ending - begun >= BLOCK_BYTES:
        yield from _found(before, after, begun, ending)
    if ending < len(after):
        yield Copy(ending + len(before) - len(after), ending, len(after))


def _found(before: bytes, after: bytes, done: int, ending: int) -> Iterator[Copy]:
    """What of `after[done:ending]` is somewhere in `before`: a whole block of it, and all around."""
    index = _index(before)
    expected = place = done
    last = ending - BLOCK_BYTES
    while place <= last:
        block = after[place : place + BLOCK_BYTES]
        if block not in index:
            place += 1
            continue
        sources = _near(index[block], expected)
        nearby = before.find(block, expected, expected + NEARBY_BYTES)
        if nearby >= 0 and nearby not in sources:
            sources.append(nearby)
        found = (Copy(source, place, place + BLOCK_BYTES) for source in sources)
        source, start, end = max((_grown(before, after, copy, done, ending) for copy in found), key=_length)
        begun = _boundary_after(after, start)
        end = _boundary_before(after, end)
        yield Copy(source + begun - start, begun, end)
        expected = source + end - start
        done = place = end


def _index(text: bytes) -> dict[bytes, list[int]]:
    """Where each block of `text` begins, in ascending order; blocks lie side by side from the beginning."""
    index: dict[bytes, list[int]] = {}
    for place in range(0, len(text) - BLOCK_BYTES + 1, BLOCK_BYTES):
        block = text[place : place + BLOCK_BYTES]
        if block in index:
            index[block].append(place)
        else:
            index[block] = [place]
    return index


def _near(sources: list[int], expected: int) -> list[int]:
    """The few of `sources` around `expected`."""
    middle = bisect_left(sources, expected)
    return sources[max(0, middle - CANDIDATES_EACH_WAY) : middle + CANDIDATES_EACH_WAY]


def _grown(before: bytes, after: bytes, copy: Copy, done: int, ending: int) -> Copy:
    """`copy` with what is the same around it within `after[done:ending]`."""
    source, start, end = copy
    source_end = source + end - start
    ahead = _same_after(before, source_end, after, end, min(len(before) - source_end, ending - end))
    behind = _same_before(before, source, after, start, min(source, start - done))
    return Copy(source - behind, start - behind, end + ahead)


def _length(copy: Copy) -> int:
    return copy.end - copy.start


def _same_after(a: bytes, i: int, b: bytes, j: int, most: int) -> int:
    """How many bytes, at most `most`, are the same from `a[i]` and `b[j]` on.

    Steps double while they are the same and halve afterwards, so slices are compared, not bytes.
    """
    same, step = 0, 1
    while same + step <= most and a[i + same : i + same + step] == b[j + same : j + same + step]:
        same += step
        step *= 2
    while step > 1:
        step //= 2
        if same + step <= most and a[i + same : i + same + step] == b[j + same : j + same + step]:
            same += step
    return same


def _same_before(a: bytes, i: int, b: bytes, j: int, most: int) -> int:
    """How many bytes, at most `most`, are the same before `a[i]` and `b[j]`."""
    same, step = 0, 1
    while same + step <= most and a[i - same - step : i - same] == b[j - same - step : j - same]:
        same += step
        step *= 2
    while step > 1:
        step //= 2
        if same + step <= most and a[i - same - step : i - same] == b[j - same - step : j - same]:
            same += step
    return same


def _boundary_before(text: bytes, place: int) -> int:
    """`place`, or where the character begins that it would cut: at most three bytes before."""
    for _ in range(3):
        if place < len(text) and text[place] & 0xC0 == 0x80:
            place -= 1
    return place


def _boundary_after(text: bytes, place: int) -> int:
    """`place`, or where the character ends that it would cut: at most three bytes after."""
    for _ in range(3):
        if place < len(text) and text[place] & 0xC0 == 0x80:
            place += 1
    return place


def _number(number: int) -> bytes:
    """In base 64, the highest digit first."""
    digits = bytearray()
    while number >= 64:
        digits.append(_DIGITS[number & 63])
        number >>= 6
    digits.append(_DIGITS[number])
    digits.reverse()
    return bytes(digits)


def _checksum(text: bytes) -> int:
    """The sum modulo 2**32 of the big-endian 32-bit words, the last one filled up with zeros.

    Each of a word's four bytes is summed by itself: all in C, and nothing is filled up.
    """
    first, second, third, fourth = (sum(text[lane::4]) for lane in range(4))
    return ((first << 24) + (second << 16) + (third << 8) + fourth) & 0xFFFFFFFF
