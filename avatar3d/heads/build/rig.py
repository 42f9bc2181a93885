"""Joints and skin weights."""

from __future__ import annotations

import numpy as np
from scipy.spatial import KDTree

from avatar3d.codes import ARKIT_NAMES
from avatar3d.heads.build import anthropometry as body
from avatar3d.heads.build import landmarks as lm
from avatar3d.heads.build.assemble import Head
from avatar3d.heads.build.bust import ROWS
from avatar3d.heads.build.eyes import LEFT_EYE
from avatar3d.heads.build.halfmesh import Points
from avatar3d.smooth import smoothstep

ROOT, NECK, HEAD, JAW, LEFT, RIGHT = range(6)


def joints() -> Points:
    """[6, 3] rest positions."""
    root = np.array([0.0, body.BUST_BOTTOM, -0.090])
    flip = np.array([-1.0, 1.0, 1.0])
    return np.stack([root, body.C7, body.C1, body.JAW_JOINT, LEFT_EYE, LEFT_EYE * flip])


def joint_drive() -> Points:
    """Rotation vectors [52, 6, 3] at coefficient 1. +X turns the front down, +Y to subject's left."""
    drive = np.zeros((len(ARKIT_NAMES), 6, 3))
    index = ARKIT_NAMES.index
    drive[index("jawOpen"), JAW, 0] = body.JAW_OPEN_ANGLE
    drive[index("jawLeft"), JAW, 1] = 0.085
    drive[index("jawRight"), JAW, 1] = -0.085
    for side, joint, outward in (("Left", LEFT, 1.0), ("Right", RIGHT, -1.0)):
        drive[index(f"eyeLookDown{side}"), joint, 0] = body.EYE_TURN
        drive[index(f"eyeLookUp{side}"), joint, 0] = -body.EYE_TURN
        drive[index(f"eyeLookOut{side}"), joint, 1] = outward * body.EYE_TURN
        drive[index(f"eyeLookIn{side}"), joint, 1] = -outward * body.EYE_TURN
    return drive


def jaw_share(points: Points) -> Points:
    """How much of the jaw's turn the skin follows, by the angle under the jaw joint's horizon."""
    offset = points - body.JAW_JOINT
    angle = np.degrees(np.arctan2(-offset[:, 1], offset[:, 2]))
    share = smoothstep(angle, 16.0, 38.0) * (1.0 - smoothstep(angle, 54.0, 78.0))
    return share * smoothstep(np.hypot(offset[:, 1], offset[:, 2]), 0.02, 0.06)


def jaw_at_landmarks(face: Points) -> Points:
    """The same at the 468 landmarks, upper and lower lip told apart."""
    share = jaw_share(face)
    for loop, certainty in zip(lm.LIP_LOOPS, (1.0, 1.0, 1.0, 1.0, 0.6), strict=True):
        for k, index in enumerate(loop):
            t = k / 5 if k <= 5 else (10 - k) / 5  # 0 middle, 1 corner
            wanted = 0.42 * t**3 if k <= 5 else 1.0 - 0.58 * t**3
            share[index] += certainty * (wanted - share[index])
    right = np.flatnonzero(face[:, 0] < -1e-9)
    mirrored = face[right] * (-1.0, 1.0, 1.0)
    share[right] = share[KDTree(face).query(mirrored)[1]]
    return share


def skin_weights(head: Head) -> Points:
    """[V, 6], rows sum to 1; equal on both sides."""
    mesh, skin = head.mesh, head.skin
    weights = np.zeros((len(mesh.vertices), 6))
    weights[:, HEAD] = 1.0
    own = mesh.pieces["skin"]
    at_controls = jaw_share(skin.control_points)
    at_controls[:468] = jaw_at_landmarks(skin.face)
    jaw = np.clip(skin.spline.operator(mesh.names[own]) @ at_controls, 0.0, 1.0)
    border = mesh.vertices[head.half_rows["bust"][0]]
    border = np.concatenate([border, border * (-1.0, 1.0, 1.0)])
    distance = KDTree(border).query(mesh.vertices[own])[0]
    on_head = 0.5 + 0.5 * smoothstep(distance, -0.045, 0.045) * 2 - 0.5
    weights[own] = 0.0
    weights[own, JAW] = jaw
    weights[own, HEAD] = (1.0 - jaw) * on_head
    weights[own, NECK] = (1.0 - jaw) * (1.0 - on_head)

    rows = head.half_rows["bust"]
    t = np.linspace(0.0, 1.0, ROWS + 1)
    on_head_row = 0.5 * (1.0 - smoothstep(t, -0.22, 0.22)) * 2
    on_root_row = smoothstep(t, 0.24, 0.60)
    for row in range(1, ROWS + 1):
        both = np.concatenate([rows[row], mesh.mirror[rows[row]]])
        weights[both] = 0.0
        weights[both, HEAD] = on_head_row[row]
        weights[both, ROOT] = on_root_row[row]
        weights[both, NECK] = 1.0 - on_head_row[row] - on_root_row[row]

    rings = head.half_rows["cavity"]
    lip_share = weights[head.half_rows["lips"][0], JAW]
    straight = smoothstep(np.linspace(0.0, 1.0, rings.shape[1]), 0.25, 0.75)
    for depth, ring in enumerate(rings):
        t = np.clip(depth / 2, 0.0, 1.0)
        share = (1 - t) * lip_share + t * straight
        both = np.concatenate([ring, mesh.mirror[ring]])
        weights[both, JAW] = np.concatenate([share, share])
    end = np.setdiff1d(
        mesh.pieces["cavity"], np.concatenate([rings.ravel(), mesh.mirror[rings.ravel()]])
    )
    weights[end, JAW] = 0.5
    for piece in ("lower_teeth", "lower_gum", "tongue"):
        weights[mesh.pieces[piece], JAW] = 1.0
    inner = np.concatenate(
        [mesh.pieces[p] for p in ("cavity", "lower_teeth", "lower_gum", "tongue")]
    )
    weights[inner, HEAD] = 1.0 - weights[inner, JAW]
    ball = mesh.pieces["eyeball"]
    weights[ball] = 0.0
    weights[ball, np.where(mesh.vertices[ball, 0] > 0, LEFT, RIGHT)] = 1.0
    symmetric = weights[mesh.mirror][:, [ROOT, NECK, HEAD, JAW, RIGHT, LEFT]]
    weights = np.maximum(0.5 * (weights + symmetric), 0.0)
    return weights / weights.sum(1, keepdims=True)
