"""Train the built-in generator: a small GAN on Fashion-MNIST.

    python examples/train_generator.py --seed 1 --out fashion.safetensors --sheet sheet.png

The pictures come from Debian's package `dataset-fashion-mnist` (MIT licence); labels are not used.
Every random draw follows from `--seed`, so one machine, torch release and number of threads gives
the same bytes again.

The recipe: non-saturating logistic loss with a lazy R1 penalty on real pictures (Mescheder et al.
2018, Karras et al. 2020), a minibatch standard deviation channel for variety (Karras et al. 2018),
and a head that reads the latent back from the picture (Chen et al. 2016, "InfoGAN"), which keeps
the generator from ignoring a latent direction. The generator's weights are averaged over the
steps (EMA), its batch norm statistics are taken anew under that average, and the batch norm is
then folded into the convolutions, so that what is saved is plain convolutions.
"""

from __future__ import annotations

import argparse
import copy
import gzip
import hashlib
import json
import sys
import time
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from deniability.errors import DeniabilityError, InputError, OutputError
from deniability.generators.builtin.network import LATENT_DIMENSION, LEAK, FashionGenerator

DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
TRAINING_FILE = "train-images-idx3-ubyte.gz"
SIDE = 28


@dataclass(frozen=True)
class Recipe:
    """Everything that shapes a training apart from the data."""

    seed: int
    epochs: int
    batch: int = 32
    rate: float = 4e-4
    r1_weight: float = 0.05
    r1_every: int = 16
    latent_weight: float = 0.3
    average_halving_steps: float = 700.0


def read_pictures(folder: Path) -> tuple[Tensor, str]:
    """Read the training pictures, N x 28 x 28 uint8, and the sha256 of their file.

    The format is idx3: big-endian magic 2051, count, height, width, then the bytes.

    Raises:
        InputError: the file is missing or is not the gzipped idx file it should be.

    """
    path = folder / TRAINING_FILE
    try:
        packed = path.read_bytes()
    except OSError as error:
        raise InputError(
            "no training pictures",
            where=str(path),
            expected="the gzipped idx file of Fashion-MNIST",
            found=error.strerror,
            hint="Install Debian's package: apt install dataset-fashion-mnist, or give --data.",
        ) from error
    try:
        raw = gzip.decompress(packed)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError("not a gzip file", where=str(path), found=str(error)) from error
    header = np.frombuffer(raw[:16].ljust(16, b"\0"), dtype=">u4")
    magic, count, height, width = (int(value) for value in header)
    if (magic, height, width) != (2051, SIDE, SIDE) or len(raw) != 16 + count * SIDE * SIDE:
        raise InputError(
            "not an idx file of 28 x 28 pictures",
            where=str(path),
            expected=f"magic 2051, 28 x 28, {16 + count * SIDE * SIDE} bytes",
            found=f"magic {magic}, {height} x {width}, {len(raw)} bytes",
        )
    pixels = np.frombuffer(raw, dtype=np.uint8, offset=16).reshape(count, SIDE, SIDE)
    return torch.from_numpy(pixels.copy()), hashlib.sha256(packed).hexdigest()


def with_batch_norm(plain: FashionGenerator) -> nn.Sequential:
    """Build the network as it is trained: a batch norm after each hidden convolution."""
    layers: list[nn.Module] = []
    for layer in plain.layers:
        layers.append(layer)
        last = layer is plain.layers[-2]
        if isinstance(layer, nn.ConvTranspose2d):
            nn.init.normal_(layer.weight, std=0.05)
            if not last:
                layers.append(nn.BatchNorm2d(layer.out_channels))
    return nn.Sequential(*layers)


def folded(trained: nn.Sequential) -> FashionGenerator:
    """Build the same function without batch norm (`trained` in eval mode)."""
    plain = FashionGenerator()
    layers: list[nn.Module] = []
    for layer in trained:
        if isinstance(layer, nn.BatchNorm2d):
            before = cast("nn.ConvTranspose2d", layers[-1])
            layers[-1] = fuse_conv_bn_eval(before, layer, transpose=True)
        else:
            layers.append(layer)
    plain.layers = nn.Sequential(*layers)
    return plain.eval().requires_grad_(requires_grad=False)


class Discriminator(nn.Module):
    """Realness (B) and a guess of the latent (B x 16) of pictures B x 1 x 28 x 28."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Conv2d(1, 32, 4, stride=2, padding=1),
            nn.LeakyReLU(LEAK),
            nn.Conv2d(32, 64, 4, stride=2, padding=1),
            nn.LeakyReLU(LEAK),
            nn.Conv2d(64, 128, 4, stride=2, padding=1),
            nn.LeakyReLU(LEAK),
            nn.Flatten(),
        )
        self.real = nn.Sequential(nn.Linear(1153, 64), nn.LeakyReLU(LEAK), nn.Linear(64, 1))
        self.latent = nn.Linear(1152, LATENT_DIMENSION)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        features = self.trunk(pictures)
        spread = (features.var(dim=0, unbiased=False) + 1e-8).sqrt().mean()
        spread = spread.expand(len(features), 1)
        return self.real(torch.cat([features, spread], dim=1))[:, 0], self.latent(features)


class Training:
    """One training run; `step` by step, so that `train` reads like the recipe."""

    def __init__(self, recipe: Recipe, steps: int) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe = recipe
        self.generator = with_batch_norm(FashionGenerator())
        self.average = copy.deepcopy(self.generator)
        self.discriminator = Discriminator()
        self.steps = steps
        self.done = 0
        betas = (0.5, 0.99)
        self.g_optimiser = torch.optim.Adam(
            self.generator.parameters(), lr=recipe.rate, betas=betas
        )
        self.d_optimiser = torch.optim.Adam(
            self.discriminator.parameters(), lr=recipe.rate, betas=betas
        )

    def step(self, real: Tensor) -> tuple[float, float]:
        """One step of both players on real pictures B x 1 x 28 x 28; returns their losses."""
        # constant for the first half, then linearly down to a twentieth
        fraction = max(0.05, min(1.0, 2.0 - 2.0 * self.done / self.steps))
        for group in (*self.g_optimiser.param_groups, *self.d_optimiser.param_groups):
            group["lr"] = self.recipe.rate * fraction
        z = torch.randn(len(real), LATENT_DIMENSION)
        fake = self.generator(z.reshape(-1, LATENT_DIMENSION, 1, 1))

        d_loss = self._discriminator_loss(real, fake.detach(), z)
        self.d_optimiser.zero_grad()
        torch.autograd.backward(d_loss)
        self.d_optimiser.step()

        self.discriminator.requires_grad_(requires_grad=False)
        realness, guess = self.discriminator(fake)
        latent_loss = functional.mse_loss(guess, z)
        g_loss = functional.softplus(-realness).mean() + self.recipe.latent_weight * latent_loss
        self.g_optimiser.zero_grad()
        torch.autograd.backward(g_loss)
        self.g_optimiser.step()
        self.discriminator.requires_grad_(requires_grad=True)

        self._average()
        self.done += 1
        return d_loss.item(), g_loss.item()

    def _discriminator_loss(self, real: Tensor, fake: Tensor, z: Tensor) -> Tensor:
        penalised = self.done % self.recipe.r1_every == 0
        real = real.requires_grad_(penalised)
        on_real, _ = self.discriminator(real)
        on_fake, guess = self.discriminator(fake)
        loss = functional.softplus(-on_real).mean() + functional.softplus(on_fake).mean()
        loss = loss + self.recipe.latent_weight * functional.mse_loss(guess, z)
        if penalised:
            (slope,) = torch.autograd.grad(on_real.sum(), real, create_graph=True)
            r1 = slope.square().sum(dim=(1, 2, 3)).mean()
            loss = loss + 0.5 * self.recipe.r1_weight * self.recipe.r1_every * r1
        return loss

    @torch.no_grad()
    def _average(self) -> None:
        # a short memory early on, so that the start of the training is forgotten
        keep = min(
            0.5 ** (1 / self.recipe.average_halving_steps), (self.done + 1) / (self.done + 9)
        )
        pairs = zip(self.average.parameters(), self.generator.parameters(), strict=True)
        for mean, value in pairs:
            mean.lerp_(value, 1 - keep)

    @torch.no_grad()
    def finish(self) -> FashionGenerator:
        """Return the averaged generator, its batch norm statistics taken anew and folded in."""
        averaged = copy.deepcopy(self.average).train()
        for layer in averaged:
            if isinstance(layer, nn.BatchNorm2d):
                layer.reset_running_stats()
                layer.momentum = None  # the plain mean over all batches
        for _ in range(64):
            averaged(torch.randn(256, LATENT_DIMENSION, 1, 1))
        return folded(averaged.eval())


def train(pictures: Tensor, recipe: Recipe, *, report: bool = True) -> FashionGenerator:
    """Train a generator of pictures like `pictures` (N x 28 x 28 uint8)."""
    batches = len(pictures) // recipe.batch
    training = Training(recipe, steps=recipe.epochs * batches)
    started = time.monotonic()
    for epoch in range(recipe.epochs):
        order = torch.randperm(len(pictures))
        losses = np.zeros(2)
        for batch in range(batches):
            chosen = order[batch * recipe.batch : (batch + 1) * recipe.batch]
            real = pictures[chosen].float().div(127.5).sub(1).unsqueeze(1)
            losses += training.step(real)
        if report:
            d_loss, g_loss = losses / batches
            seconds = time.monotonic() - started
            print(
                f"epoch {epoch + 1}/{recipe.epochs} D {d_loss:.3f} G {g_loss:.3f} {seconds:.0f} s"
            )
    return training.finish()


def sheet(generator: FashionGenerator, *, side: int = 10, seed: int = 0) -> Image.Image:
    """Draw a sheet of side x side pictures from `seed`."""
    draws = torch.Generator().manual_seed(seed)
    z = torch.randn(side * side, LATENT_DIMENSION, generator=draws)
    pixels = generator(z).add(1).mul(127.5).round().to(torch.uint8).reshape(side, side, SIDE, SIDE)
    rows = pixels.permute(0, 2, 1, 3).reshape(side * SIDE, side * SIDE)
    return Image.fromarray(rows.contiguous().numpy())


def weights_bytes(generator: FashionGenerator, recipe: Recipe, facts: dict[str, str]) -> bytes:
    """Serialise to safetensors, with how the weights were made in the metadata.

    One metadata key holds everything: safetensors does not keep an order among several.
    """
    made = {
        **facts,
        "seed": recipe.seed,
        "epochs": recipe.epochs,
        "recipe": {name: value for name, value in vars(recipe).items() if name != "seed"},
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "script": "examples/train_generator.py",
    }
    tensors = {name: value.contiguous() for name, value in generator.state_dict().items()}
    return save(tensors, metadata={"training": json.dumps(made, sort_keys=True)})


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, default=DEBIAN_FOLDER, help="folder of the idx files")
    parser.add_argument("--seed", type=int, default=1, help="every random draw follows from it")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1, help="part of what fixes the result")
    parser.add_argument("--out", type=Path, required=True, help="weights file to write")
    parser.add_argument("--sheet", type=Path, help="PNG file for a sheet of 100 samples")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    torch.use_deterministic_algorithms(mode=True)
    try:
        pictures, digest = read_pictures(options.data)
        recipe = Recipe(seed=options.seed, epochs=options.epochs)
        generator = train(pictures, recipe)
        facts = {
            "dataset": f"Fashion-MNIST, {TRAINING_FILE}, {len(pictures)} pictures, no labels",
            "dataset_sha256": digest,
        }
        try:
            options.out.write_bytes(weights_bytes(generator, recipe, facts))
            if options.sheet:
                sheet(generator).save(options.sheet)
        except OSError as error:
            where = str(error.filename or options.out)
            raise OutputError("cannot write", where=where, found=error.strerror) from error
    except DeniabilityError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
