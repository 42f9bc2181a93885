"""What many people teach about one: a prior over the attributes, learned from few-shot episodes."""

from recon.prior.prior import LearnedSteps, Prior, untrained
from recon.prior.weights import SHIPPED, load_prior, read_prior, save_prior

__all__ = [
    "SHIPPED",
    "LearnedSteps",
    "Prior",
    "load_prior",
    "read_prior",
    "save_prior",
    "untrained",
]
