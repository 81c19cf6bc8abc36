"""The Merkle tree of RFC 6962: one root for a list that only grows, short proofs of what is in it.

Hashes are SHA-256, 32 bytes. A subtree is named by its level and its place in that level: (0, 5) is the sixth
leaf, (3, 1) the node over leaves 8 to 15. Only complete subtrees have such a name; they never change again,
and every root and every proof is made of them. Where their hashes come from is the caller's business.

Source: RFC 6962, section 2.1. Whoever is given a proof follows it as RFC 9162 says (tests/proving.py).
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence

Subtree = tuple[int, int]
Range = tuple[int, int]
Hashes = Callable[[Subtree], bytes]

EMPTY = hashlib.sha256(b"").digest()


def leaf_hash(data: bytes) -> bytes:
    return hashlib.sha256(b"\0" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\1" + left + right).digest()


def subtrees(begin: int, end: int) -> list[Subtree]:
    """The complete subtrees over leaves `begin` to `end` (exclusive), from the left, as few as can be."""
    found: list[Subtree] = []
    while begin < end:
        widest = (end - begin).bit_length() - 1
        level = min(widest, (begin & -begin).bit_length() - 1) if begin else widest
        found.append((level, begin >> level))
        begin += 1 << level
    return found


def root(size: int, hashes: Hashes) -> bytes:
    """The root of the first `size` leaves."""
    return range_hash((0, size), hashes)


def range_hash(leaves: Range, hashes: Hashes) -> bytes:
    """MTH(D[begin:end]) of the RFC, for a range that is a subtree of some tree."""
    if leaves[0] == leaves[1]:
        return EMPTY
    *rest, whole = [hashes(subtree) for subtree in subtrees(*leaves)]
    for left in reversed(rest):
        whole = node_hash(left, whole)
    return whole


def inclusion(index: int, size: int) -> list[Range]:
    """PATH(m, D[n]): the ranges whose hashes show that leaf `index` is under the root of `size` leaves."""
    path: list[Range] = []
    begin, end = 0, size
    while end - begin > 1:
        middle = begin + _split(end - begin)
        if index < middle:
            path.append((middle, end))
            end = middle
        else:
            path.append((begin, middle))
            begin = middle
    return path[::-1]


def consistency(old: int, new: int) -> list[Range]:
    """PROOF(m, D[n]): the ranges whose hashes show that `old` leaves are the beginning of `new` ones."""
    if old in (0, new):
        return []
    path: list[Range] = []
    begin, end, is_whole = 0, new, True
    while old != end:
        middle = begin + _split(end - begin)
        if old <= middle:
            path.append((middle, end))
            end = middle
        else:
            path.append((begin, middle))
            begin, is_whole = middle, False
    if not is_whole:
        path.append((begin, end))
    return path[::-1]


def needed(ranges: Iterable[Range]) -> set[Subtree]:
    """The subtrees whose hashes these ranges are made of."""
    return {subtree for leaves in ranges for subtree in subtrees(*leaves)}


class Grown:
    """A tree that leaves are added to: what it needs for that are the subtrees at its right edge.

    `made` are the complete subtrees that came into being, from the level `made_from` on.
    """

    def __init__(self, size: int = 0, edge: Sequence[bytes] = (), *, made_from: int = 0) -> None:
        """`edge` are the hashes of subtrees(0, size), from the left."""
        self.size = size
        self.made: dict[Subtree, bytes] = {}
        self._made_from = made_from
        self._edge = list(edge)

    def add(self, leaf: bytes) -> None:
        level, index, found = 0, self.size, leaf
        while True:
            if level >= self._made_from:
                self.made[level, index] = found
            if not index & 1:
                break
            found = node_hash(self._edge.pop(), found)
            level, index = level + 1, index >> 1
        self._edge.append(found)
        self.size += 1

    def root(self) -> bytes:
        edge = dict(zip(subtrees(0, self.size), self._edge, strict=True))
        return root(self.size, edge.__getitem__)


def _split(size: int) -> int:
    """The largest power of two below `size`, which is at least 2."""
    return 1 << ((size - 1).bit_length() - 1)
