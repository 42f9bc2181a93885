"""Landmark positions on the mesh, quantisation, the file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from avatar3d.codes import ARKIT_NAMES
from avatar3d.heads.build import anthropometry as body
from avatar3d.heads.build import landmarks as lm
from avatar3d.heads.build.assemble import Head
from avatar3d.heads.build.combinations import combinations
from avatar3d.heads.build.eyes import LEFT_EYE
from avatar3d.heads.build.halfmesh import Indices, Points
from avatar3d.heads.model import PARTS
from avatar3d.heads.skinning import JOINT_NAMES, JOINT_PARENTS


def landmark_points(head: Head, statistics: lm.Statistics) -> tuple[Indices, Points]:
    """Triangles [478] and barycentrics [478, 3]: skin landmarks by their names, irises on the
    eyeballs."""
    mesh = head.mesh
    named = np.flatnonzero(~np.isnan(mesh.names[mesh.triangles]).any((1, 2)))
    is_skin = np.isin(mesh.triangles[named], mesh.pieces["skin"]).all(1)
    triangles, weights = located(
        mesh.names, mesh.triangles, named[is_skin], head.skin.landmark_names
    )
    ball = np.flatnonzero(
        np.isin(mesh.parts, (PARTS.index("left_eyeball"), PARTS.index("right_eyeball")))
    )
    iris = iris_points(statistics)
    from_eye = iris - LEFT_EYE * np.where(iris[:, :1] > 0, 1, (-1, 1, 1))
    centred = mesh.vertices - LEFT_EYE * np.where(mesh.vertices[:, :1] > 0, 1, (-1, 1, 1))
    for k in range(10):
        side = (mesh.vertices[mesh.triangles[ball, 0], 0] > 0) == (iris[k, 0] > 0)
        t, w = located(centred, mesh.triangles, ball[side], from_eye[k : k + 1])
        triangles, weights = np.append(triangles, t), np.concatenate([weights, w])
    return triangles, weights


def ibug_points(
    head: Head, statistics: lm.Statistics, triangles: Indices, barycentrics: Points
) -> tuple[Indices, Points]:
    """Triangles [68] and barycentrics [68, 3] of iBUG's landmarks, given those of the 478."""
    mesh = head.mesh
    skin = np.isin(mesh.parts, [PARTS.index(name) for name in ("face", "scalp", "neck")])
    centre = np.array([0.0, -0.05, -0.03])  # well inside: each ray from here leaves the skin once
    jaw = located(
        mesh.vertices - centre,
        mesh.triangles,
        np.flatnonzero(skin),
        lm.jaw_line(statistics.resting_face()) - centre,
    )
    return (
        np.concatenate([jaw[0], triangles[lm.IBUG_INNER]]),
        np.concatenate([jaw[1], barycentrics[lm.IBUG_INNER]]),
    )


def iris_points(statistics: lm.Statistics) -> Points:
    """The ten iris landmarks on the eyeballs [10, 3], in the detector's order."""
    flip = np.array([-1.0, 1.0, 1.0])
    points = []
    for group, centre in ((lm.RIGHT_IRIS, LEFT_EYE * flip), (lm.LEFT_IRIS, LEFT_EYE)):
        measured = statistics.mean[list(group)]
        for k in range(5):
            around = measured[k] - measured[0] if k else np.zeros(3)
            around[2] = 0.0
            if k:
                around *= body.IRIS_RADIUS / np.linalg.norm(around)
            depth = np.sqrt(body.EYEBALL_RADIUS**2 - (around**2).sum())
            points.append(centre + around + (0.0, 0.0, depth))
    return np.array(points)


def located(
    space: Points, triangles: np.ndarray, among: np.ndarray, rays: Points
) -> tuple[Indices, Points]:
    """The triangle that each ray from the origin of `space` crosses, and where in it."""
    corners = space[triangles[among]]
    inverse = np.linalg.inv(np.swapaxes(corners, 1, 2))  # columns are corners
    chosen, barycentrics = [], []
    for ray in rays:
        w = inverse @ ray
        w = w / np.where(np.abs(w.sum(1, keepdims=True)) < 1e-12, 1e-12, w.sum(1, keepdims=True))
        facing = corners.mean(1) @ ray > 0.5 * np.linalg.norm(ray) * np.linalg.norm(
            corners.mean(1), axis=1
        )
        worst = np.where(facing, w.min(1), -np.inf)
        best = int(worst.argmax())
        clipped = np.clip(w[best], 0.0, None)
        chosen.append(among[best])
        barycentrics.append(clipped / clipped.sum())
    return np.array(chosen), np.array(barycentrics)


def quantised(fields: Points) -> tuple[np.ndarray, np.ndarray]:
    """int8 values and a scale for each mode [N]."""
    largest = np.abs(fields).reshape(len(fields), -1).max(1)
    scale = np.where(largest > 0, largest / 127.0, 1.0)
    values = np.rint(fields / scale.reshape(-1, *[1] * (fields.ndim - 1))).astype(np.int8)
    return values, scale.astype(np.float32)


def whole_shares(weights: Points) -> np.ndarray:
    """Weights as bytes whose rows sum to 255: the remainder goes to the largest."""
    values = np.floor(weights * 255.0 + 1e-9).astype(np.int64)
    rest = weights * 255.0 - values
    missing = 255 - values.sum(1)
    order = np.argsort(-rest, axis=1, kind="stable")
    for k in range(weights.shape[1]):
        rows = np.flatnonzero(missing > k)
        values[rows, order[rows, k]] += 1
    return values.astype(np.uint8)


def save_head(
    path: Path,
    head: Head,
    statistics: lm.Statistics,
    identity: tuple[Points, Points],
    expression: Points,
    weights: Points,
    joints: Points,
    drive: Points,
) -> None:
    mesh = head.mesh
    triangles, barycentrics = landmark_points(head, statistics)
    surface = np.einsum("lk,lkc->lc", barycentrics, mesh.vertices[mesh.triangles[triangles]])
    offsets = np.zeros((478, 3))
    offsets[:468] = statistics.mean[:468] - surface[:468]
    offsets[np.abs(offsets).max(1) < 2e-4] = 0.0
    identity_values, identity_scale = quantised(identity[0])
    expression_values, expression_scale = quantised(expression)
    together, amounts = combinations()
    ibug = ibug_points(head, statistics, triangles, barycentrics)
    arrays = {
        "neutral": mesh.vertices.astype(np.float32),
        "triangles": mesh.triangles.astype(np.int16),
        "triangle_part": mesh.parts.astype(np.uint8),
        "uv": head.uv.astype(np.float32),
        "identity_basis": identity_values,
        "identity_basis_scale": identity_scale,
        "expression_basis": expression_values,
        "expression_basis_scale": expression_scale,
        "joints": joints.astype(np.float32),
        "joint_identity": identity[1].astype(np.float32),
        "skin_weights": whole_shares(weights),
        "skin_weights_scale": np.full(len(weights), 1.0 / 255.0, np.float32),
        "joint_drive": drive.astype(np.float32),
        "landmark_triangles": triangles.astype(np.int32),
        "landmark_barycentrics": barycentrics.astype(np.float32),
        "landmark_offsets": offsets.astype(np.float32),
        "ibug_triangles": ibug[0].astype(np.int32),
        "ibug_barycentrics": ibug[1].astype(np.float32),
        "mirror": mesh.mirror.astype(np.int32),
        "combinations": together.astype(np.int32),
        "combination_amounts": amounts.astype(np.float32),
    }
    metadata = {
        "name": "default",
        "expression_names": list(ARKIT_NAMES),
        "joint_names": list(JOINT_NAMES),
        "joint_parents": list(JOINT_PARENTS),
        "parts": list(PARTS),
        "units": "metres",
        "licence": "as avatar3d",
    }
    temporary = path.with_suffix(".partial")
    save_file({k: np.ascontiguousarray(v) for k, v in arrays.items()}, str(temporary),
              metadata={"head": json.dumps(metadata)})  # fmt: skip
    temporary.replace(path)
