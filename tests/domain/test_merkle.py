"""The Merkle tree, against the RFC's own vectors and an independent implementation (pymerkle)."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymerkle import InmemoryTree

from domain.audit_logs import merkle
from domain.audit_logs.merkle import Grown
from tests import proving
from tests.proving import Unproven

# Leaves and roots of the reference implementation of RFC 6962 (certificate-transparency, merkle_tree_test).
LEAVES = [bytes.fromhex(leaf) for leaf in (
    "", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"
)]  # fmt: skip
ROOTS = (
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
)


def grown(leaves: list[bytes]) -> Grown:
    tree = Grown()
    for leaf in leaves:
        tree.add(merkle.leaf_hash(leaf))
    return tree


def path(tree: Grown, ranges: list[merkle.Range]) -> list[bytes]:
    return [merkle.range_hash(leaves, tree.made.__getitem__) for leaves in ranges]


def some(count: int) -> list[bytes]:
    return [str(nth).encode() for nth in range(count)]


def test_the_vectors_of_the_rfc() -> None:
    assert hashlib.sha256(b"").digest() == merkle.EMPTY
    for size, root in enumerate(ROOTS, 1):
        assert grown(LEAVES[:size]).root().hex() == root


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 9, 64, 65, 200])
def test_an_independent_implementation_agrees(size: int) -> None:
    theirs = InmemoryTree(algorithm="sha256")
    for leaf in some(size):
        theirs.append_entry(leaf)
    ours = grown(some(size))
    assert theirs.get_root() == ours.root()
    for index in range(size):
        # Their path begins with the leaf itself.
        said = theirs.prove_inclusion(index + 1).serialize()["path"]
        assert [bytes.fromhex(found) for found in said[1:]] == path(ours, merkle.inclusion(index, size))


@given(size=st.integers(1, 300), data=st.data())
def test_a_proof_shows_its_leaf_and_no_other(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    tree = grown(some(size))
    leaf, proof = tree.made[0, index], path(tree, merkle.inclusion(index, size))
    proving.check_inclusion(leaf, index, size, proof, tree.root())
    for wrong in (
        (merkle.leaf_hash(b"another"), index, size, proof, tree.root()),
        (leaf, index, size, proof, merkle.leaf_hash(b"another")),
        (leaf, index, size, [*proof, leaf], tree.root()),
        (leaf, size, size, proof, tree.root()),
    ):
        with pytest.raises(Unproven):
            proving.check_inclusion(*wrong)
    for at in range(len(proof)):
        with pytest.raises(Unproven):
            proving.check_inclusion(leaf, index, size, proof[:at] + proof[at + 1 :], tree.root())


@given(sizes=st.tuples(st.integers(0, 300), st.integers(0, 300)))
def test_a_tree_that_grew_is_told_from_one_that_was_altered(sizes: tuple[int, int]) -> None:
    old, new = sorted(sizes)
    tree, before = grown(some(new)), grown(some(old)).root()
    proof = path(tree, merkle.consistency(old, new))
    proving.check_consistency(old, new, before, tree.root(), proof)
    altered = grown([b"altered", *some(old)[1:]]).root() if old else merkle.leaf_hash(b"not empty")
    with pytest.raises(Unproven):
        proving.check_consistency(old, new, altered, tree.root(), proof)
    with pytest.raises(Unproven):
        proving.check_consistency(old, new, before, tree.root(), [*proof, before])
    with pytest.raises(Unproven):
        proving.check_consistency(new + 1, new, before, tree.root(), proof)


@given(size=st.integers(0, 300), more=st.integers(1, 300))
def test_a_tree_goes_on_from_its_edge(size: int, more: int) -> None:
    whole = grown(some(size + more))
    edge = [whole.made[subtree] for subtree in merkle.subtrees(0, size)]
    continued = Grown(size, edge)
    for leaf in some(size + more)[size:]:
        continued.add(merkle.leaf_hash(leaf))
    assert continued.root() == whole.root()
    assert continued.made.items() <= whole.made.items()
