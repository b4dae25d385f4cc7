"""What earlier versions wrote still verifies: at V0, and with the model at V1."""

import contextlib
import io
from pathlib import Path

import pytest

from deniability.cli.app import run
from deniability.crypto.keys import read_public_key
from deniability.verify.bundle import verify_bundle, verify_registration
from deniability.verify.chain import verify_chain
from deniability.verify.evaluation import verify_evaluation
from deniability.verify.trust import TrustPolicy

HERE = Path(__file__).resolve().parent
VERSIONS = sorted(path for path in HERE.iterdir() if path.is_dir() and path.name[0].isdigit())
every_version = pytest.mark.parametrize("folder", VERSIONS, ids=lambda path: path.name)


def trust(folder):
    return TrustPolicy((read_public_key(folder / "key.pub.pem"),))


def test_there_is_a_version():
    assert VERSIONS


@every_version
@pytest.mark.parametrize("verdict", ["excluded", "inconclusive", "reached"])
def test_bundles_verify(folder, verdict):
    raw = (folder / f"{verdict}.bundle.json").read_bytes()
    exclusion = verify_bundle(raw, trust=trust(folder)).exclusion
    assert exclusion.finding.verdict == verdict
    assert exclusion.environment.deniability == folder.name


@every_version
def test_an_evaluation_verifies(folder):
    raw = (folder / "evaluation.json").read_bytes()
    verified = verify_evaluation(raw, trust=trust(folder)).evaluation
    registration = verify_registration(
        (folder / "registration.json").read_bytes(), trust=trust(folder)
    )
    assert verified.registration.payload == registration.payload_digest
    assert [family.name for family in verified.families] == ["lossless", "saved-jpeg-75-gray"]
    assert verified.result.own == 60
    assert verified.environment.deniability == folder.name


@every_version
def test_registration_and_chain_verify(folder):
    registration = verify_registration(
        (folder / "registration.json").read_bytes(), trust=trust(folder)
    )
    chain = verify_chain((folder / "key.chain.json").read_bytes(), trust=trust(folder))
    assert chain.position(registration.payload_digest) == 0


@every_version
def test_a_bundle_verifies_with_its_model(folder):
    out, err = io.StringIO(), io.StringIO()
    bundle, key = folder / "excluded.bundle.json", folder / "key.pub.pem"
    picture = folder / "excluded.png"
    options = ["--key", str(key), "--image", str(picture), "--model", "builtin"]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run(["verify", str(bundle), *options, "--require", "v1"])
    assert code == 0, err.getvalue()
