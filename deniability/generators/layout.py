"""How a network's weights lie in memory: channels-last where the network bears it.

Convolutions run up to a quarter faster so on a CPU. A network that uses `.view` on what a
convolution returns fails on it, in its forward pass or only where tangents are pushed through.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from deniability.generators.base import Batching, Forward, run_batched
from deniability.generators.options import PartOptions

#: channels-last, or contiguous.
Layout = Literal["channels-last", "contiguous"]
#: The faster one first.
LAYOUTS: tuple[Layout, ...] = ("channels-last", "contiguous")
_SAMPLES = _TANGENTS = 2
_EXHAUSTED = ("out of memory", "can't allocate memory", "not enough memory")


def lay_out(module: nn.Module, layout: Layout) -> None:
    """Put the weights of `module` in place into a layout; their numbers stay the same."""
    if layout == "channels-last":
        module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return
    for tensor in (*module.parameters(), *module.buffers()):
        if tensor.ndim == 4:
            # A copy: what has one row or column is contiguous in both ways, and torch, asked for
            # one, would leave the strides of the other, which it then goes by.
            tensor.data = tensor.data.clone(memory_format=torch.contiguous_format)


def bears_tangents(
    forward: Forward,
    latents: Sequence[Tensor],
    parts: Sequence[PartOptions],
    batching: Batching,
) -> bool:
    """Tell whether tangents can be pushed through as the search does it: a `vmap` over `jvp`.

    Two samples and two tangents are tried. What fails depends on shapes and strides and never on
    numbers, so with one release of torch and one kind of device the answer is the model's alone:
    the layouts differ in the rounding of their sums, and prover and verifier must not end up with
    different ones. For the same reason running out of memory is no answer and is passed on.

    Args:
        forward: the network's forward pass.
        latents: one tensor for each part, of two samples or more.
        parts: their descriptions; labels are not differentiated.
        batching: how it takes several samples.

    """
    samples = [latent[:_SAMPLES] for latent in latents]
    moving = [place for place, part in enumerate(parts) if part.classes is None]

    def run(*values: Tensor) -> Tensor:
        inputs = list(samples)
        for place, value in zip(moving, values, strict=True):
            inputs[place] = value
        return run_batched(forward, inputs, batching)

    primals = tuple(samples[place] for place in moving)
    tangents = tuple(torch.ones(_TANGENTS, *primal.shape).to(primal) for primal in primals)
    try:
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
            torch.func.vmap(lambda *rows: quiet_jvp(run, primals, rows))(*tangents)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # a model may raise anything
        if any(words in str(error) for words in _EXHAUSTED):
            raise
        return False
    return True


def quiet_jvp(
    forward: Callable[..., Tensor], primals: tuple[Tensor, ...], tangents: tuple[Tensor, ...]
) -> Tensor:
    """Push tangents forward, one for each primal, without torch's deprecation notices."""
    with warnings.catch_warnings():
        # torch 2.13 warns that torch.jit is deprecated when a ScriptModule meets forward AD.
        warnings.filterwarnings("ignore", message=".*torch.jit.*", category=DeprecationWarning)
        warnings.filterwarnings("ignore", message=".*torch.func.*torch.jit.*", category=UserWarning)
        pushed: Tensor = torch.func.jvp(forward, primals, tangents)[1]
    return pushed
