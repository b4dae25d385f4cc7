"""The short ways of reading and checking a bundle accept what the long ones accept, and no more."""

import pytest
from bundle_samples import sample, statement
from hypothesis import given
from hypothesis import strategies as st

from deniability.crypto.canonical import canonical_json
from deniability.crypto.seeds import derive_seed, derive_seeds
from deniability.errors import CommitmentError, StatementError
from deniability.verify import exclusion as reading
from deniability.verify import trace
from deniability.wire.restarts import RestartRecord, Restarts
from deniability.wire.roles import restart_seeds

PAYLOAD = canonical_json(statement())
REACHED = sample(
    ["4.40000e-02", "5.00000e-02", "0", *["5.00000e-02"] * 9], reached_at=2, pixel_for_pixel=True
)


def test_both_ways_read_the_same():
    short, long = reading._read_at_once(PAYLOAD), reading._read_in_steps(PAYLOAD, "x")
    assert short == long
    assert short.exclusion.restarts.leaves == long.exclusion.restarts.leaves
    assert short.exclusion.restarts.columns == long.exclusion.restarts.columns


def test_the_fields_of_a_restart_are_in_the_order_of_canonical_json():
    names = list(RestartRecord.model_fields)
    assert names == sorted(names)
    assert all(name.isalpha() for name in names)  # no underscore: its alias is itself


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"index":1,"iterations":20', b'"iterations":20,"index":1'),
        (b'"index":1,', b'"index":1,"index":1,'),
        (b'"index":1,', b'"index":1, '),
        (b'"index":1,', b'"index":1.0,'),
        (b'"index":0,', b'"index":-0,'),
        (b'"index":1,"iterations":20', b'"index":1,"iterations":9007199254740992'),
        (b'"index":1,"iterations":20', b'"index":1,"iterations":20,"label":null'),
        (b'"start":"prior"', b'"start":"prio\\u0072"'),
        (b'"predicateType":', b'"predicatetype":'),
        (b"exclusion/v1", b"exclusion/v2"),
    ],
)
def test_another_spelling_is_refused_by_both(old, new):
    changed = b'"restarts":['.join(
        part.replace(old, new, 1) if i or b'"index"' not in old else part
        for i, part in enumerate(PAYLOAD.split(b'"restarts":['))
    )
    assert changed != PAYLOAD
    assert reading._read_at_once(changed) is None
    with pytest.raises(StatementError):
        reading.read_exclusion(changed, where="x")


def changes():
    one = st.sampled_from(["0", "1.00000e-09", "9.99999e-10", "5.00000e-02", None])
    return st.fixed_dictionaries(
        {},
        optional={
            "index": st.integers(0, 12),
            "seed": st.just("0" * 64),
            "start": st.sampled_from(["encoder", "encoder-noise", "prior", "staged"]),
            "stop": st.sampled_from(["reached", "stalled", "exhausted", "nonFinite", "notRun"]),
            "residual": one,
            "distance": one,
            "iterations": st.integers(0, 1),
            "latent": st.sampled_from([None, "0" * 64]),
        },
    )


@given(st.booleans(), st.dictionaries(st.integers(0, 11), changes()))
def test_the_loop_says_what_the_checks_say(reached, changed):
    exclusion = REACHED if reached else sample()
    restarts = list(exclusion.restarts)
    for index, update in changed.items():
        restarts[index] = restarts[index].model_copy(update=update)
    attacked = exclusion.model_copy(update={"restarts": Restarts(restarts)})
    picture = exclusion.accused.file.sha256
    seeds = restart_seeds(exclusion.model, exclusion.protocol.digest, picture, len(restarts))
    limit = exclusion.finding.families[0].threshold
    searched = trace.Trace(attacked, attacked.restarts, exclusion.controls.kind, limit)
    try:
        trace._check_each(searched, seeds, "x")
        trace._check_stop_order(searched, "x")
    except CommitmentError:
        good = False
    else:
        good = True
    assert trace._all_follow(searched, seeds) is good


def test_seeds_at_once_are_those_one_by_one():
    given = {"role": "restart", "weights": "a", "protocol": "b", "picture": "c", "beacon": "d"}
    assert derive_seeds(**given, count=5) == [derive_seed(**given, index=i).hex() for i in range(5)]
