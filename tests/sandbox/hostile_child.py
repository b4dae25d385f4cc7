"""Runs in an isolated child: does one thing that a model that took its process over might do."""

import os
import pickle
import signal
import socket
import sys
import time
from pathlib import Path

from deniability.sandbox import seccomp
from deniability.sandbox.messages import Answer, Note, encode

ANSWER = encode(Answer(lines=(("Done.",),), values=({"level": "v1"},)))


def say(data):
    os.write(1, data)


def tried(action):
    """Answer with what an action came to: its result, or the name of what stopped it."""
    try:
        found = action()
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is the answer
        found = type(error).__name__
    say(encode(Answer(lines=((str(found)[:500] or "nothing",),), values=())))


def torchscript(path):
    import torch

    seccomp.seal()
    return torch.jit.load(path)(torch.zeros(1, 2)).shape


def bomb():
    seccomp.seal()
    children = 0
    for _ in range(1000):
        if os.fork() == 0:
            time.sleep(60)
        children += 1
    return children


def elsewhere(megabytes):
    """Take so much memory in files, where address space does not count it."""
    refused = []
    for folder in ("/", "/dev/shm", "/dev"):
        try:
            for number in range(int(megabytes)):
                Path(folder, f"deniability-{number}").write_bytes(bytes(1 << 20))
        except OSError:
            refused.append(folder)
    try:
        held = [os.memfd_create(str(number)) for number in range(int(megabytes))]
        for opened in held:
            os.write(opened, bytes(1 << 20))
    except OSError:
        refused.append("memory")
    return " ".join(refused)


ACTIONS = {
    "answer": lambda: say(encode(Note(text="hello")) + ANSWER),
    "garbage": lambda: say(b"\x1b]0;owned\x07\n"),
    "floats": lambda: say(b'{"done":1.5,"kind":"advance"}\n'),
    "unknown": lambda: say(b'{"kind":"run","what":"rm"}\n'),
    "flood": lambda: [say(encode(Note(text="x" * 2000))) for _ in range(20_000)],
    "long line": lambda: say(b"x" * 200_000),
    "twice": lambda: say(ANSWER + ANSWER),
    "half": lambda: say(ANSWER[:-1]),
    "nothing": lambda: None,
    "segfault": lambda: os.kill(os.getpid(), signal.SIGSEGV),
    "killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "loop": lambda: time.sleep(600),
    "exit": lambda: os._exit(3),
    "answer, then exit": lambda: (say(ANSWER), os._exit(3)),
    "bomb": lambda: tried(bomb),
    "memory": lambda: tried(lambda: len(bytearray(100 * 2**30))),
    "read": lambda: tried(lambda: Path(sys.argv[-1]).read_text()),
    "write": lambda: tried(lambda: Path(sys.argv[-1]).write_text("owned")),
    "link": lambda: tried(lambda: (Path("l").symlink_to(sys.argv[-1]), Path("l").read_text())[1]),
    "unpickle": lambda: tried(lambda: pickle.loads(Path(sys.argv[-1]).read_bytes())),
    "network": lambda: tried(lambda: socket.create_connection(("127.0.0.1", int(sys.argv[-1])), 5)),
    "environment": lambda: tried(lambda: sorted(os.environ)),
    "fill": lambda: tried(
        lambda: [Path(f"{i}").write_bytes(bytes(1 << 20)) for i in range(1 << 20)]
    ),
    "fill elsewhere": lambda: tried(lambda: elsewhere(sys.argv[-1])),
    "large file": lambda: tried(lambda: Path("large").write_bytes(bytes(2 << 20))),
    "torchscript": lambda: tried(lambda: torchscript(sys.argv[-1])),
    "load": lambda: tried(lambda: load(sys.argv[-1])),
}


def load(path):
    import torch

    from deniability.generators.load import load_generator
    from deniability.generators.options import ModelOptions

    seccomp.seal()
    options = ModelOptions(prior="normal")
    return load_generator(path, device=torch.device("cpu"), options=options).dimension


def main(arguments):
    ACTIONS[arguments[0]]()
    return 0
