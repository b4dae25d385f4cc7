"""What the benchmarks share: generators with a trained encoder, targets, and the results folder.

An encoder is trained once for each generator and number of outputs and kept in a cache, with the
seconds and the arithmetic that its training took, so that every script names the same cost.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import zoo
from safetensors.torch import load_file, save_file
from torch.utils.flop_counter import FlopCounterMode

from deniability.crypto.seeds import derive_seed
from deniability.evidence.calibrate import own_pictures
from deniability.evidence.procedure import Procedure, train_encoder
from deniability.evidence.progress import Silent
from deniability.evidence.register import standard_kind
from deniability.evidence.subject import describe_model
from deniability.generators.base import Generator
from deniability.generators.builtin import BUILTIN
from deniability.generators.entropy import latents_from_seed
from deniability.generators.load import load_generator
from deniability.imaging.handling import Handling, Observations
from deniability.imaging.observation import build_handling
from deniability.inversion.encoder import Encoder, EncoderNetwork, load_encoder
from deniability.wire.protocol import Protocol, preset
from deniability.wire.registration import ModelDescriptor

RESULTS = Path(__file__).parent / "results"
CACHE = Path(__file__).parent.parent / ".test-data"
FLOOR = 1 / 195075  # variance of the rounding noise of 8-bit pixels, on [-1, 1]
NEAR = 1.5  # times the floor: "as good as found"
_TRAINING_PASSES = 3  # how often EncoderTraining looks at each output


@dataclass(frozen=True)
class Training:
    """What an encoder cost: outputs, seconds, and forward-equivalents of the generator."""

    outputs: int
    seconds: float
    threads: int
    equivalents: float


@dataclass(frozen=True)
class Setting:
    """A generator as registered: its encoder, its kind of file, its protocol."""

    name: str
    generator: Generator
    model: ModelDescriptor
    protocol: Protocol
    encoder: Encoder
    training: Training
    handling: Handling

    @property
    def resolution(self) -> float:
        """Squared residuals below it count as 0."""
        return float(self.protocol.resolution)

    def targets(self, count: int, role: str = "benchmark-target") -> Observations:
        """Make own 8-bit outputs from seeds of their own role."""
        seeds = [
            derive_seed(role=role, weights=self.model.weights, protocol="0" * 64, index=i)
            for i in range(count)
        ]
        spec = self.generator.spec
        latents = np.stack([latents_from_seed(spec, seed) for seed in seeds])
        procedure = Procedure(self.generator, self.model, self.protocol, self.encoder)
        return self.handling.save(own_pictures(procedure, torch.from_numpy(latents)))


def start_seed(role: str) -> Callable[[int, int], bytes]:
    """Return the seed of restart `index` of target `target` for starts of this role."""
    return lambda target, index: derive_seed(
        role=role, weights="0" * 64, protocol="0" * 64, index=target * 100_000 + index
    )


def forward_flops(module: Callable[[torch.Tensor], torch.Tensor], one: torch.Tensor) -> int:
    """Count the FLOPs (two per multiply-add) of a forward pass on `one`."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        module(one)
    return int(counter.get_total_flops())


def _trained(
    name: str, generator: Generator, model: ModelDescriptor, protocol: Protocol
) -> tuple[Encoder, Training]:
    """Take the encoder from the cache, or train it and put it there."""
    outputs = protocol.encoder_outputs
    stem = CACHE / "benchmarks" / f"{name}-{model.weights[:12]}-{outputs}"
    tensors, about = stem.with_suffix(".safetensors"), stem.with_suffix(".json")
    if tensors.exists() and about.exists():
        training = Training(**json.loads(about.read_text()))
        return load_encoder(load_file(tensors), generator), training
    print(f"training the encoder of {name} on {outputs} outputs", file=sys.stderr)
    start = time.perf_counter()
    encoder = train_encoder(generator, model, protocol, state=None, progress=Silent())
    seconds = time.perf_counter() - start
    assert encoder is not None, "the protocol trains an encoder"
    spec = generator.spec
    network = EncoderNetwork(spec.channels, spec.height, spec.width, generator.dimension).eval()
    picture = torch.zeros(1, spec.channels, spec.height, spec.width)
    latent = torch.zeros(1, generator.dimension, device=generator.device)
    # A training step is a forward and a backward pass, which is twice as much.
    ratio = 3 * forward_flops(network, picture) / forward_flops(generator, latent)
    training = Training(
        outputs, seconds, torch.get_num_threads(), outputs * (1 + _TRAINING_PASSES * ratio)
    )
    stem.parent.mkdir(parents=True, exist_ok=True)
    save_file(encoder.tensors(), tensors)
    about.write_text(json.dumps(vars(training)) + "\n")
    return encoder, training


def load_setting(name: str, outputs: int, device: torch.device | str = "cpu") -> Setting:
    """Load `builtin`, `builtin-twin`, `face-dcgan` or one of the zoo with its encoder."""
    source: str | Path = name if name in BUILTIN else "builtin"
    if name in zoo.ZOO:
        source = zoo.fetch(name)
    if name == "face-dcgan":
        sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))
        import face_dcgan  # noqa: PLC0415 - an example beside this folder

        source = face_dcgan.fetch(CACHE / "faces")
    generator = load_generator(source, device=torch.device(device))
    if name in zoo.CONTIGUOUS:
        generator.module.to(memory_format=torch.contiguous_format)
    protocol = preset("pristine-standard-v1").model_copy(update={"encoder_outputs": outputs})
    return setting_of(name, generator, protocol)


def setting_of(name: str, generator: Generator, protocol: Protocol) -> Setting:
    """Give a loaded generator its encoder under a protocol, from the cache or trained now."""
    model = describe_model(generator)
    encoder, training = _trained(name, generator, model, protocol)
    handling = build_handling(standard_kind(generator.spec), device=generator.device)
    return Setting(name, generator, model, protocol, encoder, training, handling)


def load_settings(options: argparse.Namespace) -> Iterator[Setting]:
    """Load the generators asked for; one whose weights cannot be fetched is named and left out."""
    for name in options.generator:
        try:
            yield load_setting(name, options.encoder_outputs, options.device)
        except ConnectionError as error:
            print(f"{name} left out: {error}", file=sys.stderr)


def common_options(description: str) -> argparse.ArgumentParser:
    """Return a parser with the options that all scripts have."""
    parser = argparse.ArgumentParser(description=description)
    names = ["builtin", "face-dcgan"]
    parser.add_argument("--generator", nargs="+", choices=[*names, *zoo.ZOO], default=names)
    parser.add_argument("--encoder-outputs", type=int, default=20_000)
    parser.add_argument("--threads", type=int, default=int(os.environ.get("OMP_NUM_THREADS", "1")))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=RESULTS)
    return parser


def table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Format a Markdown table."""
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    lines += ["| " + " | ".join(map(str, row)) + " |" for row in rows]
    return "\n".join(lines)


def machine(device: str) -> str:
    """Describe where a result was measured, and how busy the machine was."""
    name = torch.cuda.get_device_name(device) if device.startswith("cuda") else "CPU"
    load = os.getloadavg()[0]
    return (
        f"{name}, {torch.get_num_threads()} thread(s) of {os.cpu_count()} cores, load average "
        f"{load:.1f}, torch {torch.__version__}"
    )


def write(out: Path, stem: str, text: str, data: object) -> None:
    """Write a result as Markdown and JSON, and print the former."""
    print(text)
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{stem}.md").write_text(text + "\n")
    (out / f"{stem}.json").write_text(json.dumps(data, indent=1) + "\n")
