"""A person's own way of speaking from a short clip of them.

The trunk stays; the head is regressed anew on what this mouth did, with the old head as the prior.
How much the clip is trusted is chosen on a part of it that was held back, and where no trust helps
there, the old weights are kept: a clip of five seconds may teach nothing.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float

from avatar3d.audio.model import VoiceModel
from avatar3d.audio.network import VoiceNetwork
from avatar3d.errors import UserError
from recon.audio.material import MEASURE_SPREAD, Lesson, correlation
from recon.audio.outputs import CLOSURE, ENERGY, MEASURES, TAUGHT, run

logger = logging.getLogger(__name__)

TRUSTS = (30.0, 100.0, 300.0, 1000.0, 3000.0)  # ridge: frames' worth of the old head
HELD_BACK = 0.3  # of the clip, at its end
SHORTEST_S = 5.0
# More teaches little more, and takes as long as it lasts to be tracked.
LONGEST_S = 60.0
_GAP_FRAMES = 25  # between what teaches and what judges
_LOGIT_OF_RIDGE = 4.0


@dataclass(frozen=True)
class Personal:
    model: VoiceModel
    before: float  # mean correlation of the measures on the part held back
    after: float
    trust: float | None  # the ridge chosen; None: the old weights are kept


def personalise(model: VoiceModel, lesson: Lesson) -> Personal:
    """`lesson` is the person's clip, its sound aligned with its pictures."""
    frames = np.flatnonzero(lesson.seen)
    if len(frames) / 50 < SHORTEST_S:
        raise UserError(
            f"the clip shows {len(frames) / 50:.1f} s of the face with sound, expected at least "
            f"{SHORTEST_S:.0f} s (10 s and more teach better); give a longer one"
        )
    cut = int(len(frames) * (1 - HELD_BACK))
    teaching, judging = frames[:cut], frames[cut + _GAP_FRAMES :]
    outputs, hidden = run(model.network, lesson.bands)
    before = agreement(outputs[judging, MEASURES], lesson.measures[judging])
    tried = {}
    for trust in TRUSTS:
        head = refit(model.network, hidden[teaching], targets(lesson)[teaching], trust)
        said = hidden[judging] @ head.weight.detach().numpy().T + head.bias.detach().numpy()
        tried[trust] = agreement(said[:, MEASURES], lesson.measures[judging])
    trust = max(tried, key=lambda one: tried[one])
    if tried[trust] <= before:
        return Personal(model, before, before, None)
    network = copy.deepcopy(model.network)
    network.head = refit(model.network, hidden[frames], targets(lesson)[frames], trust)
    facts = dict(model.facts, name=f"personal, from {model.facts.get('name')}", trust=trust)
    facts["taught_by"] = [*_names(model.facts.get("taught_by")), lesson.sha256[:8]]
    personal = replace(model, network=network.eval().requires_grad_(False), facts=facts, onnx=None)
    return Personal(personal, before, tried[trust], trust)


def refit(
    network: VoiceNetwork,
    hidden: Float[np.ndarray, "N W"],
    targets: Float[np.ndarray, "N K"],
    trust: float,
    *,
    from_nothing: bool = False,
) -> torch.nn.Linear:
    """Ridge regression of channels, measures and closure (0/1) on hidden states.

    It is drawn to the present head with the weight of `trust` frames, or to none at all.
    """
    head = copy.deepcopy(network.head)
    x, y = hidden.astype(np.float64), targets.astype(np.float64)
    prior = head.weight.detach().double().numpy()[:ENERGY].T.copy()
    prior[:, CLOSURE] /= _LOGIT_OF_RIDGE
    prior *= not from_nothing
    mean_x, mean_y = x.mean(0), y.mean(0)
    moved = (x - mean_x).T @ (y - mean_y - (x - mean_x) @ prior)
    gram = (x - mean_x).T @ (x - mean_x) + trust * np.eye(x.shape[1])
    weight = prior + np.linalg.solve(gram, moved)
    bias = mean_y - mean_x @ weight
    # A regression on 0 and 1 becomes a logit.
    weight[:, CLOSURE] *= _LOGIT_OF_RIDGE
    bias[CLOSURE] = _LOGIT_OF_RIDGE * (bias[CLOSURE] - 0.5)
    with torch.no_grad():
        head.weight[TAUGHT] = torch.from_numpy(weight.T).float()[TAUGHT]
        head.bias[TAUGHT] = torch.from_numpy(bias).float()[TAUGHT]
    return head


def agreement(said: Float[np.ndarray, "N 7"], truth: Float[np.ndarray, "N 7"]) -> float:
    """Mean correlation over the measures."""
    return float(
        np.mean([correlation(said[:, k], truth[:, k]) for k in range(len(MEASURE_SPREAD))])
    )


def targets(lesson: Lesson) -> Float[np.ndarray, "T 27"]:
    """Channels, measures and closure: what `refit` regresses on."""
    closed = lesson.closed[:, None].astype(np.float32)
    return np.concatenate([lesson.channels, lesson.measures, closed], axis=1)


def _names(value: object) -> Sequence[str]:
    return [str(name) for name in value] if isinstance(value, list) else []
