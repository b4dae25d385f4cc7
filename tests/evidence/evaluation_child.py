"""Runs V1 and V2 of an evaluation in an isolated child that knows the protocols of the tests."""

import toy_evidence as toy

from deniability.evidence.replay import isolated_evaluation
from deniability.wire.protocol import PRESETS


def main(arguments):
    PRESETS.update({protocol.name: protocol for protocol in toy.ALL})
    return isolated_evaluation.main(arguments)
