"""A stolen key: what a trusted timestamp shows to be older than the theft stays good."""

import sys

import pytest
from cli_checks import ROOT

sys.path.insert(0, str(ROOT / "tests"))
sys.path.insert(0, str(ROOT / "tests" / "verify"))

from bundle_samples import KEY, sign, statement
from tsa_server import Authority, serving

from deniability.evidence.withdraw import revoke_key


@pytest.fixture
def stamped(home, deny):
    """A bundle stamped now, and its authority's root."""
    tsa = Authority(home)
    (home / "prover.pub.pem").write_bytes(KEY.public.pem)
    (home / "b.json").write_bytes(sign(statement()))
    with serving(tsa.respond) as (url, _):
        assert deny("timestamp", "b.json", "--tsa", url).code == 0
    return home, ("--tsa-root", tsa.root_file)


def test_a_key_revoked_since_then_keeps_it_and_one_revoked_from_before_does_not(stamped, deny):
    home, root = stamped
    base = ("verify", "b.json", "--key", "prover.pub.pem", "--withdrawal")
    late = revoke_key(
        KEY, reason="stolen", time="2099-01-02T00:00:00Z", since="2099-01-01T00:00:00Z"
    )
    early = revoke_key(
        KEY, reason="stolen", time="2099-01-02T00:00:00Z", since="2020-01-01T00:00:00Z"
    )
    (home / "late.json").write_bytes(late)
    (home / "early.json").write_bytes(early)
    assert deny(*base, "late.json", *root).code == 0
    ran = deny(*base, "early.json", *root)
    assert ran.code == 3
    assert "its earliest timestamp is of" in ran.err
    # Without the authority's root no time is known.
    ran = deny(*base, "late.json")
    assert ran.code == 3
    assert "no timestamp by an authority that you trust" in ran.err


def test_inspect_shows_time_and_authority(stamped, deny):
    del stamped
    shown = deny("inspect", "b.json").out
    assert "+00:00 by CN=" in shown
    assert "TSA" in shown
