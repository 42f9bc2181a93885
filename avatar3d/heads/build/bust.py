"""Neck and bust: rows from the head's lower border down to the chest."""

from __future__ import annotations

import numpy as np
from scipy.interpolate import PchipInterpolator

from avatar3d.heads.build.halfmesh import HalfMesh, Points
from avatar3d.heads.build.skin import Skin
from avatar3d.heads.build.surface import normalised

ROWS = 22
# Along a row parameter t: neck to 0.45, slope of the shoulders to 0.8, upper arm and chest to 1.
T = np.array([0.0, 0.12, 0.28, 0.42, 0.56, 0.70, 0.82, 0.91, 1.0])
HALF_WIDTH = np.array([0.0575, 0.0565, 0.0570, 0.0660, 0.1020, 0.1560, 0.1930, 0.2030, 0.2050])
SIDE_Y = np.array([-0.096, -0.109, -0.128, -0.149, -0.167, -0.181, -0.204, -0.246, -0.300])
FRONT_Y = np.array([-0.130, -0.139, -0.153, -0.170, -0.188, -0.208, -0.235, -0.266, -0.300])
FRONT_Z = np.array([-0.028, -0.0325, -0.0375, -0.0390, -0.0330, -0.0230, -0.0100, 0.0020, 0.0100])
BACK_Y = np.array([-0.082, -0.094, -0.116, -0.140, -0.166, -0.196, -0.230, -0.265, -0.300])
BACK_Z = np.array([-0.141, -0.1390, -0.1380, -0.1420, -0.1540, -0.1660, -0.1750, -0.1800, -0.1820])
SIDE_Z = np.array([-0.088, -0.0880, -0.0890, -0.0920, -0.0960, -0.0970, -0.0930, -0.0900, -0.0880])

POLE = normalised(np.array([0.0, -0.95, -0.18]))  # the name towards which the bust's rows go


def rows(angle: Points, t: Points) -> Points:
    """Points [R, C, 3] at row parameters t [R] and angles [C] (0 front, pi back, sideways +X)."""

    def along(values: np.ndarray) -> np.ndarray:
        return PchipInterpolator(T, values)(t)[:, None]

    s, c = np.sin(angle)[None], np.cos(angle)[None]
    # A neck's section is an ellipse, a chest's a rounded box.
    box = np.clip((t - 0.40) / 0.45, 0.0, 1.0)[:, None]
    x = along(HALF_WIDTH) * np.abs(s) ** (0.9 - 0.15 * box)
    front, back = c > 0, c <= 0
    reach = np.abs(c) ** (1.0 - 0.35 * box)
    z = along(SIDE_Z) + np.where(front, along(FRONT_Z) - along(SIDE_Z), 0.0) * reach * front
    z = z + (along(BACK_Z) - along(SIDE_Z)) * reach * back
    rise = np.abs(c) ** (1.3 + 0.2 * box)
    y = along(SIDE_Y) + (np.where(front, along(FRONT_Y), along(BACK_Y)) - along(SIDE_Y)) * rise
    return np.stack([x, y, z], axis=-1)


def add_bust(mesh: HalfMesh, skin: Skin) -> np.ndarray:
    """Adds the rows below the head's border; indices [ROWS + 1, columns] with the border first."""
    border = skin.neck_border
    angle = np.linspace(0.0, np.pi, len(border))
    t = np.linspace(0.0, 1.0, ROWS + 1)
    grid = rows(angle, t)
    # Start exactly at the border; the difference fades within the first rows.
    grid += (mesh.vertices[border] - grid[0])[None] * np.clip(1.0 - t / 0.25, 0.0, 1.0)[
        :, None, None
    ]
    grid[:, [0, -1], 0] = 0.0
    share = (t / 1.15)[1:, None, None]
    names = normalised(mesh.names[border][None] * (1 - share) + POLE * share)
    lower = mesh.add("bust", grid[1:], names)
    all_rows = np.concatenate([border[None], lower])
    neck_rows = int(np.searchsorted(t, 0.45))
    mesh.connect_grid(all_rows[: neck_rows + 1], "neck")
    mesh.connect_grid(all_rows[neck_rows:], "bust")
    return all_rows
