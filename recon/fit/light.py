"""The capture's light, from how bright skin is where it faces different ways.

Skin has nearly one colour, so what varies smoothly with the normal is light. One photo alone cannot
tell a red cheek from red light: ridge regression keeps the light as close to neutral as the skin
allows. With several frames, every anchor seen under several normals tells the two apart.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from avatar3d.light import SH_COUNT, irradiance, sh_basis
from avatar3d.template import Template

_ROUNDS = 4
_MIN_SAMPLES = 200
_OUTLIER = 0.5  # brows, lips, glasses and glints: farther than this from the model's colour


def estimate_light(
    template: Template,
    colors: Sequence[np.ndarray],
    normals: Sequence[np.ndarray],
    weights: Sequence[np.ndarray],
    ridge: float,
) -> Tensor | None:
    """Light [9, 3] from the frames' samples; None where too little skin is seen.

    colors [F][N, 3], normals [F][N, 3] (world), weights [F][N]: 0 where a frame does not see it.
    """
    face = template.is_part("face", "eyelids").numpy()
    chosen = [np.where(face & (weight > 0))[0] for weight in weights]
    index = np.concatenate(chosen)
    if len(index) < _MIN_SAMPLES:
        return None
    color = np.concatenate([c[i] for c, i in zip(colors, chosen)])
    basis = sh_basis(
        torch.from_numpy(np.concatenate([n[i] for n, i in zip(normals, chosen)])).float()
    ).numpy()
    weight = np.concatenate([w[i] for w, i in zip(weights, chosen)])
    skin = np.median(color, axis=0).clip(0.02)
    ratio = color / skin
    light = np.zeros((SH_COUNT, 3))
    light[0] = 1.0
    prior = np.diag([0.1] + [ridge] * (SH_COUNT - 1)) * len(index)
    neutral = light.copy()
    for _ in range(_ROUNDS):
        trusted = weight[:, None] * (np.abs(ratio - basis @ light) < _OUTLIER)
        for channel in range(3):
            gram = basis.T @ (basis * trusted[:, channel, None])
            right = basis.T @ (ratio[:, channel] * trusted[:, channel])
            light[:, channel] = np.linalg.solve(gram + prior, right + prior @ neutral[:, channel])
    return torch.from_numpy(light).float()


def shading(light: Tensor | None, normals: np.ndarray, lit: np.ndarray) -> np.ndarray:
    """What the light does to each anchor, [N, 3]; 1 where it does not count."""
    if light is None:
        return np.ones_like(normals)
    factor = irradiance(light, torch.from_numpy(normals).float()).numpy()
    return np.where(lit[:, None], factor, 1.0)
