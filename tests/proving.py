"""What somebody does who is given a proof: follow it to the root (RFC 9162, sections 2.1.3.2 and 2.1.4.2)."""

from collections.abc import Sequence

from domain.audit_logs.merkle import EMPTY, node_hash


class Unproven(Exception):
    """A proof does not show what it is said to show."""


def check_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], expected: bytes) -> None:
    """Raises Unproven unless the proof shows that this leaf is there under this root (RFC 9162, 2.1.3.2)."""
    if not 0 <= index < size:
        raise Unproven("There is no such leaf in a tree of this size.")
    place, last, found = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            raise Unproven("The proof is too long.")
        if place & 1 or place == last:
            found = node_hash(sibling, found)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            found = node_hash(found, sibling)
        place, last = place >> 1, last >> 1
    if last or found != expected:
        raise Unproven("The proof does not lead to this root.")


def check_consistency(old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> None:
    """Raises Unproven unless the proof shows that the old tree begins the new one (RFC 9162, 2.1.4.2)."""
    if not 0 <= old <= new:
        raise Unproven("A tree never shrinks.")
    if old in (0, new):
        if proof or (old == new and old_root != new_root) or (old == 0 and old_root != EMPTY):
            raise Unproven("Trees of one size have one root, and nothing more to prove.")
        return
    path = list(proof)
    if old & (old - 1) == 0:
        path.insert(0, old_root)
    place, last = old - 1, new - 1
    while place & 1:
        place, last = place >> 1, last >> 1
    if not path:
        raise Unproven("The proof is too short.")
    first = second = path[0]
    for sibling in path[1:]:
        if last == 0:
            raise Unproven("The proof is too long.")
        if place & 1 or place == last:
            first, second = node_hash(sibling, first), node_hash(sibling, second)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            second = node_hash(second, sibling)
        place, last = place >> 1, last >> 1
    if last or first != old_root or second != new_root:
        raise Unproven("The proof does not lead from the one root to the other.")
