"""Examiners' attestations and withdrawals on the command line, on a synthetic bundle. No torch."""

import sys

import pytest
from cli_checks import ROOT, one_sentence

from deniability.crypto.keys import generate_key, private_pem

sys.path.insert(0, str(ROOT / "tests" / "verify"))

from bundle_samples import KEY, check, sign, statement

from deniability.evidence.attest import summarise
from deniability.verify.trust import TrustPolicy


def key_files(folder, name, key):
    (folder / f"{name}.key.pem").write_bytes(private_pem(key, None))
    (folder / f"{name}.key.pem").chmod(0o600)
    (folder / f"{name}.pub.pem").write_bytes(key.public.pem)


def vouch(folder, name, key, level=1, verdict="excluded", **changes):
    raw = sign(statement(verdict))
    given = {
        "picture": True,
        "latents": True,
        "checked": ["V0 checked."],
        "not_checked": [],
        "fresh_controls": 60 if level == 2 else None,
        "time": "2026-11-03T00:00:00Z",
    }
    signed = summarise(check(raw), raw, key=key, level=level, **given | changes)
    (folder / name).write_bytes(signed)
    return folder / name


@pytest.fixture
def case(home):
    """A bundle and key files: the prover's, two examiners'; the first signed that V1 was checked.

    The prover's is an ECDSA key, the examiners' are one of each kind.
    """
    (home / "b.json").write_bytes(sign(statement()))
    one, two = generate_key("ed25519"), generate_key()
    for name, key in (("prover", KEY), ("one", one), ("two", two)):
        key_files(home, name, key)
    vouch(home, "one.json", one)
    vouch(home, "two.json", two, level=2)
    return home


BASE = ("verify", "b.json", "--key", "prover.pub.pem")
ONE = ("--attestation", "one.json", "--examiner", "one.pub.pem")
TWO = ("--attestation", "two.json", "--examiner", "two.pub.pem")


@pytest.mark.usefixtures("case")
def test_an_examiners_word_meets_a_level_and_is_told_as_such(deny):
    assert deny(*BASE, "--require", "v1").code == 4
    ran = deny(*BASE, *ONE, "--require", "v1")
    assert ran.code == 0, ran.err
    first = ran.out.splitlines()[0]
    assert first.startswith("authentic and consistent; key ")
    assert first.endswith("(examiner) states that V1 was checked; that was not checked here")
    assert "V1 was not checked" in ran.out
    as_json = deny(*BASE, *ONE, "--json").json
    assert as_json["level"] == "v0"
    assert as_json["attested"]["level"] == "v1"
    assert as_json["summary"] == first
    ran = deny(*BASE, *ONE, "--require", "v2")
    assert ran.code == 4
    assert "v1 stated" in ran.err


@pytest.mark.usefixtures("case")
def test_without_a_chosen_examiner_it_counts_for_nothing(deny):
    ran = deny(*BASE, "--attestation", "one.json")
    assert ran.code == 2
    assert "whose word you take" in ran.err
    assert deny(*BASE, "--examiner", "one.pub.pem").code == 2
    ran = deny(*BASE, "--attestation", "one.json", "--examiner", "two.pub.pem")
    assert ran.code == 4
    one_sentence(ran)
    # Trusting a signer of bundles is not choosing an examiner.
    deny("trust", "add", "one.pub.pem")
    assert deny(*BASE, "--attestation", "one.json", "--examiner", "two.pub.pem").code == 4


def test_a_threshold_counts_keys_not_files(deny, case):
    both = (*BASE, *ONE, *TWO, "--examiners", "2")
    ran = deny(*both, "--require", "v1")
    assert ran.code == 0
    assert "(examiners) state that V1 was checked" in ran.out.splitlines()[0]
    assert deny(*both, "--require", "v2").code == 4
    assert deny(*both[:-1], "3").code == 4
    (case / "again.json").write_bytes((case / "one.json").read_bytes())
    (case / "again.pub.pem").write_bytes((case / "one.pub.pem").read_bytes())
    again = ("--attestation", "again.json", "--examiner", "again.pub.pem")
    ran = deny(*BASE, *ONE, *again, "--examiners", "2")
    assert ran.code == 4
    assert "one key counts once" in ran.err


def test_about_another_bundle_or_by_the_prover_it_is_refused(deny, case):
    (case / "b.json").write_bytes(sign(statement("reached")))
    ran = deny(*BASE, *ONE)
    assert ran.code == 3
    assert "stage 'attestation'" in ran.err
    assert "authentic" not in ran.out
    (case / "b.json").write_bytes(sign(statement()))
    ran = deny(*BASE, "--attest", "mine.json", "--attest-key", "prover.key.pem")
    assert ran.code == 3
    assert "cannot attest it" in ran.err
    assert not (case / "mine.json").exists()


def test_facts_that_the_examiner_took_from_the_bundle_meet_no_level(deny, case):
    from deniability.crypto.keys import read_private_key

    key = read_private_key(case / "one.key.pem", None)
    vouch(case, "one.json", key, taken_from_bundle=["output range"])
    assert deny(*BASE, *ONE, "--require", "v1").code == 4
    ran = deny(*BASE, *ONE)
    assert ran.code == 0
    assert "the examiner took from the bundle and did not check" in ran.out


@pytest.mark.usefixtures("case")
def test_attest_signs_what_was_checked_and_that_can_be_used(deny):
    ran = deny(*BASE, "--attest", "mine.json", "--attest-key", "two.key.pem", "--json")
    assert ran.code == 0, ran.err
    assert ran.json["attestation"] == "mine.json"
    mine = ("--attestation", "mine.json", "--examiner", "two.pub.pem")
    ran = deny(*BASE, *mine)
    assert ran.code == 0
    assert "states that V0 was checked" in ran.out
    assert ran.out.splitlines()[0] == "authentic and consistent; the search was not re-run"
    assert deny(*BASE, *mine, "--require", "v1").code == 4
    assert deny(*BASE, "--attest", "mine.json", "--attest-key", "two.key.pem").code == 2
    shown = deny("inspect", "mine.json").out
    assert "DENIABILITY_V0" in shown
    assert "PASSED" in shown
    assert deny(*BASE, "--attest-key", "two.key.pem").code == 2


def test_nothing_is_attested_when_something_fails(deny, case):
    raw = bytearray((case / "b.json").read_bytes())
    raw[len(raw) // 2] ^= 1
    (case / "b.json").write_bytes(raw)
    ran = deny(*BASE, "--attest", "mine.json", "--attest-key", "two.key.pem")
    assert ran.code == 3
    assert not (case / "mine.json").exists()


@pytest.mark.usefixtures("case")
def test_a_withdrawn_finding_is_refused_once_the_verifier_has_the_withdrawal(deny):
    ran = deny("withdraw", "b.json", "--reason", "wrong sampler", "--key", "prover.key.pem")
    assert ran.code == 0, ran.err
    assert deny(*BASE).code == 0
    assert "Withdrawals were not looked at" in deny(*BASE).out
    for given in ("b.withdrawal.json", "."):
        ran = deny(*BASE, "--withdrawal", given)
        assert ran.code == 3
        one_sentence(ran)
        assert "stage 'withdrawal'" in ran.err
        assert "wrong sampler" in ran.err
        assert "authentic" not in ran.out
    again = deny("withdraw", "b.json", "--reason", "x", "--key", "prover.key.pem")
    assert again.code == 2
    assert "exists already" in again.err


@pytest.mark.usefixtures("case")
def test_somebody_elses_withdrawal_is_ignored_and_said_so(deny):
    ran = deny("withdraw", "b.json", "--reason", "x", "--key", "one.key.pem")
    assert ran.code == 4
    assert "only the key that signed a finding can withdraw it" in ran.err
    assert deny("revoke", "--key", "one.key.pem", "--reason", "stolen").code == 0
    ran = deny(*BASE, "--withdrawal", "one.withdrawal.json")
    assert ran.code == 0
    assert "one.withdrawal.json: ignored" in ran.out
    # But it does take away that examiner's word.
    ran = deny(*BASE, *ONE, "--withdrawal", "one.withdrawal.json")
    assert ran.code == 3
    assert "stolen" in ran.err


@pytest.mark.usefixtures("case")
def test_a_revoked_key_is_refused(deny):
    revoke = ("revoke", "--key", "prover.key.pem", "--reason", "lost", "-o", "gone.json")
    assert deny(*revoke, "--since", "yesterday").code == 2
    assert deny(*revoke, "--since", "2026-01-01T00:00:00Z").code == 0
    ran = deny(*BASE, "--withdrawal", "gone.json")
    assert ran.code == 3
    assert "revoked as of 2026-01-01T00:00:00Z, and it has no timestamp" in ran.err
    assert deny("verify", "b.json", "--key", "prover.pub.pem", "--withdrawal", "no").code == 2


@pytest.mark.parametrize("algorithm", ["ecdsa-p256", "ed25519"])
def test_a_protected_key_of_either_kind_through_the_whole_story(home, deny, monkeypatch, algorithm):
    """Keygen with a passphrase, a bundle by that key, verified by the trust store, withdrawn."""
    from deniability.crypto.keys import read_private_key

    monkeypatch.setenv("DENY_PASSPHRASE", "correct horse")
    made = deny("keygen", "--algorithm", algorithm, "--passphrase-prompt", "--json").json
    key = read_private_key(made["privateKey"], b"correct horse")
    (home / "b.json").write_bytes(sign(statement(), key))
    assert deny("verify", "b.json").code == 0
    assert deny("withdraw", "b.json", "--reason", "x").code == 0
    assert deny("verify", "b.json", "--withdrawal", "b.withdrawal.json").code == 3
    assert check(sign(statement(), key), TrustPolicy((key.public,))).signer == key.public
    monkeypatch.setenv("DENY_PASSPHRASE", "wrong")
    assert deny("revoke", "--reason", "x").code == 2
    monkeypatch.setenv("DENY_PASSPHRASE", "correct horse")
    (home / made["privateKey"]).chmod(0o640)
    ran = deny("revoke", "--reason", "x")
    assert ran.code == 2
    assert "chmod 600" in ran.err


@pytest.mark.slow
def test_an_examiner_with_the_model_vouches_for_those_without(home, deny, proved, registered):
    """V1 run for real by the examiner, then relied on without picture and model."""
    deny("keygen", "--name", "examiner", "--folder", "keys")
    base = ("verify", proved.own.bundle, "--key", registered.public_key)
    full = ("--image", proved.own.image, "--model", "builtin", "--trust-model")
    sign_with = ("--attest", "v1.json", "--attest-key", "keys/examiner.key.pem")
    ran = deny(*base, *full, *sign_with)
    assert ran.code == 0, ran.err
    assert "v1.json" in ran.out
    word = ("--attestation", "v1.json", "--examiner", "keys/examiner.pub.pem")
    relied = deny(*base, *word, "--require", "v1")
    assert relied.code == 0, relied.err
    assert "states that V1 was checked" in relied.out.splitlines()[0]
    assert deny(*base, *word, "--require", "v2").code == 4
    assert (home / "v1.json").stat().st_size < 20_000
    # The same examiner's word about another of these bundles is refused.
    other = deny("verify", proved.twin.bundle, "--key", registered.public_key, *word)
    assert other.code == 3
