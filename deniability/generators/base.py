"""The generator as the rest of the program sees it: a function from latents to pictures.

Running a model is running its author's code. The adapters refuse files that would execute code
merely by being opened, but a forward pass is the model's own programme: run models that you would
run anyway, or run them in a sandbox.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from deniability.crypto.canonical import canonical_json
from deniability.crypto.digest import FileDigest, model_digest, sha256_hex
from deniability.errors import GeneratorError
from deniability.wire.generator import GeneratorSpec, LatentPart

with warnings.catch_warnings():
    # torch.func.jvp imports this module when first used, and torch 2.13 then says, once for each
    # decomposition in it, that its own use of torch.jit.script is deprecated. Imported here, under
    # the lock that every import takes, the message is heard by nobody and no filter stays behind.
    warnings.filterwarnings(
        "ignore", message=r"`torch\.jit\.script` is deprecated", category=DeprecationWarning
    )
    with contextlib.suppress(ImportError):
        __import__("torch._decomp.decompositions_for_jvp")

#: A module's forward pass: one tensor R x shape for each latent part, to R x (C x) H x W.
Forward = Callable[..., Tensor]
#: How a module takes several samples: together; one by one under `torch.func.vmap`; in a loop.
Batching = Literal["together", "vmap", "loop"]


class Generator:
    """A loaded generator in evaluation mode, its parameters detached.

    Args:
        module: the network, for its weights.
        forward: its forward pass in the module's own layout.
        spec: what the registration will say of it.
        device: where it lives.
        files: the files that it was read from.
        batching: how `forward` takes several samples.

    Attributes:
        free: columns of a latent that are no labels, which a solver may move; None if all are.

    """

    def __init__(
        self,
        *,
        module: nn.Module,
        forward: Forward,
        spec: GeneratorSpec,
        device: torch.device,
        files: Sequence[FileDigest],
        batching: Batching = "together",
    ) -> None:
        self.module = module
        self.spec = spec
        self.device = device
        self.files = tuple(files)
        self.batching: Batching = batching
        self._forward = forward
        self._mantissa: int | None = None
        self._lock = threading.RLock()
        self._low, self._high = (float(bound) for bound in spec.output_range)
        self._sizes = [part.size for part in spec.latent]
        self._shapes = [part.shape for part in spec.latent]
        self.free = _free_columns(spec, device)

    @property
    def dimension(self) -> int:
        """Total number of latent numbers d, all parts flattened in order."""
        return self.spec.dimension

    @property
    def weights_digest(self) -> str:
        """Sha256 (hex) over the files' contents: canonical JSON list of their sorted sha256."""
        return sha256_hex(canonical_json(sorted(file.sha256 for file in self.files)))

    @property
    def digest(self) -> str:
        """The model digest (hex), in which file names count."""
        return model_digest(self.files)

    def __call__(self, latents: Tensor) -> Tensor:
        """Return the pictures of `latents`.

        Differentiable by reverse and by forward mode, and usable under `torch.func.vmap`.

        Args:
            latents: R x d float32 on `self.device`.

        Returns:
            R x C x H x W float32 in [0, 1]; NaN where the model yields NaN.

        Raises:
            GeneratorError: the module failed, or its output has another size than declared. The
                module's own error is the cause. Running out of memory is passed on as it is.

        """
        raw = self.raw(latents)
        pictures = (raw - self._low) * (1.0 / (self._high - self._low))
        return pictures.clamp(0.0, 1.0)

    def raw(self, latents: Tensor) -> Tensor:
        """Return what the module itself yields: R x C x H x W, in its own output range."""
        if latents.ndim != 2 or latents.shape[1] != self.dimension:
            raise GeneratorError(
                "latents of another shape than the generator takes",
                expected=f"R x {self.dimension}",
                found=" x ".join(map(str, latents.shape)),
            )
        given = latents
        if self._mantissa is not None:
            latents = round_mantissa(latents, self._mantissa)
        parts = self.parts(latents)
        spec = self.spec
        if self.free is not None:  # labels: never rounded as numbers are, never differentiated
            columns = torch.split(given, self._sizes, dim=1)
            parts = [
                part if described.classes is None else encode_label(column[:, 0], described)
                for part, column, described in zip(parts, columns, spec.latent, strict=True)
            ]
        pictures = self._run(parts)
        if tuple(pictures.shape[-3:]) != (spec.channels, spec.height, spec.width):
            raise GeneratorError(
                "the model's output has another size than declared",
                where="[output] size",
                expected=f"{spec.channels} x {spec.height} x {spec.width}",
                found=" x ".join(map(str, pictures.shape[-3:])),
            )
        return pictures

    def parts(self, latents: Tensor) -> list[Tensor]:
        """Split latents `R x d` into the model's inputs, in order, a label still being a number."""
        split = torch.split(latents, self._sizes, dim=1)
        return [
            part.reshape(len(latents), *shape)
            for part, shape in zip(split, self._shapes, strict=True)
        ]

    def quantise(self, pictures: Tensor) -> Tensor:
        """Return `pictures` (R x C x H x W in [0, 1]) as uint8, the way the service stores them.

        `round` is half to even of 255·x, `truncate` drops the fraction. NaN becomes 0.
        """
        steps = torch.nan_to_num(pictures.detach() * 255.0, nan=0.0)
        steps = steps.round() if self.spec.rounding == "round" else steps.floor()
        return steps.clamp(0.0, 255.0).to(torch.uint8)

    @contextlib.contextmanager
    def perturbed(self, mantissa_bits: int) -> Iterator[None]:
        """Round weights and latents to `mantissa_bits` explicit bits for the time of the context.

        10 is what TF32 and half precision keep, 7 is bfloat16. It imitates a service that computes
        in less than float32. No other thread may use the generator meanwhile.
        """
        if not 1 <= mantissa_bits <= 23:
            raise GeneratorError(
                "no such precision", expected="1 to 23 mantissa bits", found=str(mantissa_bits)
            )

        def rounded(tensors: Sequence[Tensor]) -> None:
            for tensor in tensors:
                tensor.copy_(round_mantissa(tensor, mantissa_bits))

        with self.altered(rounded):
            before = self._mantissa
            try:
                self._mantissa = mantissa_bits
                yield
            finally:
                self._mantissa = before

    @contextlib.contextmanager
    def altered(self, change: Callable[[Sequence[Tensor]], None]) -> Iterator[None]:
        """Let `change` write to the weights for the time of the context, then restore them.

        No other thread may use the generator meanwhile.

        Args:
            change: gets every floating-point tensor of the module, without recording gradients.

        """
        with self._lock:
            tensors = floating_tensors(self.module)
            saved = [tensor.detach().clone() for tensor in tensors]
            try:
                with torch.no_grad():
                    change(tensors)
                yield
            finally:
                with torch.no_grad():
                    for tensor, original in zip(tensors, saved, strict=True):
                        tensor.copy_(original)

    def _run(self, parts: Sequence[Tensor]) -> Tensor:
        try:
            return run_batched(self._forward, parts, self.batching)
        except (GeneratorError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            raise GeneratorError(
                "the model failed in its forward pass",
                found=last_line(error),
                expected=f"inputs of {describe_shapes(parts)} to be accepted",
            ) from error


def _free_columns(spec: GeneratorSpec, device: torch.device) -> Tensor | None:
    labels = {column for column, _ in spec.labels}
    if not labels:
        return None
    free = [column for column in range(spec.dimension) if column not in labels]
    return torch.tensor(free, dtype=torch.int64, device=device)


def encode_label(values: Tensor, part: LatentPart) -> Tensor:
    """Return a label part as the model takes it: R int64, or one-hot R x classes float32.

    Args:
        values: R numbers, of which the nearest label counts; NaN is label 0.
        part: the label's description.

    """
    classes = part.classes or 1
    index = torch.nan_to_num(values.detach()).round().clamp(0, classes - 1).to(torch.int64)
    if part.encoding == "index":
        return index
    numbers = torch.arange(classes, device=index.device)
    return (index[:, None] == numbers).to(torch.float32)


def as_pictures(output: object) -> Tensor:
    """Return a module's output as R x C x H x W; a missing channel axis is added.

    Raises GeneratorError if it is not a tensor of pictures.
    """
    if isinstance(output, (tuple, list)) and len(output) == 1:
        output = output[0]
    if not isinstance(output, Tensor):
        raise GeneratorError(
            "the model does not return a picture",
            expected="one tensor of R x C x H x W",
            found=f"an object of type {type(output).__name__}",
            hint="Wrap the model so that forward returns the pictures alone, and save it again.",
        )
    if output.ndim == 3:
        output = output.unsqueeze(1)
    if output.ndim != 4:
        raise GeneratorError(
            "the model does not return a picture",
            expected="a tensor of R x C x H x W, or R x H x W for gray pictures",
            found=f"{output.ndim} axes: " + " x ".join(map(str, output.shape)),
            hint="Wrap the model so that forward reshapes its output, and save it again.",
        )
    return output.to(torch.float32)


def round_mantissa(values: Tensor, bits: int) -> Tensor:
    """Return float32 `values` rounded (half to even) to `bits` explicit mantissa bits, 1 … 23.

    Other types are returned as they are, so are infinities and NaN. Not differentiable.
    """
    if values.dtype != torch.float32 or bits == 23:
        return values
    shift = 23 - bits
    word = values.detach().contiguous().view(torch.int32)
    odd = torch.bitwise_and(torch.bitwise_right_shift(word, shift), 1)
    rounded = torch.bitwise_and(word + odd + ((1 << (shift - 1)) - 1), -(1 << shift))
    return torch.where(torch.isfinite(values), rounded.view(torch.float32), values)


def floating_tensors(module: nn.Module) -> list[Tensor]:
    """Return every floating-point tensor of `module`, each storage once: weights and constants."""
    found: dict[int, Tensor] = {}
    for tensor in (*module.parameters(), *module.buffers()):
        found.setdefault(id(tensor), tensor)
    if not isinstance(module, torch.jit.ScriptModule):
        for part in module.modules():
            for value in vars(part).values():
                if isinstance(value, Tensor):
                    found.setdefault(id(value), value)
    return [tensor for tensor in found.values() if tensor.is_floating_point()]


def last_line(error: BaseException) -> str:
    """Return the last line of an error's message, printable and not too long."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[-1] if lines else type(error).__name__
    return "".join(c if c.isprintable() else " " for c in text)[:300]


def describe_shapes(parts: Sequence[Tensor]) -> str:
    """Return the shapes of `parts` for a message."""
    return ", ".join(" x ".join(map(str, part.shape)) for part in parts)


def run_batched(forward: Forward, parts: Sequence[Tensor], batching: Batching) -> Tensor:
    """Run a forward pass on R samples the way that it takes them; returns R x C x H x W.

    What it prints goes to stderr. Whatever the module raises is passed on; GeneratorError if its
    output is not a picture, or it ends the program.
    """
    try:
        with contextlib.redirect_stdout(sys.stderr):
            return _batched(forward, parts, batching)
    except SystemExit as error:
        raise GeneratorError(
            "the model ended the program in its forward pass", found=f"SystemExit: {error.code}"
        ) from error


def _batched(forward: Forward, parts: Sequence[Tensor], batching: Batching) -> Tensor:
    if batching == "together":
        return as_pictures(forward(*parts))
    if batching == "loop":
        rows = zip(*(torch.split(part, 1) for part in parts), strict=True)
        return torch.cat([as_pictures(forward(*row)) for row in rows])

    def single(*sample: Tensor) -> Tensor:
        return as_pictures(forward(*(part.unsqueeze(0) for part in sample))).squeeze(0)

    pictures: Tensor = torch.func.vmap(single)(*parts)
    return pictures
