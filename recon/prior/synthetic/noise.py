"""Smooth noise over space: what keeps generated surfaces from looking like plastic."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

_WAVES = 16  # as a sum of plane waves it needs no lattice and has no seams


def smooth_noise(
    points: Float[np.ndarray, "N 3"], wavelength_m: float, rng: np.random.Generator
) -> Float[np.ndarray, " N"]:
    """Noise of zero mean and unit variance whose patches are about half a wavelength wide."""
    directions = rng.normal(size=(_WAVES, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    lengths = wavelength_m * np.exp(rng.uniform(-0.4, 0.4, _WAVES))
    phases = rng.uniform(0, 2 * np.pi, _WAVES)
    rows = (2 * np.pi * directions / lengths[:, None]).T
    waves = points.astype(np.float32) @ rows.astype(np.float32) + phases.astype(np.float32)
    return np.cos(waves).sum(1).astype(np.float64) * np.sqrt(2 / _WAVES)


def mixed(a: np.ndarray, b: np.ndarray, share: np.ndarray) -> Float[np.ndarray, "N 3"]:
    """Colours from `a` to `b` [3] or [N, 3] by `share` [N]."""
    return a + (b - a) * np.clip(share, 0, 1)[:, None]
