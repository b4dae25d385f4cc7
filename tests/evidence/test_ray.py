"""The search on a real Ray cluster of this machine: the same trace, whatever dies meanwhile."""

import os
import signal
import sys
from pathlib import Path

import pytest
import torch
import toy_evidence as toy
from safetensors.torch import save

from deniability.cli.app import run as deny
from deniability.crypto.digest import FileDigest, sha256_hex
from deniability.crypto.keys import private_pem
from deniability.errors import CommitmentError, GeneratorError, InputError
from deniability.evidence import enumerate as driver
from deniability.evidence.enumerate import enumerate_seeds
from deniability.evidence.restarts import RestartLog
from deniability.evidence.search import Targets, search
from deniability.evidence.state import RunState
from deniability.generators.entropy import entropy_source
from deniability.generators.load import load_generator
from deniability.generators.options import ModelOptions
from deniability.generators.parcel import ModelParcel, pack_model
from deniability.imaging.lossless import LosslessHandling
from deniability.imaging.observation import lossless_kind
from deniability.inversion import ray_executor
from deniability.inversion.engine import Engine
from deniability.inversion.executor import LocalExecutor
from deniability.inversion.lm import LevenbergMarquardt
from deniability.inversion.ray_executor import RayExecutor
from deniability.inversion.starts import Starts
from deniability.wire.protocol import PRESETS

CPU = torch.device("cpu")
# Ray's own warnings: files and sockets that it leaves to the garbage collector.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
needs_processes = pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks at /proc")


@pytest.fixture(scope="module")
def cluster():
    """A cluster of two workers on this machine."""
    ray = pytest.importorskip("ray")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("PYTHONPATH", os.pathsep.join(path or str(Path.cwd()) for path in sys.path))
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
        yield ray
        ray.shutdown()


@pytest.fixture(scope="module")
def builtin():
    return load_generator("builtin", device=CPU)


def engine_of(generator, **options):
    spec = generator.spec
    kind = lossless_kind(
        channels=spec.channels, height=spec.height, width=spec.width, rounding=spec.rounding
    )
    settings = {"restarts": 3, "threshold": 1e-6, "resolution": 1e-9} | options
    return Engine(
        generator,
        LosslessHandling(kind),
        LevenbergMarquardt(settings.pop("iterations", 10)),
        Starts(generator, None),
        **settings,
    )


def observed(engine, count):
    latents = toy.drawn(engine.generator, count)
    with torch.no_grad():
        pictures = engine.generator.quantise(engine.generator(latents)).numpy()
    return Targets.of(engine.handling.save(pictures))


def seed(target, index):
    return bytes.fromhex(sha256_hex(f"{target} {index}".encode()))


def run(engine, targets, executor, state=None, **options):
    log = RestartLog(state, "search")
    return search(engine, targets, seed, log, executor=executor, **options)


def check_same(left, right):
    """Equal bit by bit."""
    assert len(left) == len(right)
    for a, b in zip(left, right, strict=True):
        for one, other in zip(a.restarts, b.restarts, strict=True):
            assert (one.index, one.start, one.stop) == (other.index, other.start, other.stop)
            assert (one.residual, one.distance) == (other.residual, other.distance)
            assert one.iterations == other.iterations
            assert (one.latent is None) == (other.latent is None)
            assert one.latent is None or torch.equal(one.latent, other.latent)


def workers():
    """Process ids of workers of this process's cluster that are at a task."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                command = (process / "cmdline").read_bytes()
            except OSError:
                continue
            if command.startswith(b"ray::_on_worker") and is_ours(int(process.name)):
                found.append(int(process.name))
    return found


def is_ours(pid):
    """Tell whether a process descends from this one."""
    while pid > 1:
        try:
            stat = Path(f"/proc/{pid}/stat").read_text("ascii")
        except OSError:
            return False
        pid = int(stat.rpartition(")")[2].split()[1])
        if pid == os.getpid():
            return True
    return False


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize(("count", "restarts"), [(66, 2), (1, 20)], ids=["targets", "restarts"])
def test_the_trace_is_that_of_one_machine(builtin, count, restarts):
    threshold = 1e-6 if count > 1 else -1.0  # the single target's restarts all run
    engine = engine_of(builtin, restarts=restarts, threshold=threshold)
    targets = observed(engine, count)
    here = run(engine, targets, LocalExecutor())
    executor = RayExecutor("builtin", seconds=0.3)
    check_same(here, run(engine, targets, executor))
    assert executor.lost == []
    check_same(here, run(engine, targets, LocalExecutor(seconds=0.0)))  # cut anywhere


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
@needs_processes
def test_a_killed_worker_costs_its_last_slice(builtin, tmp_path):
    engine = engine_of(builtin, restarts=24, threshold=-1.0, iterations=14)
    targets = observed(engine, 1)
    here = run(engine, targets, LocalExecutor())
    executor = RayExecutor("builtin", seconds=0.3)
    killed = []

    def kill_one():
        at_work = workers()
        if at_work and not killed:
            killed.append(at_work[0])
            os.kill(at_work[0], signal.SIGKILL)

    with RunState(tmp_path / "state", "a" * 64, resume=False) as state:
        there = run(engine, targets, executor, state, on_step=kill_one)
    assert killed
    assert len(executor.lost) == 1  # no other chunk was sent again
    check_same(here, there)


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
@needs_processes
def test_seeds_are_spread_and_a_killed_worker_costs_its_last_slice(builtin, tmp_path, monkeypatch):
    monkeypatch.setattr(driver, "CHUNK", 2048)
    latent = torch.from_numpy(entropy_source(builtin.spec).latent(9000))[None]
    image = toy.save_picture(tmp_path / "own.png", toy.own_pictures(builtin, latent)[0])
    seeds = range(1000, 13_000)
    here = enumerate_seeds(image, builtin, seeds)
    executor = RayExecutor("builtin", seconds=0.2)
    killed = []

    class Killing(toy.Notes):
        def advance(self, done, **_):
            at_work = workers()
            if done and at_work and not killed:
                killed.append(at_work[0])
                os.kill(at_work[0], signal.SIGKILL)

    there = enumerate_seeds(
        image, builtin, seeds, executor=executor, progress=Killing(), state=tmp_path / "state"
    )
    assert killed
    assert len(executor.lost) == 1  # no other chunk was sent again
    assert there == here
    assert (here.compared.nearest[0].seed, here.compared.seeds) == (9000, 12_000)


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_an_interrupted_search_goes_on_elsewhere(builtin, tmp_path):
    engine = engine_of(builtin, restarts=24, threshold=-1.0, iterations=14)
    targets = observed(engine, 1)
    here = run(engine, targets, LocalExecutor())

    def interrupt(*_):
        raise KeyboardInterrupt

    with (
        RunState(tmp_path / "state", "a" * 64, resume=False) as state,
        pytest.raises(KeyboardInterrupt),
    ):
        run(engine, targets, RayExecutor("builtin", seconds=0.3), state, on_restart=interrupt)
    with RunState(tmp_path / "state", "a" * 64, resume=True) as state:
        assert RestartLog(state, "search").known
        check_same(here, run(engine, targets, LocalExecutor(), state))


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_a_registration_by_command_is_the_same(tmp_path, monkeypatch):
    short = toy.TINY.model_copy(update={"controls": 65, "restarts": 2, "iterations": 6})
    monkeypatch.setitem(PRESETS, short.name, short)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    key, output = tmp_path / "key.pem", tmp_path / "{}.json"
    key.write_bytes(private_pem(toy.KEY, None))
    key.chmod(0o600)

    def controls(name):
        target = str(output).format(name)
        arguments = ["register", "builtin", "--key", str(key), "-o", target, "--quiet"]
        assert deny([*arguments, "--preset", short.name, "--executor", name]) == 0
        (found,) = toy.payload_of(target)["predicate"]["controls"]
        return found["controls"]

    assert controls("ray") == controls("local")


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_workers_that_die_again_and_again_end_the_search(builtin, monkeypatch):
    engine = engine_of(builtin, restarts=8)
    monkeypatch.setattr(ray_executor, "_on_worker", _dies)
    with pytest.raises(InputError, match="again and again") as caught:
        run(engine, observed(engine, 1), RayExecutor("builtin"))
    assert "--resume" in caught.value.hint


def _dies(*_):
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_worker_refuses_another_model(builtin):
    parcel = pack_model("builtin", None, builtin)
    assert parcel.load(CPU).files == builtin.files
    twin = load_generator("builtin-twin", device=CPU)
    with pytest.raises(CommitmentError, match="not the model that is searched"):
        ModelParcel("builtin", {}, parcel.options, twin.files, twin.spec).load(CPU)
    with pytest.raises(CommitmentError, match="not the model that is searched"):
        ModelParcel(
            "model.pt", {"model.pt": b"other"}, parcel.options, builtin.files, builtin.spec
        ).load(CPU)


def test_a_factory_that_a_worker_lacks_is_named(builtin):
    weights = save({"weight": torch.zeros(9, 4), "bias": torch.zeros(9)})
    file = FileDigest(path="m.safetensors", size=len(weights), sha256=sha256_hex(weights))
    options = ModelOptions(factory="nowhere_to_be_found:net", latent_shape=(4,), prior="normal")
    parcel = ModelParcel(
        "m.safetensors", {"m.safetensors": weights}, options, (file,), builtin.spec
    )
    with pytest.raises(GeneratorError, match="cannot be loaded by a worker") as caught:
        parcel.load(CPU)
    assert "importable on every machine" in caught.value.hint


def test_without_ray_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match="Ray is not installed") as caught:
        RayExecutor("builtin")
    assert "deniability[ray]" in caught.value.hint
