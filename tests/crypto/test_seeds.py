import hashlib
import itertools

import pytest

from deniability.crypto.seeds import derive_seed
from deniability.errors import CommitmentError

BASE = {"role": "control", "weights": "w", "protocol": "p", "picture": "", "beacon": "", "index": 7}


def test_the_preimage_is_as_written_in_the_specification():
    preimage = (
        b'{"beacon":"","domain":"deniability/seed/v1","index":"7","picture":"",'
        b'"protocol":"p","role":"control","weights":"w"}'
    )
    assert derive_seed(role="control", weights="w", protocol="p", index=7) == (
        hashlib.sha256(preimage).digest()
    )


def test_every_argument_counts_and_none_can_stand_for_another():
    changes = [{name: "x"} for name in BASE if name != "index"] + [{"index": i} for i in (0, 77)]
    changes += [{"weights": "wp", "protocol": ""}, {"weights": "", "protocol": "wp"}]
    changes += [{"role": 'control","weights":"w'}, {"index": 2**64}]
    seeds = [derive_seed(**{**BASE, **change}) for change in [{}, *changes]]
    assert all(len(seed) == 32 for seed in seeds)
    assert all(one != other for one, other in itertools.combinations(seeds, 2))


def test_a_negative_index_is_refused():
    with pytest.raises(CommitmentError, match="index is negative"):
        derive_seed(role="restart", weights="w", protocol="p", index=-1)
