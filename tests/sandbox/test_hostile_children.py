"""Whatever an isolated child does, it becomes one clear error, and harms nothing outside."""

import io
import itertools
import os
import pickle
import signal
import socket
import threading
import time
import warnings
import zipfile
from pathlib import Path

import pytest

from deniability.sandbox.choose import MECHANISMS, probe
from deniability.sandbox.conversation import converse
from deniability.sandbox.interface import Grants, IsolationError, Limits, Program
from deniability.sandbox.messages import Failure, decode, encode
from deniability.sandbox.python import search_path

HERE = Path(__file__).resolve().parent


@pytest.fixture(scope="module", params=MECHANISMS, ids=lambda m: m.name)
def isolation(request):
    reason = request.param.unavailable() or probe(request.param)
    if reason:
        pytest.skip(reason)
    return request.param


@pytest.fixture
def run(isolation, tmp_path):
    scratch = tmp_path / "scratch"
    scratch.mkdir()

    def run(action, argument="", *, read=(), listen=lambda _: None, **limits):
        program = Program(
            "hostile_child", (action, str(argument)), path=(str(HERE), *search_path()),
            processes=True,
        )  # fmt: skip
        bounds = Limits(**{"memory": 4 << 30, "seconds": 60, **limits})
        grants = Grants(scratch, read=(HERE, *read))
        return converse(isolation, program, grants, bounds, request=b"", listen=listen)

    return run


def said(answer):
    return answer.lines[0][0]


def test_an_honest_child_is_heard(run):
    heard = []
    assert run("answer", listen=heard.append).lines == (("Done.",),)
    assert [note.text for note in heard] == ["hello"]


@pytest.mark.parametrize(
    ("action", "message"),
    [
        ("garbage", "not an answer"),
        ("floats", "not an answer"),
        ("unknown", "not an answer"),
        ("flood", "says too much"),
        ("long line", "says too much"),
        ("twice", "goes on after its answer"),
        ("half", "died before it answered"),
        ("nothing", "died before it answered"),
        ("segfault", "SIGSEGV"),
        ("killed", "SIGKILL"),
        ("exit", "status 3"),
        ("answer, then exit", "status 3"),
    ],
)
def test_a_child_that_misbehaves_is_a_clear_error(run, action, message):
    with pytest.raises(IsolationError, match=message) as caught:
        run(action)
    assert caught.value.exit_code == 4
    assert str(caught.value).isprintable()


def test_a_child_that_hangs_is_ended(run):
    began = time.monotonic()
    with pytest.raises(IsolationError, match="took too long"):
        run("loop", seconds=2)
    assert time.monotonic() - began < 20


def test_processes_cannot_multiply(run):
    assert said(run("bomb")) == "PermissionError"


def test_memory_is_bounded(run):
    assert said(run("memory")) == "MemoryError"


def test_memory_is_not_taken_by_files(run):
    assert said(run("fill elsewhere", 20)) == "/ /dev/shm /dev memory"


def test_a_secret_is_not_read(run, tmp_path):
    secret = tmp_path / ".ssh" / "id"
    secret.parent.mkdir()
    secret.write_text("private key")
    for action in ("read", "link"):
        assert said(run(action, secret)) in {"PermissionError", "FileNotFoundError"}
    assert said(run("read", secret, read=(secret,))) == "private key"  # the test can fail


def test_granted_files_are_not_written(run, tmp_path):
    model = tmp_path / "model.pt"
    model.write_text("weights")
    assert said(run("write", model, read=(model,))) in {"PermissionError", "OSError"}
    assert said(run("write", tmp_path / "new")) in {
        "PermissionError",
        "FileNotFoundError",
        "OSError",  # a read-only file system
    }
    assert model.read_text() == "weights"
    assert not (tmp_path / "new").exists()


class Canary:
    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (os.mkdir, (self.path,))


def test_a_pickle_that_writes_writes_nothing(run, tmp_path):
    hostile = tmp_path / "model.pkl"
    hostile.write_bytes(pickle.dumps(Canary(tmp_path / "made")))
    run("unpickle", hostile, read=(hostile,))
    assert not (tmp_path / "made").exists()


def test_there_is_no_network(run):
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert said(run("network", server.getsockname()[1])) == "PermissionError"


def test_nothing_of_the_environment_comes_along(run, monkeypatch):
    monkeypatch.setenv("DENY_PASSPHRASE", "secret")
    assert "DENY_PASSPHRASE" not in said(run("environment"))


def test_disks_are_not_filled(run):
    try:
        assert said(run("fill", scratch=32 << 20)) == "OSError"
    except IsolationError as error:
        assert "writes too much" in str(error)  # noqa: PT017 - either way of refusing will do
    assert said(run("large file", file_size=1 << 20)) == "OSError"


def test_ctrl_c_ends_the_child(run):
    # A job that a script started in the background ignores it, and so would the tests.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    timer = threading.Timer(2, signal.raise_signal, (signal.SIGINT,))
    timer.start()
    began = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            run("loop", seconds=60)
    finally:
        signal.signal(signal.SIGINT, before)
    assert time.monotonic() - began < 30


def test_errors_cross_faithfully():
    from deniability.errors import ReplayError

    error = ReplayError("a", where="b", expected="c", found="d", hint="e\n\nf")
    again = decode(encode(Failure.of(error)).rstrip(b"\n")).exception()
    assert type(again) is ReplayError
    assert str(again) == str(error)
    assert again.exit_code == 3


# Models that reach past what the loaders refuse.


NUMBERS = itertools.count()


def scripted(path, source):
    import torch

    module = type(f"Script{next(NUMBERS)}", (torch.jit.ScriptModule,), {})()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module.define(source)
        buffer = io.BytesIO()
        torch.jit.save(module, buffer)
    path.write_bytes(buffer.getvalue())
    return path


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torchscript_that_overwrites_a_file(run, tmp_path):
    import torch

    victim = tmp_path / "victim"
    victim.write_bytes(b"A" * 16)
    source = f"""
def forward(self, z):
    x = torch.from_file("{victim}", True, 4)
    return x.fill_(0.0)
"""
    model = scripted(tmp_path / "model.pt", source)
    assert said(run("torchscript", model, read=(model, victim))) == "RuntimeError"
    assert victim.read_bytes() == b"A" * 16
    torch.jit.load(model)(torch.zeros(1, 2))  # without isolation it does
    assert victim.read_bytes() == bytes(16)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    ("body", "expected", "seconds"),
    [
        ("while True:\n        z = z + 1\n    return z", "took too long", 15),
        ("return torch.zeros([25000000000])", "RuntimeError", 45),
    ],
)
def test_torchscript_that_takes_all_there_is(run, tmp_path, body, expected, seconds):
    model = scripted(tmp_path / "model.pt", f"def forward(self, z):\n    {body}\n")
    try:
        assert said(run("torchscript", model, read=(model,), seconds=seconds)) == expected
    except IsolationError as error:
        assert expected in str(error)  # noqa: PT017 - told by the parent


def test_an_archive_with_names_outside_writes_nothing(run, tmp_path):
    model = tmp_path / "model.pt"
    with zipfile.ZipFile(model, "w") as archive:
        archive.writestr("../../escaped", b"x")
        archive.writestr("m/data.pkl", b"x")
    assert said(run("load", model, read=(model,))) == "GeneratorError"
    assert not list(tmp_path.parent.rglob("escaped"))
