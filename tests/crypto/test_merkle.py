import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymerkle import InmemoryTree

from deniability.crypto.merkle import (
    consistency_proof,
    inclusion_proof,
    merkle_root,
    verify_consistency,
    verify_inclusion,
)
from deniability.errors import CommitmentError

# The leaves and roots that Certificate Transparency implementations test RFC 6962 with
LEAVES = [
    bytes.fromhex(text)
    for text in (
        "", "00", "10", "2021", "3031", "40414243", "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]  # fmt: skip
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
trees = st.lists(st.binary(max_size=4), min_size=1, max_size=40)


def mth(leaves):
    """Return MTH(D[n]) word for word as in RFC 6962, section 2.1."""
    if not leaves:
        return hashlib.sha256().digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\0" + leaves[0]).digest()
    k = 1
    while 2 * k < len(leaves):
        k *= 2
    return hashlib.sha256(b"\1" + mth(leaves[:k]) + mth(leaves[k:])).digest()


def path(m, leaves):
    """Return PATH(m, D[n]) of RFC 6962, section 2.1.1."""
    if len(leaves) == 1:
        return []
    k = 1
    while 2 * k < len(leaves):
        k *= 2
    if m < k:
        return [*path(m, leaves[:k]), mth(leaves[k:])]
    return [*path(m - k, leaves[k:]), mth(leaves[:k])]


@given(trees)
def test_another_implementation_has_the_same_roots(leaves):
    tree = InmemoryTree(algorithm="sha256")
    for leaf in leaves:
        tree.append_entry(leaf)
    assert tree.get_root() == merkle_root(leaves)


@pytest.mark.parametrize("size", range(9))
def test_published_roots(size):
    assert merkle_root(LEAVES[:size]).hex() == ROOTS[size]


def test_published_proofs():
    # From the same set: PATH(0, D[8]), PATH(5, D[8]), PATH(2, D[3]), PROOF(6, D[8])
    assert [h.hex()[:8] for h in inclusion_proof(LEAVES, 0)] == ["96a296d2", "5f083f0a", "6b47aaf2"]
    assert [h.hex()[:8] for h in inclusion_proof(LEAVES, 5)] == ["bc1a0643", "ca854ea1", "d37ee418"]
    assert [h.hex() for h in inclusion_proof(LEAVES[:3], 2)] == [ROOTS[2]]
    assert [h.hex()[:8] for h in consistency_proof(LEAVES, 6)] == [
        "0ebc5d34",
        "ca854ea1",
        "d37ee418",
    ]


@settings(deadline=None)
@given(trees)
def test_roots_and_inclusion_proofs_agree_with_the_rfcs_recursion(leaves):
    root = merkle_root(leaves)
    assert root == mth(leaves)
    for index, leaf in enumerate(leaves):
        proof = inclusion_proof(leaves, index)
        assert proof == path(index, leaves)
        verify_inclusion(leaf, index, len(leaves), proof, root)


@settings(deadline=None)
@given(trees, st.data())
def test_a_changed_inclusion_proof_fails(leaves, data):
    size = len(leaves)
    index = data.draw(st.integers(0, size - 1))
    root, leaf, proof = merkle_root(leaves), leaves[index], inclusion_proof(leaves, index)
    attempts = [
        (leaf + b"x", index, size, proof, root),
        (leaf, index, size, [*proof, root], root),
        (leaf, index, size, [*proof, b""], root),
        (leaf, index, size, [node[:31] for node in proof], root[:31]),
        (leaf, index, size, proof, bytes(32)),
        (leaf, size, size, proof, root),
        (leaf, index + size, size, proof, root),
        (leaf, -1, size, proof, root),
        (leaf, index - size, size, proof, root),
        (leaf, index, 0, proof, root),
    ]
    if proof:
        at = data.draw(st.integers(0, len(proof) - 1))
        flipped = bytes([proof[at][0] ^ 1]) + proof[at][1:]
        attempts += [
            (leaf, index, size, proof[:-1], root),
            (leaf, index, size, proof[1:], root),
            (leaf, index, size, [*proof[:at], flipped, *proof[at + 1 :]], root),
        ]
        # A node passed off as a leaf: RFC 6962's prefixes tell them apart
        node = mth(leaves[index : index + 1]) + proof[0]
        attempts.append((node, index // 2, (size + 1) // 2, proof[1:], root))
    for attempt in attempts:
        with pytest.raises(CommitmentError):
            verify_inclusion(*attempt)


def test_no_leaf_proves_at_another_place():
    for size in range(1, 12):
        leaves = [bytes([i]) for i in range(size)]
        root = merkle_root(leaves)
        for index in range(size):
            proof = inclusion_proof(leaves, index)
            for other in range(size):
                if other != index:
                    with pytest.raises(CommitmentError):
                        verify_inclusion(leaves[index], other, size, proof, root)


def test_consistency_of_all_small_trees():
    leaves = [bytes([i]) for i in range(20)]
    roots = [merkle_root(leaves[:size]) for size in range(21)]
    for new in range(1, 21):
        for old in range(1, new + 1):
            proof = consistency_proof(leaves[:new], old)
            verify_consistency(old, new, roots[old], roots[new], proof)
            for wrong_old, wrong_new, old_root, new_root, wrong in (
                (old, new, bytes(32), roots[new], proof),
                (old, new, roots[old], bytes(32), proof),
                (old, new, roots[old], roots[new], [*proof, bytes(32)]),
                (new + 1, new, roots[new], roots[new], []),
                (-1, new, roots[old], roots[new], proof),
                (old, new, roots[old], roots[new], [h[:-1] for h in proof] or [b""]),
            ):
                with pytest.raises(CommitmentError):
                    verify_consistency(wrong_old, wrong_new, old_root, new_root, wrong)
            for at in range(len(proof)):
                with pytest.raises(CommitmentError):
                    verify_consistency(
                        old, new, roots[old], roots[new], proof[:at] + proof[at + 1 :]
                    )
                with pytest.raises(CommitmentError):
                    verify_consistency(
                        old, new, roots[old], roots[new], [*proof[:at], bytes(32), *proof[at + 1 :]]
                    )


@settings(deadline=None)
@given(trees, trees)
def test_a_rewritten_log_has_no_consistency_proof(old, more):
    new = [old[0] + b"x", *old[1:], *more]
    with pytest.raises(CommitmentError):
        verify_consistency(
            len(old),
            len(new),
            merkle_root(old),
            merkle_root(new),
            consistency_proof(new, len(old)),
        )


def test_the_empty_tree():
    empty = merkle_root([])
    verify_consistency(0, 0, empty, empty, [])
    verify_consistency(0, 3, empty, merkle_root([b"a", b"b", b"c"]), [])
    for old_root, new_size, new_root, proof in (
        (bytes(32), 3, bytes(32), []),
        (empty, 3, bytes(32), [empty]),
        (empty, 0, bytes(32), []),
    ):
        with pytest.raises(CommitmentError):
            verify_consistency(0, new_size, old_root, new_root, proof)
    for size in (0, 4):
        with pytest.raises(CommitmentError, match="no such earlier tree"):
            consistency_proof([b"a", b"b", b"c"], size)
    for index in (-1, 3):
        with pytest.raises(CommitmentError, match="outside its tree"):
            inclusion_proof([b"a", b"b", b"c"], index)
