"""Which Gaussians make which texels: pictures from Gaussians, and changes of pictures back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from avatar3d.io.gather import Cloud, gather
from avatar3d.io.surface import Surface
from avatar3d.io.texels import Texels
from avatar3d.progress import progress


@dataclass(frozen=True)
class Footprints:
    """A sparse matrix of shares, texels [P] by Gaussians [N]."""

    opacities: np.ndarray  # [N]
    texel: np.ndarray  # [M] int32
    gaussian: np.ndarray  # [M] int32
    weight: np.ndarray  # [M] float32
    texel_count: int

    @staticmethod
    def of(cloud: Cloud, texels: Texels, surface: Surface, group: np.ndarray) -> Footprints:
        points = texels.interpolate(surface, surface.vertices)
        normals = texels.interpolate(surface, surface.normals)
        normals /= np.linalg.norm(normals, axis=-1, keepdims=True).clip(1e-12)
        parts = []
        with progress("footprints", len(points)) as step:
            for hits in gather(cloud, points, normals, group, step):
                parts.append(
                    (hits.point.astype(np.int32), hits.gaussian.astype(np.int32), hits.weight)
                )
        texel, gaussian, weight = (np.concatenate(column) for column in zip(*parts))
        return Footprints(cloud.opacities, texel, gaussian, weight, len(points))

    def gather(self, values: np.ndarray) -> np.ndarray:
        """What the texels show of the Gaussians' values, [N, C] -> [P, C]."""
        return self._mean(self.texel, values[self.gaussian], self.texel_count)

    def spread(self, values: np.ndarray) -> np.ndarray:
        """The mean of each Gaussian's texels by their shares, [P, C] -> [N, C]; 0 without any."""
        return self._mean(self.gaussian, values[self.texel], len(self.opacities))

    def _mean(self, index: np.ndarray, values: np.ndarray, count: int) -> np.ndarray:
        total = np.bincount(index, self.weight, count)
        sums = np.stack(
            [np.bincount(index, self.weight * column, count) for column in values.T], axis=-1
        )
        return np.where(total[:, None] > 0.02, sums / total.clip(1e-12)[:, None], 0.0)
