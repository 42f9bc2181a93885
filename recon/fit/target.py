"""What renders of a frame are compared with: the person over plain backgrounds."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from recon.fit.observation import Observation
from render.losses import PreparedTarget, prepare_target

# Over one background alone, a Gaussian in the silhouette's rim may pass by taking its colour.
BACKGROUNDS = ((1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
# Outside the matte only opacity is to blame; a colour fitted there would be the background's.
_PERSON = 0.05


def person_target(
    observation: Observation, background: Sequence[float], emphasis: Tensor | None = None
) -> PreparedTarget:
    """A frame, `continued`, over one background; only the person in it counts, `emphasis` [S, S] says
    how much."""
    person = torch.from_numpy(observation.valid & (observation.matte > _PERSON)).float()
    weight = person if emphasis is None else person * emphasis
    return prepare_target(torch.from_numpy(observation.over(background)), weight)
