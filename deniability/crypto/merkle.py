"""RFC 6962 Merkle trees: roots, inclusion proofs and consistency proofs.

Section 2.1: a leaf hashes as SHA-256(0x00 ‖ leaf), a node as SHA-256(0x01 ‖ left ‖ right), and
the left part of a tree of n leaves has the largest power of two below n. The verifiers follow
RFC 9162, sections 2.1.3.2 and 2.1.4.2, with the size checks first.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

from deniability.errors import CommitmentError

_HASH_BYTES = 32


def leaf_hash(leaf: bytes) -> bytes:
    """Return SHA-256(0x00 ‖ leaf)."""
    return hashlib.sha256(b"\x00" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return SHA-256(0x01 ‖ left ‖ right)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def merkle_root(leaves: Sequence[bytes]) -> bytes:
    """Return the 32-byte root over `leaves`; of no leaves it is SHA-256 of nothing."""
    return _root([leaf_hash(leaf) for leaf in leaves])


def inclusion_proof(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """Return the audit path of leaf `index`, from the leaf upwards.

    Raises CommitmentError unless 0 <= index < number of leaves.
    """
    _check_index(index, len(leaves))
    proof = []
    level = [leaf_hash(leaf) for leaf in leaves]
    while len(level) > 1:
        sibling = index ^ 1
        if sibling < len(level):
            proof.append(level[sibling])
        level = _parents(level)
        index //= 2
    return proof


def verify_inclusion(
    leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes
) -> None:
    """Check that `leaf` is number `index` of the `size` leaves under `root`.

    Raises CommitmentError if it is not, if the index is outside the tree, or if the proof has
    too few, too many or malformed hashes.
    """
    _check_index(index, size)
    _check_hashes([*proof, root])
    node = leaf_hash(leaf)
    for sibling, on_left in _climb(index, size - 1, proof):
        node = node_hash(sibling, node) if on_left else node_hash(node, sibling)
    if node != root:
        raise CommitmentError(
            "an inclusion proof leads to another root", expected=root.hex(), found=node.hex()
        )


def consistency_proof(leaves: Sequence[bytes], old_size: int) -> list[bytes]:
    """Return the proof that the tree over `leaves` extends the one over the first `old_size`.

    Raises CommitmentError unless 1 <= old_size <= number of leaves.
    """
    if not 1 <= old_size <= len(leaves):
        raise CommitmentError(
            "no such earlier tree", expected=f"a size from 1 to {len(leaves)}", found=str(old_size)
        )
    return _subproof([leaf_hash(leaf) for leaf in leaves], old_size, complete=True)


def verify_consistency(
    old_size: int, new_size: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]
) -> None:
    """Check that the tree of `new_size` leaves extends, without change, that of `old_size`.

    Raises CommitmentError if it does not, or if the proof cannot belong to these sizes. Every
    tree extends the empty one, whose root must then be SHA-256 of nothing.
    """
    if not 0 <= old_size <= new_size:
        raise CommitmentError(
            "a log became smaller", expected=f"at least {old_size} entries", found=str(new_size)
        )
    _check_hashes([*proof, old_root, new_root])
    if old_size in {0, new_size}:
        expected = _root([]) if old_size == 0 else new_root
        if proof or old_root != expected or (new_size == 0 and new_root != expected):
            raise CommitmentError("a consistency proof of a trivial step is wrong")
        return
    path = list(proof)
    if old_size & (old_size - 1) == 0:  # a complete tree: its root is the proof's unsaid start
        path.insert(0, old_root)
    if not path:
        raise CommitmentError("a consistency proof is empty")
    position, last = old_size - 1, new_size - 1
    while position % 2 == 1:
        position //= 2
        last //= 2
    old_node = new_node = path[0]
    for node, on_left in _climb(position, last, path[1:]):
        if on_left:
            old_node = node_hash(node, old_node)
            new_node = node_hash(node, new_node)
        else:
            new_node = node_hash(new_node, node)
    if old_node != old_root or new_node != new_root:
        raise CommitmentError("a consistency proof does not lead from the old root to the new")


def _climb(position: int, last: int, proof: Sequence[bytes]) -> Iterator[tuple[bytes, bool]]:
    """Yield each hash of a proof with whether it stands to the left, up from node `position`.

    `last` is the index of the last node on the same level. Raises CommitmentError if the proof
    has not exactly as many hashes as there are levels with a sibling.
    """
    for node in proof:
        if last == 0:
            raise CommitmentError("a Merkle proof is too long")
        on_left = position % 2 == 1 or position == last
        yield node, on_left
        while on_left and position % 2 == 0 and position != 0:  # levels without a sibling
            position //= 2
            last //= 2
        position //= 2
        last //= 2
    if last != 0:
        raise CommitmentError("a Merkle proof is too short")


def _parents(level: list[bytes]) -> list[bytes]:
    """Return the level above; a node without a sibling moves up unchanged."""
    above = [node_hash(level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
    if len(level) % 2 == 1:
        above.append(level[-1])
    return above


def _root(hashes: list[bytes]) -> bytes:
    if not hashes:
        return hashlib.sha256(b"").digest()
    while len(hashes) > 1:
        hashes = _parents(hashes)
    return hashes[0]


def _subproof(hashes: list[bytes], old_size: int, *, complete: bool) -> list[bytes]:
    """Return SUBPROOF(m, D[n], b) of RFC 6962, section 2.1.2; its depth is log2(n)."""
    if old_size == len(hashes):
        return [] if complete else [_root(hashes)]
    split = 1 << ((len(hashes) - 1).bit_length() - 1)
    left, right = hashes[:split], hashes[split:]
    if old_size <= split:
        return [*_subproof(left, old_size, complete=complete), _root(right)]
    return [*_subproof(right, old_size - split, complete=False), _root(left)]


def _check_index(index: int, size: int) -> None:
    if not 0 <= index < size:
        raise CommitmentError(
            "a leaf's index is outside its tree", expected=f"0 to {size - 1}", found=str(index)
        )


def _check_hashes(hashes: Sequence[bytes]) -> None:
    if any(len(node) != _HASH_BYTES for node in hashes):
        raise CommitmentError("a Merkle hash does not have 32 bytes")
