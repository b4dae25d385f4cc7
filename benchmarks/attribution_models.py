"""The face generators of the attribution benchmark: trained here in minutes, seeds fixed.

Training pictures are outputs of the face DCGAN of `gan-face-generate`, averaged over 2 x 2 pixels,
and faces of scikit-image's `lfw_subset`. Another torch release or CPU gives other weights.
"""

from __future__ import annotations

import hashlib
import io
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import attribution_networks as networks
import numpy as np
import torch
from setting import CACHE
from torch import Tensor, nn
from torch.nn import functional
from zoo import batches

sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))
import face_dcgan

from deniability.generators.load import load_generator

FOLDER = CACHE / "benchmarks" / "attribution"
PHOTOS = "scikit-image==0.26.0"
_PHOTOS_FILE = "skimage/data/lfw_subset.npy"
TRAINED_ON = 50  # of the 100 photos of faces; the others are left for the open set
_OUTPUTS = 8192  # of the DCGAN
_SEED = 20
_RATE = 4e-4  # of Adam
_TUNING_RATE = 4e-5  # fine-tuning is gentle: its critic begins afresh
_TOML = """\
[latent]
shape = [{latent}]
prior = "normal"

[output]
range = [{low}, 1]
size = [3, 32, 32]
rounding = "round"

[entropy]
source = "torch-cpu"
seed_bits = 32

[model]
factory = "attribution_networks:{factory}"
"""


def photos() -> Tensor:
    """Return the crops of `lfw_subset` enlarged, `200 x 3 x 32 x 32` in [0, 1].

    The first 100 show faces, the others no face. They are gray.

    Raises:
        ConnectionError: the wheel is not in the cache and cannot be downloaded.

    """
    folder = CACHE / "skimage"
    wheel = next(iter(folder.glob("scikit_image-*.whl")), None)
    wheel = wheel or face_dcgan.download(PHOTOS, folder)
    with zipfile.ZipFile(wheel) as archive:
        gray = np.load(io.BytesIO(archive.read(_PHOTOS_FILE)))
    crops = torch.from_numpy(gray.astype(np.float32))[:, None].expand(-1, 3, -1, -1)
    side = networks.SIDE
    larger = functional.interpolate(crops, (side, side), mode="bicubic", align_corners=False)
    return larger.clamp(0, 1)


def face_outputs() -> Tensor:
    """Return outputs of the DCGAN averaged over 2 x 2 pixels, `N x 3 x 32 x 32` in [0, 1]."""
    path = FOLDER / f"dcgan-outputs-{_OUTPUTS}.npy"
    if not path.exists():
        generator = load_generator(face_dcgan.fetch(CACHE / "faces"), device=torch.device("cpu"))
        stream = torch.Generator().manual_seed(_SEED)
        parts = []
        for _ in range(_OUTPUTS // 128):
            with torch.no_grad():
                pictures = generator(torch.randn(128, generator.dimension, generator=stream))
            parts.append((functional.avg_pool2d(pictures, 2) * 255).round().to(torch.uint8))
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, torch.cat(parts).numpy())
    return torch.from_numpy(np.load(path)).float() / 255


def _step(optimiser: torch.optim.Optimizer, loss: Tensor, rate: float) -> None:
    for group in optimiser.param_groups:
        group["lr"] = rate
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    optimiser.step()


def _adversarial(
    generator: nn.Module,
    latent: int,
    real: Iterator[tuple[float, Tensor]],
    rate: float = _RATE,
) -> None:
    """Train with the logistic loss, a lazy R1 penalty, and a critic that reads the latent back.

    `rate` is the generator's learning rate.
    """
    critic = networks.FaceCritic(latent)
    players = [torch.optim.Adam(m.parameters(), betas=(0.5, 0.99)) for m in (generator, critic)]
    for step, (factor, pictures) in enumerate(real):
        z = torch.randn(len(pictures), latent)
        fake = generator(z)
        penalised = step % 16 == 0
        on_real, _ = critic(pictures.requires_grad_(penalised))
        on_fake, guess = critic(fake.detach())
        loss = functional.softplus(-on_real).mean() + functional.softplus(on_fake).mean()
        loss = loss + functional.mse_loss(guess, z)
        if penalised:
            (slope,) = torch.autograd.grad(on_real.sum(), pictures, create_graph=True)
            loss = loss + slope.square().sum(dim=(1, 2, 3)).mean()
        _step(players[1], loss, _RATE * factor)
        on_fake, guess = critic(fake)
        loss = functional.softplus(-on_fake).mean() + functional.mse_loss(guess, z)
        _step(players[0], loss, rate * factor)


def _trained_gan(build: Callable[[], networks.FaceGAN], steps: int = 1500) -> nn.Module:
    generator = build()
    _adversarial(generator, generator.latent, batches(2 * face_outputs() - 1, steps, 64))
    return generator


def train_gan() -> nn.Module:
    """Train the first candidate on the DCGAN's outputs."""
    return _trained_gan(networks.gan)


def train_narrow() -> nn.Module:
    """Train a narrower one."""
    return _trained_gan(networks.narrow)


def train_stranger() -> nn.Module:
    """Train the one that is held out."""
    return _trained_gan(networks.stranger)


def fine_tune() -> nn.Module:
    """Train the first candidate on with its own outputs and photos of faces, half and half."""
    generator = networks.gan()
    generator.load_state_dict(torch.load(fetch("gan"), weights_only=True))
    with torch.no_grad():
        own = generator.eval()(torch.randn(1024, generator.latent))
    faces = 2 * photos()[:TRAINED_ON] - 1
    faces = torch.cat([faces, faces.flip(-1)])
    data = torch.cat([own, faces[torch.randint(len(faces), (1024,))]])
    _adversarial(generator.train(), generator.latent, batches(data, 150, 64), _TUNING_RATE)
    return generator


def train_vae(steps: int = 2000) -> nn.Module:
    """Maximise the evidence bound (Kingma and Welling 2014) on the DCGAN's outputs and photos."""
    faces = photos()[:TRAINED_ON]
    data = torch.cat([face_outputs(), faces.repeat(16, 1, 1, 1)])
    encoder, decoder = networks.FaceReader(), networks.vae()
    optimiser = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()])
    for factor, real in batches(data, steps, 64):
        mean, log_variance = encoder(real)
        z = mean + (log_variance / 2).exp() * torch.randn_like(mean)
        squared = (decoder(z) - real).square().sum() / (2 * 0.08**2)
        divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum()
        _step(optimiser, (squared + divergence) / len(real), 2e-3 * factor)
    return decoder


#: Makes the generator, its seed, its latent, the low end of its range, its factory.
MODELS: dict[str, tuple[Callable[[], nn.Module], int, int, int, str]] = {
    "gan": (train_gan, 1, 32, -1, "gan"),
    "fine-tuned": (fine_tune, 2, 32, -1, "gan"),
    "reseeded": (train_gan, 3, 32, -1, "gan"),
    "narrow": (train_narrow, 4, 24, -1, "narrow"),
    "vae": (train_vae, 5, 24, 0, "vae"),
    "stranger": (train_stranger, 6, 28, -1, "stranger"),
}
#: Those that a picture is attributed to; the last of MODELS is held out.
CANDIDATES = tuple(MODELS)[:-1]
HELD_OUT = tuple(MODELS)[-1]


def fetch(name: str) -> Path:
    """Return the path of a generator's weights; they are made if the cache lacks them.

    Raises:
        ConnectionError: what it is trained on cannot be downloaded.

    """
    make, seed, latent, low, factory = MODELS[name]
    weights = FOLDER / f"{name}.pt"
    if not weights.exists():
        start = time.perf_counter()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            module = make().eval()
        weights.parent.mkdir(parents=True, exist_ok=True)
        torch.save(module.state_dict(), weights)
        print(f"{name}: trained in {time.perf_counter() - start:.0f} s", file=sys.stderr)
    text = _TOML.format(latent=latent, low=low, factory=factory)
    (FOLDER / f"{name}.generator.toml").write_text(text)
    return weights


def digest(name: str) -> str:
    """Return the sha256 (hex) of a generator's weights file."""
    return hashlib.sha256(fetch(name).read_bytes()).hexdigest()


if __name__ == "__main__":
    for each in MODELS:
        print(each, digest(each))
