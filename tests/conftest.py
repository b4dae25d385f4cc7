"""What tests share: folders apart from the user's, and the built-in generator registered once."""

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

# One thread per process, since pytest-xdist runs one process per core. Before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")

import pytest

PRESET = "pristine-quick-v1"


def pytest_collection_modifyitems(items):
    """Begin with the face generator, by far the longest, so that no core waits for it alone."""
    items.sort(key=lambda item: item.get_closest_marker("face") is None)


@pytest.fixture(scope="session", autouse=True)
def own_folders(tmp_path_factory):
    """Keep keys, trust and caches of these tests apart from the user's."""
    base = tmp_path_factory.mktemp("xdg")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("DATA", "CONFIG", "CACHE", "STATE"):
            patch.setenv(f"XDG_{name}_HOME", str(base / name.lower()))
        patch.setenv("HOME", str(base / "home"))
        patch.setenv("MPLCONFIGDIR", str(base / "matplotlib"))
        for name in ("DENY_DEBUG", "DENY_PASSPHRASE"):
            patch.delenv(name, raising=False)
        (base / "home").mkdir()
        yield base


@contextlib.contextmanager
def shared_folder(tmp_path_factory, name):
    """Yield a folder that all xdist workers share, one of them at a time."""
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent
    folder = base / f"shared-{name}"
    folder.mkdir(exist_ok=True)
    with (base / f"shared-{name}.lock").open("w") as lock:
        try:
            import fcntl
        except ImportError:  # without it each worker may do the work once
            yield folder
            return
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder


@dataclass(frozen=True)
class Registered:
    """The built-in generator, registered under the quick preset with a key of its own.

    Attributes:
        folder: with all files; do not write into it.
        opened: the open registration.
        generator: as loaded.
        key: the signing key; `private_key` and `public_key` are its files.
        registration: the file.
        cache: folder for controls made on demand.

    """

    folder: Path
    opened: object
    generator: object
    key: object
    private_key: Path
    public_key: Path
    registration: Path
    cache: Path


@pytest.fixture(scope="session")
def registered(tmp_path_factory):
    import torch

    from deniability.crypto.keys import generate_key, private_pem, read_private_key
    from deniability.evidence.register import open_registration, register
    from deniability.generators.load import load_generator
    from deniability.verify.trust import TrustPolicy
    from deniability.wire.protocol import preset

    torch.set_num_threads(1)
    generator = load_generator("builtin", device=torch.device("cpu"))
    with shared_folder(tmp_path_factory, "registered") as folder:
        private, public = folder / "test.key.pem", folder / "test.pub.pem"
        registration = folder / "builtin.registration.json"
        if not registration.exists():
            key = generate_key()
            private.write_bytes(private_pem(key, None))
            private.chmod(0o600)
            public.write_bytes(key.public.pem)
            register(generator, protocol=preset(PRESET), key=key, output=registration)
        key = read_private_key(private, None)
        opened = open_registration(registration, generator, trust=TrustPolicy((key.public,)))
    return Registered(
        folder, opened, generator, key, private, public, registration, folder / "cache"
    )


@pytest.fixture(scope="module")
def small_preset():
    """Name a preset for tests in which another registration is made and its size is not tested.

    As `PRESET`, with as few controls as alpha 5 % can be shown by and an encoder trained less. The
    search finds all controls of the built-in generator with it, and of its twin.
    """
    from deniability.wire.protocol import PRESETS, preset

    small = preset(PRESET).model_copy(
        update={
            "name": "test-small-v1",
            "controls": 59,
            "encoder_outputs": 3_000,
            "mismatch_outputs": 1,
        }
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PRESETS, small.name, small)
        yield small.name


@pytest.fixture(scope="session")
def proved(registered, tmp_path_factory):
    """Bundles of a real photo, a picture by the twin, and an own output, each with its picture.

    `proved.photo.bundle`, `.image`, `.latents`; the first two end `excluded`, `own` `reached`.
    """
    import torch

    from deniability.evidence.prove import prove
    from deniability.evidence.register import sidecar_path
    from deniability.generators.builtin import photo_path
    from deniability.generators.load import load_generator
    from deniability.report.case import own_picture

    cases = {}
    with shared_folder(tmp_path_factory, "proved") as folder:
        for name in ("photo", "twin", "own"):
            image, bundle = folder / f"{name}.png", folder / f"{name}.bundle.json"
            if not bundle.exists():
                if name == "photo":
                    image.write_bytes(photo_path().read_bytes())
                else:
                    model = {"twin": "builtin-twin", "own": "builtin"}[name]
                    generator = load_generator(model, device=torch.device("cpu"))
                    image.write_bytes(own_picture(generator, 1))
                prove(
                    image,
                    registered.opened,
                    key=registered.key,
                    output=bundle,
                    cache=registered.cache,
                )
            cases[name] = SimpleNamespace(image=image, bundle=bundle, latents=sidecar_path(bundle))
    return SimpleNamespace(**cases)
