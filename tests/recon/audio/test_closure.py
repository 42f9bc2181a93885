"""The opening speaks for closed lips: what changes, and what does not."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import torch

from recon.audio.outputs import CLOSURE, OPENING, run
from recon.audio.train import hear_opening
from tests.avatar3d.audio.voices import random_voice
from tests.recon.audio.lessons import made_lesson


def test_closure_hears_the_opening_and_keeps_its_mean_and_spread() -> None:
    network = random_voice(5).network
    bands = [made_lesson(name, 4.0, seed).bands for seed, name in enumerate("ab")]
    spoken = cast(Any, SimpleNamespace(utterances=[SimpleNamespace(bands=one) for one in bands]))
    before = np.concatenate([run(network, one)[0] for one in bands])
    hear_opening(network, spoken, share=0.5)
    after = np.concatenate([run(network, one)[0] for one in bands])
    others = np.arange(before.shape[1]) != CLOSURE
    assert np.array_equal(after[:, others], before[:, others])
    assert abs(after[:, CLOSURE].mean() - before[:, CLOSURE].mean()) < 1e-4
    assert abs(after[:, CLOSURE].std() / before[:, CLOSURE].std() - 1) < 1e-3
    units = [before[:, row] / before[:, row].std() for row in (CLOSURE, OPENING)]
    wanted = units[0] - 0.5 * units[1]
    assert np.corrcoef(wanted, after[:, CLOSURE])[0, 1] > 1 - 1e-5
    assert torch.isfinite(network.head.weight).all()
