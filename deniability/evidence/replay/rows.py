"""Rows of the sidecar, shown to be those that the bundle commits to."""

from __future__ import annotations

import torch
from torch import Tensor

from deniability.errors import CommitmentError
from deniability.evidence.replay.case import Case, Family
from deniability.evidence.tensors import latent_digest
from deniability.inversion.edited import searched


def rows_of(case: Case, family: Family, name: str, count: int) -> Tensor:
    """Return a family's tensor `count x (d + q)`: "restarts" or "controls".

    Raises CommitmentError if the sidecar does not have it.
    """
    name = family.prefix + name
    width = searched(case.procedure.generator, family.handling).dimension
    tensor = case.tensors.get(name)
    if tensor is None or tuple(tensor.shape) != (count, width):
        raise CommitmentError(
            "the latents file does not hold what the bundle describes",
            where=name,
            expected=f"{count} x {width}",
            found="nothing" if tensor is None else " x ".join(map(str, tensor.shape)),
        )
    return tensor.to(torch.float32)


def check_digest(latent: Tensor, expected: str | None, field: str) -> None:
    """Check that a latent is the one that a record commits to."""
    if expected != latent_digest(latent):
        raise CommitmentError(
            "a stored latent is not the one in the trace", where=field, expected=str(expected)
        )


def check_label(case: Case, latent: Tensor, field: str, *, expected: int | None = None) -> None:
    """Check that a latent's labels are labels, and those that the trace says it tried."""
    spec = case.exclusion.generator
    if not spec.labels:
        return
    found = spec.label_of(latent.tolist())
    if found is None or (expected is not None and found != expected):
        raise CommitmentError(
            "a stored latent has another class label than its record",
            where=field,
            expected=f"0 to {spec.label_count - 1}" if expected is None else str(expected),
            found="no label" if found is None else str(found),
        )
