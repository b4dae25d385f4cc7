"""Distance from a cell: by how much a model's output misses what a file says (DESIGN section 2)."""

from __future__ import annotations

import torch
from torch import Tensor


def cell_residual(values: Tensor, low: Tensor, high: Tensor, slack: float = 0.0) -> Tensor:
    """Signed distance by which `values` lie outside the box [low - slack, high + slack].

    Zero inside the box, positive above it, negative below it. Differentiable by forward and
    reverse mode; the derivative is 0 inside and 1 outside.

    Args:
        values: ... x m, what the operator makes of a picture.
        low: ... x m (broadcast), lower bounds; -inf where the cell is open.
        high: ... x m (broadcast), upper bounds; +inf where the cell is open.
        slack: width of the strip around the box that still counts as inside.

    Returns:
        ... x m in the units of `values`.

    """
    above = (values - (high + slack)).clamp(min=0)
    below = ((low - slack) - values).clamp(min=0)
    return above - below


def trimmed(residual: Tensor, groups: Tensor, share: float) -> Tensor:
    """Put 0 for the groups of coordinates with the largest mean squares: least trimmed squares.

    Not finite coordinates stay so.

    Args:
        residual: B x m.
        groups: m int64, to which group each coordinate belongs; 0 … g - 1.
        share: of the groups, rounded down.

    Returns:
        B x m (Rousseeuw, Least Median of Squares Regression, JASA 79, 1984).

    """
    count = int(groups.max()) + 1
    sizes = torch.bincount(groups, minlength=count).double()
    sums = torch.zeros(len(residual), count, dtype=torch.float64, device=residual.device)
    means = sums.index_add(1, groups, residual.detach().double().square()) / sizes
    kept = count - int(share * count)
    limit = means.kthvalue(kept, dim=1, keepdim=True).values
    return residual * (means <= limit)[:, groups]


def mean_squared(residual: Tensor) -> Tensor:
    """Mean of the squares over the last dimension, accumulated in float64.

    Args:
        residual: ... x m.

    Returns:
        ... float64.

    """
    return residual.double().square().mean(dim=-1)
