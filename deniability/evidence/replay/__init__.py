"""Levels V1 and V2 of `deny verify`: the verifier runs the model himself.

V1 renders every stored latent again, one forward pass each, and decides the finding anew from its
own residuals, tolerances taken against the prover. V2 searches: the accused picture from the
prover's seeds and from prior draws of the verifier's own, and *fresh controls* by the verifier's
randomness, whose tail is compared with the bundle's. (EVIDENCE section 1.)
"""

from deniability.evidence.replay.found import SearchReplay
from deniability.evidence.replay.latents import LatentsReplay, replay_latents
from deniability.evidence.replay.search import replay_search

__all__ = ["LatentsReplay", "SearchReplay", "replay_latents", "replay_search"]
