"""`deny bind`, `prove --binding` and `verify` on the built-in generator."""

import hashlib
import shutil

import pytest
from cli_checks import one_sentence


def written(paths):
    return "".join(
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in paths
    )


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    """What somebody obtained from a service that runs the built-in generator, and the list."""
    import torch

    from deniability.generators.load import load_generator
    from deniability.report.case import own_picture

    folder = tmp_path_factory.mktemp("service")
    generator = load_generator("builtin", device=torch.device("cpu"))
    (folder / "obtained").mkdir()
    for seed in range(100, 130):
        (folder / "obtained" / f"{seed}.png").write_bytes(own_picture(generator, seed))
    (folder / "LIST").write_text(written(sorted((folder / "obtained").iterdir())))
    return folder


@pytest.mark.slow
def test_from_obtained_pictures_to_a_verified_deployment(
    home, deny, signer, registered, service, proved
):
    given, listed = service / "obtained", service / "LIST"
    ran = deny("bind", "builtin", given, "--obtained", listed, *signer)
    assert ran.code == 0, ran.err
    assert ran.out.startswith("Bound: 30 different outputs")
    assert "deny verify binding.json" in ran.out
    key = ("--key", registered.public_key)
    alone = deny("verify", "binding.json", *key)
    assert alone.code == 0
    assert alone.out.startswith("authentic and consistent; the search was not re-run")
    full = ("--image", given, "--model", "builtin", "--obtained", listed, "--require", "v1")
    again = deny("verify", "binding.json", *key, *full, "--json")
    assert again.code == 0, again.err
    assert again.json["level"] == "v1"
    assert again.json["replays"][0]["latents"] == 30
    assert again.json["isolation"] is not None

    shutil.copy(proved.own.image, "own.png")
    options = ("--binding", "binding.json", "--no-figure")
    ran = deny("prove", "own.png", "--model", "builtin", *signer, *options)
    assert ran.code == 10, ran.err
    assert "deployment not verified by anybody but the bundle's own signer" in ran.out
    plain = deny("verify", "bundle.json", *key)
    assert plain.code == 0
    assert "deployment not verified by anybody" in "".join(plain.out.splitlines()[:8])
    compared = deny("verify", "bundle.json", *key, "--obtained", listed, "--quiet")
    assert "deployment verified by 30 outputs obtained from the service" in compared.out
    shown = deny("inspect", "bundle.json")
    assert "cites a binding, which was not verified here" in shown.out
    assert "urn:deniability:binding/v1" in deny("inspect", "binding.json").out

    (home / "OTHER").write_text(listed.read_text().splitlines()[0] + "\n")
    for file in ("bundle.json", "binding.json"):
        wrong = deny("verify", file, *key, "--obtained", "OTHER")
        assert wrong.code == 3
        one_sentence(wrong)
    assert deny("withdraw", "binding.json", "--reason", "wrong service", *signer[:2]).code == 0
    taken = ("--withdrawal", "binding.withdrawal.json")
    assert deny("verify", "binding.json", *key, *taken).code == 3
    still = deny("verify", "bundle.json", *key, *taken, "--obtained", listed)
    assert still.code == 0
    assert "deployment not verified: the binding that the bundle cites was withdrawn" in still.out
    refused = deny("verify", "binding.json", *key, "--replay", "5", *full[:4])
    assert refused.code == 2
    one_sentence(refused)


@pytest.mark.slow
def test_too_few_and_a_strangers_picture_are_not_bound(home, deny, signer, service, proved):
    few = home / "few"
    few.mkdir()
    for path in sorted((service / "obtained").iterdir())[:2]:
        shutil.copy(path, few)
    shutil.copy(proved.photo.image, few / "photo.png")
    (few / "README").write_text("from the service")
    ran = deny("bind", "builtin", few, *signer, "--json")
    assert ran.code == 11
    assert ran.json["result"]["verdict"] == "not-bound"
    assert ran.json["result"]["reached"] == 2
    text = deny("bind", "builtin", few, *signer, "--force")
    assert text.code == 11
    assert "not found    photo.png" in text.out
    assert "not found    README: " in text.out
    assert "The signer chose the pictures" in text.out


def test_wrong_input_is_told_in_one_sentence(home, deny, signer, service):
    (home / "LIST").write_text("0" * 64 + "  gone.png\n")
    (home / "none").mkdir()
    for arguments, words in (
        (("bind", "builtin", "none", *signer), "no files"),
        (("bind", "builtin", "missing", *signer), "cannot be read"),
        (("bind", "builtin", service / "obtained", "--obtained", "LIST", *signer), "1 missing"),
        (("prove", "x.png", "--model", "builtin", *signer, "--binding", "none.json"), "no such"),
    ):
        ran = deny(*arguments)
        assert ran.code == 2, ran.err
        one_sentence(ran)
        assert words in ran.err


def test_a_list_is_wanted_where_there_is_none(deny, registered, proved, service):
    key = ("--key", registered.public_key)
    ran = deny("verify", proved.photo.bundle, *key, "--obtained", service / "LIST")
    assert ran.code == 4
    one_sentence(ran)
    shown = deny("inspect", proved.photo.bundle)
    assert "deployment not verified: the file cites no binding" in shown.out
