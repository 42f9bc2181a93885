"""Baked pictures: what the texels of the head, or of the sheet behind it, show."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from avatar3d.io.bake import LEAST_COVER, SHEET_GROUP, Baked, Resting, bake
from avatar3d.io.surface import Surface
from avatar3d.io.texels import Texels, filled, surface_texels

_LEAST_SHOWN = 0.05  # a triangle of the sheet with less cover is left out


@dataclass(frozen=True)
class Maps:
    """Values at the texels of one surface, and the size of the square that they lie in."""

    size: int
    texels: Texels
    baked: Baked

    def picture(self, values: np.ndarray) -> np.ndarray:
        """Values [P, C] as a picture [S, S, C], 0 beside the surface."""
        picture = np.zeros((self.size * self.size, values.shape[1]))
        picture[self.texels.index] = values
        return picture.reshape(self.size, self.size, -1)

    def filled_picture(self, values: np.ndarray) -> np.ndarray:
        """The same with texels that nothing covers filled from around."""
        known = self.picture((self.baked.cover > LEAST_COVER)[:, None])[..., 0] > 0
        return filled(self.picture(values), known)

    def srgb(self) -> np.ndarray:
        """Colours as uint8 [S, S, 3], filled."""
        return to_byte(self.filled_picture(self.baked.colors))

    def srgb_with_cover(self) -> np.ndarray:
        """Colours and cover as uint8 [S, S, 4]."""
        cover = self.picture(self.baked.cover[:, None])
        return np.concatenate([self.srgb(), to_byte(cover)], axis=-1)

    def trimmed(self, surface: Surface) -> Surface:
        """The surface without triangles that show next to nothing, standing where it shows."""
        shown = np.zeros(len(surface.triangles))
        np.maximum.at(shown, self.texels.triangle, self.baked.cover)
        heights = np.zeros((len(surface.vertices), 2))
        corners = surface.triangles[self.texels.triangle]
        for corner in range(3):
            share = self.texels.barycentrics[:, corner] * self.baked.cover
            heights[:, 0] += np.bincount(
                corners[:, corner], share * self.baked.height, len(heights)
            )
            heights[:, 1] += np.bincount(corners[:, corner], share, len(heights))
        height = heights[:, :1] / heights[:, 1:].clip(1e-9)
        keep = shown > _LEAST_SHOWN
        return replace(
            surface,
            vertices=surface.vertices + height * surface.normals,
            triangles=surface.triangles[keep],
            group=surface.group[keep],
        )


def bake_surface(resting: Resting, surface: Surface, size: int, lit: bool = False) -> Maps:
    """The head's maps, `size` texels a side; `lit` keeps the light in the colours."""
    texels = surface_texels(surface, size)
    group = surface.group[texels.triangle]
    return Maps(size, texels, _bake_texels(resting, surface, texels, group, lit, "texture"))


def bake_sheet(resting: Resting, sheet: Surface, size: int, lit: bool = False) -> Maps:
    """The maps of the sheet behind the head."""
    texels = surface_texels(sheet, size)
    group = np.full(len(texels.index), SHEET_GROUP)
    return Maps(size, texels, _bake_texels(resting, sheet, texels, group, lit, "sheet"))


def _bake_texels(
    resting: Resting, surface: Surface, texels: Texels, group: np.ndarray, lit: bool, label: str
) -> Baked:
    points = texels.interpolate(surface, surface.vertices)
    normals = texels.interpolate(surface, surface.normals)
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True).clip(1e-12)
    return bake(resting, points, normals, group, lit, label)


def to_byte(values: np.ndarray) -> np.ndarray:
    return np.rint(values.clip(0, 1) * 255).astype(np.uint8)
