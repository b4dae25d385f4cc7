"""A network that guesses the latent of a picture: the warm start of every search.

It is trained at registration on nothing but the generator's own outputs (DESIGN section 2, "The
hard tail"). Validity never rests on it: controls go through the same one. What rests on it is
power. For class labels, which are enumerated, it yields logits, and with them an order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from deniability.errors import CommitmentError
from deniability.generators.base import Generator
from deniability.wire.generator import GeneratorSpec

_WIDTHS = (32, 64, 128, 256)  # channels of the strided convolutions
_RATE = 2e-3  # of Adam
_PASSES = 3  # how often each output is seen: fresh ones cost more than another look
_POOL = 2**29  # bytes of 8-bit outputs that are kept for that at once
_NOISE = 4.0 / 255.0  # training pictures get noise up to this, so that JPEG is not foreign
_HELD_OUT = 512  # outputs on which the guess's error is measured


class EncoderNetwork(nn.Module):
    """Strided convolutions with batch norm down to at most 4 x 4, then a linear layer.

    Args:
        channels, height, width: of the pictures, `B x C x H x W in [0, 1]`.
        dimension: d; with class labels, of the other numbers and the logits (`head_size`).

    """

    def __init__(self, channels: int, height: int, width: int, dimension: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        size = (height, width)
        depth = 0
        while max(size) > 4:
            out = _WIDTHS[min(depth, len(_WIDTHS) - 1)]
            stride = 4 if max(size) > 64 else 2
            down, across = (stride if side > 4 else 1 for side in size)  # a short side stays
            kernel = (down + 2, across + 2)
            layers.append(nn.Conv2d(channels, out, kernel, (down, across), 1, bias=depth == 0))
            if depth > 0:
                layers.append(nn.BatchNorm2d(out))
            layers.append(nn.LeakyReLU(0.2))
            channels = out
            size = (size[0] // down, size[1] // across)
            depth += 1
        self.features = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(size), nn.Flatten())
        self.head = nn.Linear(channels * size[0] * size[1], dimension)

    def forward(self, pictures: Tensor) -> Tensor:
        """Guess latents `B x dimension` of pictures `B x C x H x W in [0, 1]`."""
        guess: Tensor = self.head(self.features(2 * pictures - 1))
        return guess


def head_size(spec: GeneratorSpec) -> int:
    """How many numbers the network yields: those of the latent, and a logit for each class."""
    return spec.dimension + sum(classes - 1 for _, classes in spec.labels)


@dataclass(frozen=True)
class Layout:
    """How the network's outputs stand for a latent: its free numbers, then each label's logits.

    Attributes:
        free: columns of the latent that are no labels, `f` int64.
        labels: column and number of classes of each label.

    """

    free: Tensor
    labels: tuple[tuple[int, int], ...]

    def split(self, outputs: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return the free numbers `B x f`, and of each label the logits `B x classes`."""
        sizes = [len(self.free), *(classes for _, classes in self.labels)]
        numbers, *logits = torch.split(outputs, sizes, dim=1)
        return numbers, tuple(logits)

    def latents(self, outputs: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
        """Return latents `B x d` with the likeliest labels."""
        numbers, logits = self.split(outputs)
        latents = mean.expand(len(outputs), -1).clone()
        latents[:, self.free] = numbers * scale[self.free] + mean[self.free]
        for (column, _), scores in zip(self.labels, logits, strict=True):
            latents[:, column] = _finite(scores).argmax(dim=1).to(latents.dtype)
        return latents

    def order(self, outputs: Tensor) -> Tensor:
        """Return all combined labels, the likeliest first, `B x labels` int64; ties by number."""
        _, logits = self.split(outputs)
        joint = torch.zeros(len(outputs), 1, dtype=outputs.dtype, device=outputs.device)
        for scores in logits:
            likely = torch.log_softmax(_finite(scores), dim=1)
            joint = (joint[:, :, None] + likely[:, None, :]).flatten(1)
        return joint.argsort(dim=1, descending=True, stable=True)

    def loss(self, outputs: Tensor, latents: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
        """Squared error of the standardised numbers plus each label's cross-entropy."""
        numbers, logits = self.split(outputs)
        wanted = ((latents - mean) / scale)[:, self.free]
        loss = (numbers - wanted).square().mean()
        for (column, _), scores in zip(self.labels, logits, strict=True):
            loss = loss + nn.functional.cross_entropy(scores, latents[:, column].long())
        return loss


def layout_of(generator: Generator) -> Layout | None:
    """Return how an encoder's outputs stand for this generator's latent; None without labels."""
    if generator.free is None:
        return None
    return Layout(generator.free, generator.spec.labels)


def _finite(scores: Tensor) -> Tensor:
    return torch.nan_to_num(scores, nan=0.0, posinf=1e4, neginf=-1e4)


@dataclass(frozen=True)
class Encoder:
    """A trained network with the error of its guess.

    Attributes:
        network: in evaluation mode.
        mean, scale: of the prior, `d`; the network works in standardised latents.
        error: root mean squared error of the guess per latent number on held-out outputs, `d`;
            0 for labels.
        layout: of a generator with class labels.

    """

    network: EncoderNetwork
    mean: Tensor
    scale: Tensor
    error: Tensor
    layout: Layout | None = None

    def guess(self, pictures: Tensor) -> Tensor:
        """Return latents `B x d` for pictures `B x C x H x W in [0, 1]`.

        A guess that is not finite becomes the prior's mean.
        """
        return self._latents(self._outputs(pictures))

    def guess_with_labels(self, pictures: Tensor) -> Tensor:
        """Return the same with all combined labels behind it, the likeliest first.

        `B x (d + labels)`; without class labels `B x d`.
        """
        outputs = self._outputs(pictures)
        latents = self._latents(outputs)
        if self.layout is None:
            return latents
        return torch.cat([latents, self.layout.order(outputs).to(latents.dtype)], dim=1)

    def _outputs(self, pictures: Tensor) -> Tensor:
        with torch.no_grad():
            return torch.cat([self.network(part) for part in pictures.split(256)])  # type: ignore[no-untyped-call]

    def _latents(self, outputs: Tensor) -> Tensor:
        if self.layout is not None:
            latents = self.layout.latents(outputs, self.mean, self.scale)
        else:
            latents = outputs * self.scale + self.mean
        return torch.where(torch.isfinite(latents), latents, self.mean)

    def tensors(self) -> dict[str, Tensor]:
        """Everything needed to rebuild it, as named CPU tensors."""
        named = {f"network.{k}": v for k, v in self.network.state_dict().items()}
        named |= {"mean": self.mean, "scale": self.scale, "error": self.error}
        return {name: tensor.detach().cpu().contiguous() for name, tensor in named.items()}


def load_encoder(tensors: Mapping[str, Tensor], generator: Generator) -> Encoder:
    """Rebuild an encoder for `generator` from `Encoder.tensors()`.

    Raises:
        CommitmentError: the tensors are not those of an encoder for this generator.

    """
    spec = generator.spec
    network = EncoderNetwork(spec.channels, spec.height, spec.width, head_size(spec))
    prefix = "network."
    state = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
    try:
        network.load_state_dict(state)
        mean, scale, error = (
            tensors[name].to(generator.device, torch.float32).reshape(generator.dimension)
            for name in ("mean", "scale", "error")
        )
    except (KeyError, RuntimeError) as cause:
        raise CommitmentError(
            "the stored encoder does not fit the model",
            where="encoder",
            found=str(cause).strip().splitlines()[-1].strip(),
            hint="Use the files that belong to this registration, or register again.",
        ) from cause
    network = network.to(generator.device).eval().requires_grad_(False)
    return Encoder(network, mean, scale, error, layout_of(generator))


@dataclass
class EncoderTraining:
    """Resumable training: `step` until `done`, `tensors` and `restore` between sessions.

    Args:
        generator: whose outputs it learns from.
        seed: 32 derived bytes; fixes initial weights and every batch.
        outputs: how many own outputs it sees, each several times under fresh noise.
        sample: draws `n` prior latents `n x d` (CPU float32) from a `torch.Generator`.

    """

    generator: Generator
    seed: bytes
    outputs: int
    sample: Callable[[torch.Generator, int], Tensor]
    batch: int = 128

    def __post_init__(self) -> None:
        self._device = self.generator.device
        probe = self.sample(self._stream(2**31), 4096)
        self.mean = probe.mean(dim=0).to(self._device)
        self.scale = probe.std(dim=0).clamp_min(1e-6).to(self._device)
        spec = self.generator.spec
        self._layout = layout_of(self.generator)
        if self._layout is not None:  # a label's column is not standardised
            labels = [column for column, _ in self._layout.labels]
            self.mean[labels], self.scale[labels] = 0.0, 1.0
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int.from_bytes(self.seed[:8], "big") >> 1)
            network = EncoderNetwork(spec.channels, spec.height, spec.width, head_size(spec))
        self.network = network.to(self._device).train()
        self._batches = max(1, self.outputs // self.batch)
        size = self.batch * spec.channels * spec.height * spec.width
        self._pooled = min(self._batches, max(1, _POOL // size))
        self._pool: list[tuple[int, Tensor, Tensor]] = []
        self.total = self._batches * _PASSES
        self.steps = 0
        self._optimiser = torch.optim.Adam(self.network.parameters(), lr=_RATE, betas=(0.9, 0.99))

    @property
    def done(self) -> bool:
        """Whether every output has been seen."""
        return self.steps >= self.total

    def step(self) -> float:
        """Take one gradient step and return its loss (standardised latents)."""
        stream = self._stream(self._batches + self.steps)
        latents, stored = self._outputs()
        pictures = stored.float() / 255
        strength = _NOISE * torch.rand(self.batch, 1, 1, 1, generator=stream)
        noise = torch.randn(pictures.shape, generator=stream) * strength
        pictures = (pictures + noise.to(self._device)).clamp(0, 1)
        warm = min(1.0, (self.steps + 1) / 50)
        remaining = 1 - self.steps / self.total
        for group in self._optimiser.param_groups:
            group["lr"] = _RATE * warm * max(0.02, remaining)
        outputs = self.network(pictures)
        if self._layout is None:
            loss = (outputs - (latents - self.mean) / self.scale).square().mean()
        else:
            loss = self._layout.loss(outputs, latents, self.mean, self.scale)
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self._optimiser.step()
        self.steps += 1
        return float(loss.detach())

    def _outputs(self) -> tuple[Tensor, Tensor]:
        """Return the batch of the next step: latents, and 8-bit pictures.

        The pool is filled as the first pass goes over it; further passes shuffle batches and mix
        nothing between them. A resumed training fills it again.
        """
        first = self.steps // (self._pooled * _PASSES) * self._pooled
        size = min(self._pooled, self._batches - first)
        turn, position = divmod(self.steps - first * _PASSES, size)
        if self._pool and self._pool[0][0] != first:
            self._pool = []
        while len(self._pool) < (position + 1 if turn == 0 else size):
            self._pool.append(self._generate(first + len(self._pool)))
        if turn > 0:
            order = torch.randperm(size, generator=self._stream(2**32 + first * _PASSES + turn))
            position = int(order[position])
        return self._pool[position][1:]

    def _generate(self, index: int) -> tuple[int, Tensor, Tensor]:
        latents = self.sample(self._stream(index), self.batch).to(self._device)
        with torch.no_grad():
            pictures = torch.nan_to_num(self.generator(latents)).clamp(0, 1)
        return index, latents, (pictures * 255).round().to(torch.uint8)

    def finish(self) -> Encoder:
        """Measure the guess on held-out outputs and freeze the network."""
        network = self.network.eval().requires_grad_(False)
        ones = torch.ones_like(self.mean)
        encoder = Encoder(network, self.mean, self.scale, ones, self._layout)
        latents = self.sample(self._stream(2**31 + 1), _HELD_OUT).to(self._device)
        with torch.no_grad():
            pictures = torch.cat([self.generator(part) for part in latents.split(128)])  # type: ignore[no-untyped-call]
        error = (encoder.guess(torch.nan_to_num(pictures)) - latents).square().mean(dim=0).sqrt()
        if self._layout is not None:
            error[[column for column, _ in self._layout.labels]] = 0.0
        return Encoder(network, self.mean, self.scale, error, self._layout)

    def tensors(self) -> dict[str, Tensor]:
        """Return weights, optimiser moments and the step count, as CPU tensors."""
        named = {f"network.{k}": v for k, v in self.network.state_dict().items()}
        for name, parameter in self.network.named_parameters():
            for key, value in self._optimiser.state.get(parameter, {}).items():
                named[f"adam.{key}.{name}"] = torch.as_tensor(value)
        named["steps"] = torch.tensor(self.steps)
        return {name: tensor.detach().cpu().clone() for name, tensor in named.items()}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Continue from `tensors()` of an earlier session."""
        prefix = "network."
        self.network.load_state_dict(
            {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
        )
        for name, parameter in self.network.named_parameters():
            self._optimiser.state[parameter] = {
                key: tensors[f"adam.{key}.{name}"].to("cpu" if key == "step" else self._device)
                for key in ("step", "exp_avg", "exp_avg_sq")
            }
        self.steps = int(tensors["steps"])

    def _stream(self, index: int) -> torch.Generator:
        word = int.from_bytes(self.seed[8:16], "big") ^ index
        return torch.Generator().manual_seed(word & (2**63 - 1))
