"""Batch norm folded into the layer before it: the same function in fewer passes over memory.

In evaluation mode a batch norm is an affine map per channel, which the convolution or linear layer
before it can take over. Only direct neighbours in an `nn.Sequential` are folded, where nothing can
come between them. Source: torch.nn.utils.fusion.
"""

from __future__ import annotations

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def fold_batch_norms(module: nn.Module) -> nn.Module:
    """Fold the batch norms of a module in evaluation mode, in place where they are nested.

    Sequentials with hooks, and norms without running statistics, stay as they are.
    """
    for name, child in list(module.named_children()):
        setattr(module, name, fold_batch_norms(child))
    return _folded(module) if type(module) is nn.Sequential else module


def _folded(sequence: nn.Sequential) -> nn.Sequential:
    hooked = any(m._forward_hooks or m._forward_pre_hooks for m in sequence)  # noqa: SLF001
    if hooked or not any(isinstance(m, _NORMS) for m in sequence):
        return sequence
    layers: list[nn.Module] = []
    for layer in sequence:
        fused = _fused(layers[-1], layer) if layers else None
        if fused is None:
            layers.append(layer)
        else:
            layers[-1] = fused
    return nn.Sequential(*layers)


def _fused(before: nn.Module, norm: nn.Module) -> nn.Module | None:
    if not isinstance(norm, _NORMS) or norm.running_mean is None or norm.running_var is None:
        return None
    if before.training or norm.training:
        return None
    # Exact types: a subclass, such as one with spectral norm, computes something else.
    if isinstance(before, _CONVOLUTIONS) and type(before) in _CONVOLUTIONS:
        return fuse_conv_bn_eval(before, norm)
    if isinstance(before, _TRANSPOSED) and type(before) in _TRANSPOSED and before.groups == 1:
        return fuse_conv_bn_eval(before, norm, transpose=True)
    if type(before) is nn.Linear:
        return fuse_linear_bn_eval(before, norm)
    return None
