"""What derived seeds are for: roles keep training, controls and restarts apart.

A beacon's value enters the seeds of controls, of their restarts and of mismatch outputs.
"""

from __future__ import annotations

from typing import Literal

from deniability.crypto.digest import sha256_hex
from deniability.crypto.seeds import derive_seed, derive_seeds
from deniability.wire.beacon import Beacon
from deniability.wire.observation import ObservationKind
from deniability.wire.registration import ModelDescriptor

#: Where a restart begins.
StartKind = Literal["encoder", "encoder-noise", "prior", "staged"]

ENCODER = "encoder"
CONTROL = "control"
CONTROL_RESTART = "control-restart"
MISMATCH = "mismatch"
RESTART = "restart"
EVALUATION = "evaluation"
EVALUATION_RESTART = "evaluation-restart"
EVALUATION_COPY = "evaluation-copy"


def encoder_seed(model: ModelDescriptor, protocol: str) -> bytes:
    """Seed of the encoder's initial weights and training batches."""
    return derive_seed(role=ENCODER, weights=model.weights, protocol=protocol, index=0)


def control_seed(
    model: ModelDescriptor, protocol: str, kind: str, index: int, *, beacon: Beacon | None = None
) -> bytes:
    """Seed of the latent of control `index` for observations of the kind with digest `kind`."""
    return derive_seed(
        role=CONTROL,
        weights=model.weights,
        protocol=protocol,
        picture=kind,
        beacon=_value(beacon),
        index=index,
    )


def control_restart_seed(
    model: ModelDescriptor, protocol: str, kind: str, index: int, *, beacon: Beacon | None = None
) -> bytes:
    """Seed of a control's restart; `index` is control x restarts + restart."""
    return derive_seed(
        role=CONTROL_RESTART,
        weights=model.weights,
        protocol=protocol,
        picture=kind,
        beacon=_value(beacon),
        index=index,
    )


def mismatch_seed(
    model: ModelDescriptor, protocol: str, kind: str, index: int, *, beacon: Beacon | None = None
) -> bytes:
    """Seed of the latent of mismatch output `index`, the same for every way."""
    return derive_seed(
        role=MISMATCH,
        weights=model.weights,
        protocol=protocol,
        picture=kind,
        beacon=_value(beacon),
        index=index,
    )


def evaluation_seed(
    model: ModelDescriptor,
    protocol: str,
    kind: str,
    group: str,
    index: int,
    *,
    beacon: Beacon | None = None,
) -> bytes:
    """Seed of the latent of an evaluation's picture `index`, of a group in a family of this kind.

    With `kind` empty: of the latents at which a copy is compared with the model.
    """
    return _evaluated_seed(EVALUATION, model, protocol, evaluated_as(kind, group), beacon, index)


def evaluation_restart_seed(
    model: ModelDescriptor,
    protocol: str,
    kind: str,
    group: str,
    index: int,
    *,
    beacon: Beacon | None = None,
) -> bytes:
    """Seed of a restart on such a picture; `index` is picture x searches + restart."""
    picture = evaluated_as(kind, group)
    return _evaluated_seed(EVALUATION_RESTART, model, protocol, picture, beacon, index)


def evaluation_copy_seed(
    model: ModelDescriptor, protocol: str, group: str, index: int, *, beacon: Beacon | None = None
) -> bytes:
    """Seed of what is random in a copy of the model: noise on tensor `index`, or a batch."""
    picture = evaluated_as("", group)
    return _evaluated_seed(EVALUATION_COPY, model, protocol, picture, beacon, index)


def _evaluated_seed(
    role: str,
    model: ModelDescriptor,
    protocol: str,
    picture: str,
    beacon: Beacon | None,
    index: int,
) -> bytes:
    return derive_seed(
        role=role,
        weights=model.weights,
        protocol=protocol,
        picture=picture,
        beacon=_value(beacon),
        index=index,
    )


def evaluated_as(kind: str, group: str) -> str:
    """Name a group's pictures in a family in the seeds of an evaluation."""
    return sha256_hex(f"{group} {kind}".encode())


def searched_as(picture: str, kind: ObservationKind) -> str:
    """Name what is searched for in restarts' seeds: a file, and what it is taken for.

    The sha256 of the file for unedited outputs; with the kind's digest mixed in for an edit.
    """
    if kind.edit is None:
        return picture
    return sha256_hex(f"{picture} {kind.digest()}".encode())


def restart_seed(model: ModelDescriptor, protocol: str, picture: str, index: int) -> bytes:
    """Seed of restart `index` on the accused file with sha256 `picture`."""
    return derive_seed(
        role=RESTART, weights=model.weights, protocol=protocol, picture=picture, index=index
    )


def restart_seeds(model: ModelDescriptor, protocol: str, picture: str, count: int) -> list[str]:
    """Return the seeds (hex) of the first `count` restarts on that file."""
    return derive_seeds(
        role=RESTART, weights=model.weights, protocol=protocol, picture=picture, count=count
    )


def start_kind(
    index: int, *, encoder: bool = True, labels: int = 1, staged: bool = False
) -> StartKind:
    """Name the kind of start that restart `index` of every target gets.

    The first is the encoder's guess; after it noisy guesses and prior draws alternate. Without an
    encoder all are prior draws. With `labels` combinations of labels, restarts 2r and 2r + 1 of the
    first round are the guess and a prior draw for the r-th label; later rounds add noise. In a
    search in two stages all are found through the style.
    """
    if staged:
        return "staged"
    if not encoder:
        return "prior"
    if labels > 1:
        if index % 2:
            return "prior"
        return "encoder" if index < 2 * labels else "encoder-noise"
    if index == 0:
        return "encoder"
    return "encoder-noise" if index % 2 else "prior"


def label_rank(index: int, *, encoder: bool, labels: int) -> int:
    """Return which label, in the target's order, restart `index` tries: 0 to labels - 1.

    The order is the encoder's, likeliest first; without an encoder that of the numbers.
    """
    return (index // 2 if encoder else index) % labels


def label_round(index: int, *, encoder: bool, labels: int) -> int:
    """Return how often all labels had been tried before restart `index`."""
    return index // (2 * labels if encoder else labels)


def most_labels(restarts: int) -> int:
    """Return how many labels a search of so many restarts can try twice each."""
    return restarts // 2


def _value(beacon: Beacon | None) -> str:
    return "" if beacon is None else beacon.value
