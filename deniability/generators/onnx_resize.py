"""ONNX `Resize` and the older `Upsample`: weights of neighbours, axis by axis.

Every mode is a weighted sum of a few entries along each axis, so it is written as that: what the
specification says of coordinates and rounding is followed to the letter, and it differentiates.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from deniability.generators.onnx_node import Call, Table

TABLE = Table()
#: For each output position the entry to take, and its weight.
_Taps = list[tuple[list[int], list[float]]]

#: Position in the input of output position i, for a factor and the sizes before and after.
_COORDINATES: dict[str, Callable[[int, float, int, int], float]] = {
    "half_pixel": lambda i, factor, _, __: (i + 0.5) / factor - 0.5,
    "pytorch_half_pixel": lambda i, factor, _, new: (i + 0.5) / factor - 0.5 if new > 1 else 0.0,
    "align_corners": lambda i, _, old, new: i * (old - 1) / (new - 1) if new > 1 else 0.0,
    "asymmetric": lambda i, factor, _, __: i / factor,
}
_NEAREST: dict[str, Callable[[float], int]] = {
    "round_prefer_floor": lambda x: math.ceil(x - 0.5),
    "round_prefer_ceil": lambda x: math.floor(x + 0.5),
    "floor": math.floor,
    "ceil": math.ceil,
}


@TABLE.operator(
    "Resize",
    "antialias", "axes", "coordinate_transformation_mode", "cubic_coeff_a", "exclude_outside",
    "extrapolation_value", "keep_aspect_ratio_policy", "mode", "nearest_mode",
    host=1,
)  # fmt: skip
def resize(call: Call) -> Tensor:
    """Resize by factors or to sizes."""
    if call.version < 11:
        raise call.unsupported("the rules of an opset below 11")
    call.only("antialias", 0, 0)
    call.only("exclude_outside", 0, 0)
    call.only("keep_aspect_ratio_policy", "stretch", "stretch")
    values = call.needed(0)
    axes = call.get("axes") or list(range(values.ndim))
    stated = call.optional(2)
    factors = [float(f) for f in stated.tolist()] if stated is not None else []
    sizes = call.integers(3)
    coordinate = call.only("coordinate_transformation_mode", "half_pixel", *_COORDINATES)
    mode = call.only("mode", "nearest", "nearest", "linear", "cubic")
    rounding = call.only("nearest_mode", "round_prefer_floor", *_NEAREST)
    cubic = float(call.get("cubic_coeff_a", -0.75))
    for position, axis in enumerate(axes):
        old = values.shape[axis]
        new = sizes[position] if sizes else math.floor(old * factors[position])
        factor = new / old if sizes else factors[position]
        if new == old and factor == 1.0:
            continue
        places = [_COORDINATES[coordinate](i, factor, old, new) for i in range(new)]
        values = _resampled(values, axis, _taps(places, old, mode, _NEAREST[rounding], cubic))
    return values


@TABLE.operator("Upsample", "mode", "scales", host=1)
def upsample(call: Call) -> Tensor:
    """Enlarge by factors: position i of the output is position i / factor of the input."""
    values = call.needed(0)
    mode = call.only("mode", "nearest", "nearest", "linear")
    stated = call.optional(1)
    factors = call.get("scales") if stated is None else stated.tolist()
    for axis, factor in enumerate(factors):
        old = values.shape[axis]
        if factor != 1.0:
            places = [i / factor for i in range(math.floor(old * factor))]
            values = _resampled(values, axis, _taps(places, old, mode, math.floor, 0.0))
    return values


def _taps(
    places: Sequence[float], old: int, mode: str, nearest: Callable[[float], int], cubic: float
) -> _Taps:
    """Return the neighbours of each place and their weights; outside, the edge goes on."""
    if mode == "nearest":
        return [([_held(nearest(place), old) for place in places], [1.0] * len(places))]
    floors = [math.floor(place) for place in places]
    parts = [place - floor for place, floor in zip(places, floors, strict=True)]
    if mode == "linear":
        weights = [[1.0 - part for part in parts], parts]
        first = 0
    else:
        weights = [[_cubic(part - tap, cubic) for part in parts] for tap in (-1, 0, 1, 2)]
        first = -1
    return [
        ([_held(floor + tap, old) for floor in floors], weight)
        for tap, weight in enumerate(weights, first)
    ]


def _cubic(distance: float, a: float) -> float:
    """Weight of an entry at a distance (Keys 1981, with coefficient a)."""
    x = abs(distance)
    if x <= 1.0:
        return (a + 2.0) * x**3 - (a + 3.0) * x**2 + 1.0
    return a * x**3 - 5.0 * a * x**2 + 8.0 * a * x - 4.0 * a if x < 2.0 else 0.0


def _held(place: int, length: int) -> int:
    return min(max(place, 0), length - 1)


def _resampled(values: Tensor, axis: int, taps: _Taps) -> Tensor:
    shape = [1] * values.ndim
    shape[axis] = -1
    total: Tensor | None = None
    for places, weights in taps:
        taken = values.index_select(axis, torch.tensor(places, device=values.device))
        if len(taps) > 1:
            factor = torch.tensor(weights, dtype=values.dtype, device=values.device)
            taken = taken * factor.reshape(shape)
        total = taken if total is None else total + taken
    assert total is not None  # noqa: S101 -- there is always one neighbour
    return total
