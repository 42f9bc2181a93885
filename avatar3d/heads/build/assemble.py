"""All pieces of the head in one mesh, oriented, with texture coordinates."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from avatar3d.heads.build import bust, ears, eyes, mouth, skin
from avatar3d.heads.build.halfmesh import FullMesh, HalfMesh, Points
from avatar3d.heads.build.surface import normalised
from avatar3d.heads.model import PARTS

MIDDLE = normalised(np.array([0.0, 0.72, 0.69]))  # what the atlas is unrolled about: the brow
SPREAD = 1.0  # how much of the atlas the middle takes


class Head(NamedTuple):
    mesh: FullMesh
    skin: skin.Skin
    mouth: mouth.MouthFrame
    uv: Points  # [V, 2]
    half_rows: dict[str, np.ndarray]  # index grids of the half x >= 0: lips, cavity, eyes, bust


def assembled(face: Points) -> Head:
    half = HalfMesh()
    surface = skin.add_skin(half, face)
    eyes.add_lid_lining(half, surface)
    ears.add_ear(half, surface)
    bust_rows = bust.add_bust(half, surface)
    frame = mouth.MouthFrame(surface)
    cavity = mouth.add_cavity(half, surface, frame)
    eyes.add_eyeball(half)
    mouth.add_teeth(half, frame, upper=True)
    mouth.add_teeth(half, frame, upper=False)
    mouth.add_tongue(half, frame)
    mesh = oriented(half.mirrored())
    rows = {"bust": bust_rows, "cavity": cavity, "lips": np.array(surface.lip_loops),
            "eye": np.array(surface.eye_loops)}  # fmt: skip
    return Head(mesh, surface, frame, atlas(mesh), rows)


def oriented(mesh: FullMesh) -> FullMesh:
    """Counter-clockwise from outside: the skin as its names have turned it, closed inner
    parts by their volume."""
    triangles = mesh.triangles.copy()
    corners = mesh.names[triangles]
    named = ~np.isnan(corners).any((1, 2))
    flip = np.zeros(len(triangles), bool)
    for part in range(len(PARTS)):
        own = np.flatnonzero((mesh.parts == part) & ~named)
        for side in (1.0, -1.0):
            chosen = own[mesh.vertices[triangles[own]].mean(1)[:, 0] * side > 0]
            p = mesh.vertices[triangles[chosen]]
            if len(p):
                p = p - p.mean((0, 1)) * (0.0, 1.0, 1.0)
                volume = np.einsum("ni,ni->n", p[:, 0], np.cross(p[:, 1], p[:, 2])).sum()
                flip[chosen] = volume < 0
    triangles[flip] = triangles[flip][:, ::-1]
    return mesh._replace(triangles=triangles)


def flattened(names: Points) -> Points:
    """Names [N, 3] on a plane [N, 2], without a tear: the only point that has no place there is
    `bust.POLE`, under the shoulders, where the skin ends.

    A stereographic projection from that point, moved so that the brow is in the middle, put back on
    the sphere, and unrolled about the brow: both steps but the last keep angles.
    """
    down = bust.POLE
    side = np.array([1.0, 0.0, 0.0])
    front = np.cross(side, down)
    front *= np.sign(front[2])

    def projected(q: Points) -> Points:
        return np.stack([q @ side, q @ front], -1) / (1.0 - q @ down)[..., None]

    plane = (projected(names) - projected(MIDDLE)) * SPREAD
    radius = np.hypot(plane[:, 0], plane[:, 1])
    angle = 2.0 * np.arctan(radius)
    return plane * (angle / np.maximum(radius, 1e-12))[:, None] * (1.0, -1.0)


def atlas(mesh: FullMesh) -> Points:
    """Texture coordinates: the skin's names by an azimuthal projection (left 80 % of the atlas),
    the inner pieces in boxes on the right, mirrored sides beside each other."""
    uv = np.zeros((len(mesh.vertices), 2))
    named = ~np.isnan(mesh.names[:, 0])
    disc = flattened(mesh.names[named])
    low, high = disc.min(0), disc.max(0)
    uv[named] = (disc - low) / (high - low) * (0.78, 0.98) + 0.01
    pieces = ["eyeball", "upper_teeth", "lower_teeth", "upper_gum", "lower_gum", "tongue"]
    for row, piece in enumerate(pieces):
        own = mesh.pieces[piece]
        p = mesh.vertices[own]
        if piece == "eyeball":
            local = p - eyes.LEFT_EYE * np.stack([np.sign(p[:, 0]), 0 * p[:, 0], 0 * p[:, 0]], 1)
            polar = np.arccos(np.clip(local[:, 2] / np.linalg.norm(local, axis=1), -1, 1)) / np.pi
            radius = np.maximum(np.hypot(local[:, 0], local[:, 1]), 1e-12)
            flat = 0.5 + 0.5 * local[:, :2] * (polar / radius)[:, None]
            flat[:, 0] = 0.5 * flat[:, 0] * 0.98 + np.where(p[:, 0] > 0, 0.5, 0.01)
        else:  # across by x, up by the path round the section
            centre = p.mean(0) * (0.0, 1.0, 1.0)
            across = (p[:, 0] - p[:, 0].min()) / np.ptp(p[:, 0])
            turn = np.arctan2(p[:, 1] - centre[1], p[:, 2] - centre[2]) / (2 * np.pi) + 0.5
            flat = np.stack([across, turn], 1)
        uv[own, 0] = 0.81 + 0.18 * flat[:, 0]
        uv[own, 1] = (row + 0.02 + 0.96 * flat[:, 1]) / len(pieces)
    return uv
