"""The similarity or rigid motion that takes points onto points, also where some are outliers."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Similarity(NamedTuple):
    """x -> scale * rotation @ x + translation."""

    scale: float
    rotation: np.ndarray  # [3, 3]
    translation: np.ndarray  # [3]

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """Points [..., 3] moved."""
        return self.scale * points @ self.rotation.T + self.translation

    def inverse(self) -> Similarity:
        rotation = self.rotation.T
        return Similarity(1 / self.scale, rotation, -(rotation @ self.translation) / self.scale)


def align(
    source: np.ndarray,
    target: np.ndarray,
    weights: np.ndarray | None = None,
    *,
    with_scale: bool = True,
) -> Similarity:
    """The motion that takes `source` [N, 3] onto `target` [N, 3] with the least weighted squares
    (Umeyama 1991)."""
    if source.shape != target.shape or source.ndim != 2 or source.shape[1] != 3 or len(source) < 3:
        raise ValueError(
            f"align needs two equal lists of at least 3 points, got {source.shape}, {target.shape}"
        )
    share = np.full(len(source), 1.0) if weights is None else np.asarray(weights, np.float64)
    share = share / share.sum()
    source_mean, target_mean = share @ source, share @ target
    a, b = source - source_mean, target - target_mean
    u, singular, vt = np.linalg.svd((b * share[:, None]).T @ a)
    sign = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    rotation = u @ np.diag(sign) @ vt
    spread = float((share[:, None] * a**2).sum())
    scale = float((singular * sign).sum() / spread) if with_scale and spread > 0 else 1.0
    return Similarity(scale, rotation, target_mean - scale * rotation @ source_mean)
