"""Floating-point operations of a model, counted while it runs.

The formulas are torch's own (`torch.utils.flop_counter`): two operations for each multiply-add of a
matrix product or a convolution, and nothing for what is done number by number. They are applied
where operators are dispatched, which scripted and exported programmes pass through as well. An
operator that multiplies matrices and has no formula is named instead of being passed over.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

#: Operators of which torch's counter has no formula though they multiply, by name; FLOPs for each
#: number of their largest operand. A matrix times a vector uses each number of the matrix once.
_PER_NUMBER = {"aten.mv": 2, "aten.addmv": 2, "aten.dot": 2, "aten.vdot": 2}
#: Parts of the names of those that cannot be counted here.
_HEAVY = (
    "attention",
    "_attn",
    "_transformer_encoder",
    "rnn",
    "lstm",
    "gru",
    "fft",
    "cdist",
    "mkldnn_linear",
    "linalg",
    "addbmm",
    "quantized",
)


class FlopCounter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts what is dispatched in its context.

    Attributes:
        flops: by operator, such as `aten.convolution`.
        calls: by operator, those that move or combine single numbers among them.

    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.flops: dict[str, int] = {}
        self.calls: dict[str, int] = {}

    @property
    def total(self) -> int:
        """FLOPs so far."""
        return sum(self.flops.values())

    @property
    def uncounted(self) -> list[str]:
        """Operators that were called, multiply matrices, and have no formula."""
        return sorted(
            name
            for name in self.calls
            if name not in self.flops and any(part in name for part in _HEAVY)
        )

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        given = dict(kwargs or {})
        packet = func._overloadpacket  # noqa: SLF001 - torch's name for it
        if packet not in flop_registry:
            with self:  # what is made of other operators is counted by those
                result = func.decompose(*args, **given)
            if result is not NotImplemented:
                return result
        result = func(*args, **given)
        name = str(packet)
        self.calls[name] = self.calls.get(name, 0) + 1
        if packet in flop_registry:
            count = int(flop_registry[packet](*args, **given, out_val=result))
            self.flops[name] = self.flops.get(name, 0) + count
        elif name in _PER_NUMBER:
            largest = max(a.numel() for a in args if isinstance(a, Tensor))
            self.flops[name] = self.flops.get(name, 0) + _PER_NUMBER[name] * largest
        return result


def count_flops(run: Callable[[], object], counter: FlopCounter | None = None) -> FlopCounter:
    """Run something without gradients and return what was counted, by `counter` if one is given.

    Attention is taken apart into matrix products, as in the search.
    """
    counter = counter or FlopCounter()
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # whole layers in one operator otherwise
    try:
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), cast("Any", counter):
            run()
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    return counter
