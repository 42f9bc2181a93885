"""Gaussians as files hold them: logs of scales, logits of opacities, colours as SH coefficients."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from avatar3d.errors import UserError
from avatar3d.gaussians import SH_C0, Gaussians

MAX_SPLATS = 10_000_000
SH_COUNTS = (1, 4, 9, 16)  # coefficients a channel, by degree
_OPACITY_LIMIT = 1e-6  # beyond it a logit says more than a float32 opacity knows

# How the SH basis changes its sign when y and z do (a half turn about x), degree by degree.
_HALF_TURN_SH = np.array(
    [1, -1, -1, 1, -1, 1, 1, -1, 1, -1, 1, -1, -1, 1, -1, 1], np.float32
)  # fmt: skip

# What a file may hold; beyond lies damage, and numbers that crash those who draw them.
_BOUNDS = {
    "positions": (-1e4, 1e4),
    "quaternions": (-1e3, 1e3),
    "log_scales": (-40.0, 10.0),
    "opacity_logits": (-100.0, 100.0),
    "sh": (-1e3, 1e3),
}


class Splats(NamedTuple):
    """Still Gaussians in the project's frame, float32."""

    positions: np.ndarray  # [N, 3] metres
    quaternions: np.ndarray  # [N, 4] wxyz
    log_scales: np.ndarray  # [N, 3] ln metres
    opacity_logits: np.ndarray  # [N]
    sh: np.ndarray  # [N, K, 3], K = 1, 4, 9 or 16; signs of 3DGS

    @staticmethod
    def from_gaussians(gaussians: Gaussians) -> Splats:
        """Posed Gaussians of one code, with plain colours [N, 3]."""
        means, quaternions, scales, opacities, colors = (
            value.detach().cpu().double().numpy() for value in gaussians
        )
        opacities = opacities.clip(_OPACITY_LIMIT, 1 - _OPACITY_LIMIT)
        norms = np.linalg.norm(quaternions, axis=-1, keepdims=True)
        return Splats(
            *(
                np.ascontiguousarray(value, np.float32)
                for value in (
                    means,
                    quaternions / norms.clip(1e-12),
                    np.log(scales.clip(1e-12)),
                    np.log(opacities / (1 - opacities)),
                    ((colors - 0.5) / SH_C0)[:, None, :],
                )
            )
        )

    def to_gaussians(self) -> Gaussians:
        """With plain colours: the part that looks the same from everywhere."""
        means, quaternions, log_scales, logits = map(torch.from_numpy, self[:4])
        colors = torch.from_numpy(self.sh[:, 0]) * SH_C0 + 0.5
        return Gaussians(
            means, quaternions, log_scales.exp(), logits.sigmoid(), colors.clamp(min=0)
        )

    def half_turned(self) -> Splats:
        """Turned by 180 degrees about x: from +Y up to +Y down, or back. Only signs change."""
        flip = np.array([1, -1, -1], np.float32)
        return self._replace(
            positions=self.positions * flip,
            # Of the quaternions that give the turned ellipsoid this one takes no arithmetic.
            quaternions=self.quaternions * np.array([1, 1, -1, -1], np.float32),
            sh=self.sh * _HALF_TURN_SH[: self.sh.shape[1], None],
        )


def check_splats(splats: Splats, path: Path) -> Splats:
    """The same, or a UserError that says which value no Gaussian has."""
    for name, values in zip(Splats._fields, splats):
        low, high = _BOUNDS[name]
        what = name.replace("_", " ")
        if not np.isfinite(values).all():
            raise UserError(f"{path} has NaN or infinite {what}; it is damaged")
        if values.size and not (values.min() >= low and values.max() <= high):
            raise UserError(
                f"{path} has {what} from {values.min():g} to {values.max():g}, expected {low:g} to "
                f"{high:g}; it is damaged, or not in metres"
            )
    if (np.abs(splats.quaternions).max(axis=-1, initial=0.0) < 1e-6).any():
        raise UserError(f"{path} has rotations of length zero; it is damaged")
    return splats


def check_count(count: int, path: Path) -> None:
    if not 1 <= count <= MAX_SPLATS:
        raise UserError(f"{path} claims {count:,} Gaussians, expected 1 to {MAX_SPLATS:,}")
