"""The commands that are handed to whoever checks a bundle."""

import shlex

from deniability.report.wording import verify_command


def test_nobody_is_told_to_run_a_model_without_isolation():
    command = verify_command("b.json", key="k.pem", image="a.png", model="m.pt")
    assert shlex.split(command)[3:] == ["--key", "k.pem", "--image", "a.png", "--model", "m.pt"]


def test_names_are_quoted_for_a_shell():
    command = verify_command("a b; rm.json", key=None)
    assert shlex.split(command) == ["deny", "verify", "a b; rm.json", "--key", "SIGNER.pub.pem"]
