"""A face generator from a package index, to try `deny` on something bigger than the built-in.

    python examples/face_dcgan.py faces          # downloads and checks the weights
    cd examples && deny register ../faces/weights.tar

The PyPI package `gan-face-generate` 1.1.1 carries the weights of a DCGAN (MIT licence; the licence
of its training set is unclear, so nothing of it is shipped here). The network is described below;
only the weights come from the package, and none of its code runs.
"""

from __future__ import annotations

import hashlib
import itertools
import subprocess
import sys
import zipfile
from pathlib import Path

from torch import nn

PACKAGE = "gan-face-generate==1.1.1"
WHEEL_SHA256 = "24102f4be41d164e44251168ede0458a45e498a888c81493e2aea48529640569"
GENERATOR_TOML = """\
[latent]
shape = [100, 1, 1]
prior = "normal"

[output]
range = [-1, 1]
size = [3, 64, 64]
rounding = "round"

[entropy]
source = "torch-cpu"
seed_bits = 32

[model]
factory = "face_dcgan:network"
state_dict_key = "netG_state_dict"
prefix = "main."
"""


def network() -> nn.Module:
    """Build the DCGAN (Radford et al. 2016): R x 100 x 1 x 1 to R x 3 x 64 x 64 in [-1, 1]."""
    widths = (100, 512, 256, 128, 64)
    layers: list[nn.Module] = []
    for index, (before, after) in enumerate(itertools.pairwise(widths)):
        stride, padding = (1, 0) if index == 0 else (2, 1)
        layers.append(nn.ConvTranspose2d(before, after, 4, stride, padding, bias=False))
        layers += [nn.BatchNorm2d(after), nn.ReLU()]
    layers += [nn.ConvTranspose2d(widths[-1], 3, 4, 2, 1, bias=False), nn.Tanh()]
    return nn.Sequential(*layers)


def download(package: str, folder: Path) -> Path:
    """Download a wheel into `folder` with this Python's pip and return its path.

    Raises ConnectionError if the package index cannot be reached.
    """
    folder.mkdir(parents=True, exist_ok=True)
    before = set(folder.glob("*.whl"))
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", package, "-d", folder]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    name = package.partition("==")[0].replace("-", "_")
    found = [path for path in folder.glob("*.whl") if path.name.lower().startswith(name)]
    if done.returncode != 0 or not found:
        raise ConnectionError(f"pip could not download {package}: {done.stderr.strip()[-300:]}")
    return max(found, key=lambda path: (path not in before, path.name))


def fetch(folder: Path) -> Path:
    """Put `weights.tar` and its `generator.toml` into `folder`; return the path of the weights.

    Raises ConnectionError without a package index, ValueError if the wheel is another one.
    """
    weights = folder / "weights.tar"
    if not weights.exists():
        wheel = download(PACKAGE, folder)
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        if digest != WHEEL_SHA256:
            raise ValueError(f"{wheel.name} has sha256 {digest}, expected {WHEEL_SHA256}")
        with zipfile.ZipFile(wheel) as archive:
            weights.write_bytes(archive.read("gan_face_generate/weights.tar"))
    (folder / "weights.generator.toml").write_text(GENERATOR_TOML)
    return weights


if __name__ == "__main__":
    print(fetch(Path(sys.argv[1] if len(sys.argv) > 1 else "faces")))
