"""Four more generators of other kinds, trained here in some minutes each, seeds fixed.

    python benchmarks/zoo.py                           # train what is not in the cache

An MLP GAN, a VAE decoder and the decoder of a latent diffusion model on Fashion-MNIST (Debian's
package `dataset-fashion-mnist`, labels not used), and a StyleGAN2-style network with seeded
weights. Each is kept as a state dict with its `generator.toml`, and is loaded the way that `deny`
loads any other. Training draws follow from the seed; another torch release or CPU gives other
weights.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import diffusion
import stylegan2
import torch
import zoo_networks as networks
from torch import Tensor, nn
from torch.nn import functional

FOLDER = Path(__file__).parent.parent / ".test-data" / "benchmarks" / "zoo"
_SEED = 1
_TOML = """\
[[latent]]
name = "z"
shape = {shape}
prior = "normal"
{more}
[output]
range = [{low}, 1]
size = {size}
rounding = "round"

[entropy]
source = "{source}"
seed_bits = 32

[model]
factory = "{factory}"
"""
_TRUNCATION = """
[[latent]]
name = "psi"
shape = [1]
prior = "uniform"
low = 0.5
high = 1
"""


def pictures() -> Tensor:
    """Read the training pictures, `N x 1 x 28 x 28` in [0, 1]."""
    sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))
    import train_generator  # noqa: PLC0415 - an example beside this folder

    pixels, _ = train_generator.read_pictures(train_generator.DEBIAN_FOLDER)
    return pixels.float().div(255).unsqueeze(1)


def batches(data: Tensor, steps: int, size: int) -> Iterator[tuple[float, Tensor]]:
    """Draw batches; each comes with the factor of the learning rate, 1 down to a twentieth."""
    for step in range(steps):
        chosen = torch.randint(len(data), (size,))
        yield max(0.05, min(1.0, 2 - 2 * step / steps)), data[chosen]


def _step(optimiser: torch.optim.Optimizer, loss: Tensor, rate: float) -> None:
    for group in optimiser.param_groups:
        group["lr"] = rate
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    optimiser.step()


def train_mlp_gan(data: Tensor, steps: int = 5000) -> nn.Module:
    """Train with the logistic loss, a lazy R1 penalty, and a critic that reads the latent back."""
    generator, critic = networks.mlp_gan(), networks.MLPCritic()
    players = [torch.optim.Adam(m.parameters(), betas=(0.5, 0.99)) for m in (generator, critic)]
    for step, (factor, real) in enumerate(batches(2 * data - 1, steps, 64)):
        z = torch.randn(len(real), networks.GAN_LATENT)
        fake = generator(z)
        penalised = step % 16 == 0
        on_real, _ = critic(real.requires_grad_(penalised))
        on_fake, guess = critic(fake.detach())
        loss = functional.softplus(-on_real).mean() + functional.softplus(on_fake).mean()
        loss = loss + functional.mse_loss(guess, z)
        if penalised:
            (slope,) = torch.autograd.grad(on_real.sum(), real, create_graph=True)
            loss = loss + slope.square().sum(dim=(1, 2, 3)).mean()
        _step(players[1], loss, 3e-4 * factor)
        on_fake, guess = critic(fake)
        loss = functional.softplus(-on_fake).mean() + functional.mse_loss(guess, z)
        _step(players[0], loss, 3e-4 * factor)
    return generator


def train_vae(data: Tensor, steps: int = 2500) -> nn.Module:
    """Maximise the evidence bound (Kingma and Welling 2014)."""
    encoder, decoder = networks.VAEEncoder(), networks.vae()
    optimiser = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()])
    for factor, real in batches(data, steps, 64):
        mean, log_variance = encoder(real)
        z = mean + (log_variance / 2).exp() * torch.randn_like(mean)
        likeness = functional.binary_cross_entropy(decoder(z), real, reduction="sum")
        divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum()
        _step(optimiser, (likeness + divergence) / len(real), 2e-3 * factor)
    return decoder


def train_diffusion(data: Tensor, steps: int = 1500) -> nn.Module:
    """Minimise the squared error, with the latents held to a normal prior weakly."""
    whole = diffusion.autoencoder()
    data = diffusion.padded(data)
    optimiser = torch.optim.Adam(whole.parameters())
    for factor, real in batches(data, steps, 32):
        _step(optimiser, diffusion.squared_error(whole, real), 2e-3 * factor)
    return diffusion.scaled(whole.eval(), (real for _, real in batches(data, 16, 128)))


def seeded_stylegan2(_: Tensor) -> nn.Module:
    """Draw the weights; nothing is trained."""
    return stylegan2.network()


def truncated_stylegan2(_: Tensor) -> nn.Module:
    """Draw the weights; styles are nearer to their mean by a share that is an input."""
    return stylegan2.truncated()


#: Makes the generator, its latent's shape, its picture, the low end of its range, its factory.
ZOO: dict[str, tuple[Callable[[Tensor], nn.Module], list[int], list[int], int, str]] = {
    "mlp-gan": (train_mlp_gan, [32], [1, 28, 28], -1, "zoo_networks:mlp_gan"),
    "vae": (train_vae, [16], [1, 28, 28], 0, "zoo_networks:vae"),
    "diffusion": (train_diffusion, [*diffusion.LATENT], [1, 32, 32], -1, "diffusion:decoder"),
    "stylegan2": (seeded_stylegan2, [512], [3, 64, 64], -1, "stylegan2:network"),
    "stylegan2-truncated": (truncated_stylegan2, [512], [3, 64, 64], -1, "stylegan2:truncated"),
}

#: Not trained, so that they need no pictures.
SEEDED = {"stylegan2", "stylegan2-truncated"}

#: Must not be laid out channels-last: group norm's forward mode takes views of what it gets.
CONTIGUOUS = {"diffusion"}


def fetch(name: str, folder: Path = FOLDER) -> Path:
    """Return the path of a generator's weights; they are made if the cache lacks them.

    Raises:
        ConnectionError: the training pictures or a package are not installed.

    """
    make, shape, size, low, factory = ZOO[name]
    weights = folder / f"{name}.pt"
    if not weights.exists():
        start = time.perf_counter()
        try:
            data = torch.empty(0) if name in SEEDED else pictures()
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(_SEED)
                module = make(data).eval()
        except (ImportError, OSError) as error:
            raise ConnectionError(f"{name} cannot be made: {error}") from error
        folder.mkdir(parents=True, exist_ok=True)
        torch.save(module.state_dict(), weights)
        seconds = time.perf_counter() - start
        numbers = sum(p.numel() for p in module.parameters())
        print(f"{name}: {numbers:,} parameters in {seconds:.0f} s", file=sys.stderr)
    more, source = ("", "torch-cpu")
    if name == "stylegan2-truncated":
        more, source = (_TRUNCATION, "shake256")
    text = _TOML.format(shape=shape, size=size, low=low, factory=factory, more=more, source=source)
    (folder / f"{name}.generator.toml").write_text(text)
    return weights


def main() -> None:
    """Make every generator, and say how long each took."""
    for name in ZOO:
        print(fetch(name))


if __name__ == "__main__":
    main()
