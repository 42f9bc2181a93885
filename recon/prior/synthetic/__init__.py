"""Synthetic people: random heads with generated looks, an endless seeded stream of episodes."""

from recon.prior.synthetic.episodes import EpisodeStream, synthetic_clip, synthetic_episode
from recon.prior.synthetic.person import SyntheticPerson, synthetic_person

__all__ = [
    "EpisodeStream",
    "SyntheticPerson",
    "synthetic_clip",
    "synthetic_episode",
    "synthetic_person",
]
