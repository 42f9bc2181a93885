"""Eyeballs, and the lids' inner side that rests on them."""

from __future__ import annotations

import numpy as np

from avatar3d.heads.build import anthropometry as body
from avatar3d.heads.build.halfmesh import HalfMesh, Points
from avatar3d.heads.build.skin import Skin
from avatar3d.heads.build.surface import normalised

LEFT_EYE: Points = np.array([body.EYE_CENTRE_MEASURED[0], 0.0, 0.0])
EYE_COLUMNS = 24
# Angles from the optical axis of the eyeball's rings: dense over pupil and iris.
RING_ANGLES = np.radians([11.0, 20.0, 29.4, 36.0, 46.0, 58.0, 72.0, 88.0, 106.0, 126.0, 150.0])


def add_eyeball(mesh: HalfMesh) -> None:
    """The left eyeball: a sphere with its pole in the middle of the pupil (vertex 0 of the piece)."""
    turn = np.linspace(0.0, 2 * np.pi, EYE_COLUMNS, endpoint=False)
    front = LEFT_EYE + (0.0, 0.0, body.EYEBALL_RADIUS)
    tip = mesh.add("eyeball", front[None])[0]
    s, c = np.sin(RING_ANGLES)[:, None], np.cos(RING_ANGLES)[:, None]
    unit = np.stack(
        [s * np.cos(turn), s * np.sin(turn), np.broadcast_to(c, (len(s), len(turn)))], -1
    )
    rings = mesh.add("eyeball", LEFT_EYE + body.EYEBALL_RADIUS * unit)
    back = mesh.add("eyeball", (LEFT_EYE - (0.0, 0.0, body.EYEBALL_RADIUS))[None])[0]
    mesh.fan(rings[0][::-1], tip, "left_eyeball", closed=True)
    mesh.connect_grid(rings, "left_eyeball", closed=True)
    mesh.fan(rings[-1], back, "left_eyeball", closed=True)


def outside_eyeball(points: Points, radius: float | Points) -> Points:
    """The points [..., 3], those nearer than `radius` to the left eye's centre pushed out to it."""
    offset = points - LEFT_EYE
    distance = np.linalg.norm(offset, axis=-1, keepdims=True)
    return LEFT_EYE + offset * np.maximum(1.0, radius / distance)


def add_lid_lining(mesh: HalfMesh, skin: Skin) -> None:
    """Three rings from the lid border inwards: the border's thickness, then along the eyeball."""
    border = skin.eye_loops[0]
    points, names = mesh.vertices[border], mesh.names[border]
    middle_name = normalised(names.mean(0))
    outward = points - points.mean(0)
    outward[:, 2] = 0.0
    outward = normalised(outward)
    lining_radius = body.EYEBALL_RADIUS + 0.00040
    # At the corners the lids leave the ball; there the lining dives in front of it (caruncle).
    lateral = np.abs(points[:, :1] - LEFT_EYE[0])
    corner = np.clip((lateral - 0.0098) / 0.0030, 0.0, 1.0)
    rings, ring_names = [], []
    for away, back, corner_away, corner_back, shrink in (
        (0.0002, 0.0010, -0.0009, 0.0012, 0.90),
        (0.0030, 0.0022, -0.0026, 0.0036, 0.75),
        (0.0075, 0.0052, -0.0050, 0.0080, 0.55),
    ):
        ring = points + outward * (away + (corner_away - away) * corner)
        ring[:, 2:] -= back + (corner_back - back) * corner
        offset = ring - LEFT_EYE
        distance = np.linalg.norm(offset, axis=1, keepdims=True)
        wanted = np.clip(distance, lining_radius, lining_radius + (0.0 if shrink < 0.9 else 0.0006))
        wanted += (distance - wanted) * corner
        rings.append(LEFT_EYE + offset * wanted / distance)
        ring_names.append(normalised(middle_name + shrink * (names - middle_name)))
    inner = mesh.add("lid_lining", np.array(rings), np.array(ring_names))
    mesh.connect_grid(np.concatenate([border[None], inner]), "eyelids", closed=True)
