"""Jacobians of `operator(generator(z))` by forward-mode differentiation.

All d tangents of all restarts go forward in one pass, `torch.func.vmap` over `torch.func.jvp`
(DESIGN section 2). A module that does not work under `vmap` gets plain dual numbers on an expanded
batch instead: the same numbers at about twice the price.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from deniability.errors import GeneratorError
from deniability.generators.layout import quiet_jvp
from deniability.inversion.memory import out_of_memory

#: Maps latents `R x d` to the coordinates of the observation, `R x m`.
Forward = Callable[[Tensor], Tensor]


def _by_vmap(forward: Forward, latents: Tensor, basis: Tensor) -> Tensor:
    """Push each row of `basis` (`c x d`) through every latent: `R x m x c`."""
    tangents = basis[:, None, :].expand(-1, *latents.shape)
    columns = torch.func.vmap(lambda t: quiet_jvp(forward, (latents,), (t,)))(tangents)
    return columns.movedim(0, -1)


def _by_expansion(forward: Forward, latents: Tensor, basis: Tensor) -> Tensor:
    """Do the same with dual numbers on `R*c` copies of the latents, without `vmap`."""
    restarts, directions = len(latents), len(basis)
    expanded = latents.repeat_interleave(directions, dim=0)
    columns = quiet_jvp(forward, (expanded,), (basis.repeat(restarts, 1),))
    return columns.reshape(restarts, directions, -1).movedim(1, -1)


class Jacobian:
    """Computes `d forward / d z` for a batch of latents, choosing what the module supports.

    Args:
        forward: maps `R x d` to `R x m`, each row depending on its own latent only.
        dimension: d.
        free: columns that are differentiated; None for all. Labels are constants.
        lanes: how many pairs of latent and tangent go forward at once. On a CPU a few
            hundred use it fully; more only take memory.

    """

    def __init__(
        self, forward: Forward, dimension: int, lanes: int = 256, free: Tensor | None = None
    ) -> None:
        self._forward = forward
        self._dimension = dimension
        self._lanes = lanes
        self._free = free
        self._push: Callable[[Forward, Tensor, Tensor], Tensor] | None = None

    def __call__(self, latents: Tensor) -> Tensor:
        """Return `R x m x d` for latents `R x d`; of the free columns only, where not all are.

        Raises:
            GeneratorError: the module supports no forward-mode differentiation at all.

        """
        basis = torch.eye(self._dimension, dtype=latents.dtype, device=latents.device)
        if self._free is not None:
            basis = basis[self._free]
        columns = max(1, self._lanes // max(1, len(latents)))
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
            parts = [self._columns_of(latents, part) for part in basis.split(columns)]  # type: ignore[no-untyped-call]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)

    def _columns_of(self, latents: Tensor, basis: Tensor) -> Tensor:
        if self._push is not None:
            return self._push(self._forward, latents, basis)
        failures: list[str] = []
        for push in (_by_vmap, _by_expansion):
            try:
                columns = push(self._forward, latents, basis)
            except (GeneratorError, RuntimeError, TypeError, ValueError) as error:
                if out_of_memory(error):  # says nothing about what the module supports
                    raise
                failures.append(str(error).strip().splitlines()[-1] if str(error) else repr(error))
                continue
            self._push = push
            return columns
        raise GeneratorError(
            "the model cannot be differentiated in forward mode",
            found="; ".join(failures),
            hint="Export it with torch.export (.pt2), or without the layers named above.",
        )
