"""Controls: fresh own outputs, inverted by the procedure that the accused picture meets."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from deniability.wire.base import DecimalString, Sha256Hex, Text, WireModel
from deniability.wire.observation import ObservationKind
from deniability.wire.protocol import MismatchWay, SolverName

DeviceClass = Literal["cpu", "cuda", "mps", "xpu"]
Count = Annotated[int, Field(ge=0, le=2**53)]


class Control(WireModel):
    """One control.

    Attributes:
        index: 0 … n - 1.
        seed: derived; its latent follows from it by `shake256`.
        truth: residual at that true latent, absent if not finite.
        residual: smallest residual over the restarts, absent if none was finite.
        best: index of the restart that found it.
        restarts: how many were run before one reached the threshold.
        iterations: over all of them.
        latent: sha256 of the best latent's float32 little-endian bytes.

    """

    index: Count
    seed: Sha256Hex
    truth: DecimalString | None = None
    residual: DecimalString | None = None
    best: Count | None = None
    restarts: Count
    iterations: Count
    latent: Sha256Hex | None = None


class Mismatch(WireModel):
    """Residual of an own output that was produced another way than registered."""

    way: MismatchWay
    index: Count
    seed: Sha256Hex
    residual: DecimalString | None = None


class ControlSet(WireModel):
    """All controls of one kind of observation.

    Attributes:
        kind: what kind of file they were turned into.
        device_class, precision, engine: of the search; others are not comparable.
        solver: which solver ran.
        controls: n of them in index order.
        mismatches: of every way, in order of way and index.

    """

    kind: ObservationKind
    device_class: DeviceClass
    precision: Literal["float32"]
    engine: Text
    solver: SolverName
    controls: tuple[Control, ...]
    mismatches: tuple[Mismatch, ...]
