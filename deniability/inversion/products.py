"""Products of the Jacobian of `operator(generator(z))` with vectors, without the Jacobian itself.

`Jᵀu` is a backward pass. `Jv` is another one through the first, whose result is linear in `u`
(Pearlmutter 1994), so both go over one recorded forward pass. A module that cannot be
differentiated twice gets `torch.func.jvp` instead, which runs the forward pass again each time.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from deniability.errors import GeneratorError
from deniability.generators.layout import quiet_jvp
from deniability.inversion.jacobian import Forward

_DIFFER = 1e-2  # relative, where float32 leaves some 1e-6


class Products:
    """`Jv` and `Jᵀu` at fixed latents; row b of each product concerns latent b alone.

    Args:
        forward: maps `B x d` to `B x m`, each row depending on its own latent only.
        latents: `B x d`, where J is taken.

    """

    def __init__(self, forward: Forward, latents: Tensor) -> None:
        self._forward = forward
        self._latents = latents.detach().requires_grad_(True)
        self._twice = True
        with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
            self._values = forward(self._latents)
        self._free: Tensor | None = None
        self._pulled: Tensor | None = None

    def pull(self, cotangents: Tensor) -> Tensor:
        """Return `Jᵀu`, `B x d`, for `u` of `B x m`; zero where the output is detached."""
        if not self._values.requires_grad:
            return torch.zeros_like(self._latents)
        return _backward(self._values, self._latents, cotangents)

    def push(self, tangents: Tensor) -> Tensor:
        """Return `Jv`, `B x m`, for `v` of `B x d`.

        Raises:
            GeneratorError: the module supports neither second derivatives nor forward mode.

        """
        if not self._values.requires_grad:
            return torch.zeros_like(self._values)
        if not self._twice:
            return self._by_forward_mode(tangents)
        try:
            return self._by_second_backward(tangents)
        except (GeneratorError, NotImplementedError, RuntimeError) as error:
            if isinstance(error, torch.OutOfMemoryError):
                raise
            self._twice = False
            failure = error
        try:
            return self._by_forward_mode(tangents)
        except (GeneratorError, RuntimeError, TypeError, ValueError) as error:
            raise GeneratorError(
                "the model can be differentiated neither twice nor in forward mode",
                found=f"{_last_line(failure)}; {_last_line(error)}",
                hint="Export it with torch.export (.pt2), or without the layers named above.",
            ) from error

    def _by_second_backward(self, tangents: Tensor) -> Tensor:
        if self._free is not None and self._pulled is not None:
            return _backward(self._pulled, self._free, tangents)
        self._free = torch.zeros_like(self._values).requires_grad_(True)
        self._pulled = _backward(self._values, self._latents, self._free, create_graph=True)
        pushed = _backward(self._pulled, self._free, tangents)
        # A layer that is only differentiable once drops out without a word: vᵀJᵀJv must be |Jv|².
        square, product = pushed.square().sum(dim=1), (self.pull(pushed) * tangents).sum(dim=1)
        if bool(((product - square).abs() > _DIFFER * square.abs()).any()):
            raise GeneratorError("the second derivative contradicts the first")
        return pushed

    def _by_forward_mode(self, tangents: Tensor) -> Tensor:
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
            return quiet_jvp(self._forward, (self._latents.detach(),), (tangents,))


def _backward(
    outputs: Tensor, inputs: Tensor, weights: Tensor, *, create_graph: bool = False
) -> Tensor:
    (gradient,) = torch.autograd.grad(
        outputs,
        inputs,
        weights,
        retain_graph=True,
        create_graph=create_graph,
    )
    return gradient if create_graph else gradient.detach()


def _last_line(error: Exception) -> str:
    return str(error).strip().splitlines()[-1] if str(error).strip() else repr(error)
