"""Where things grow on a face: masks over places on the mean head, 0..1 each."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from avatar3d.smooth import smoothstep as ramp
from recon.prior.synthetic.scaffold import Scaffold
from recon.track.painted_head import BROW_LOOPS, OUTER_LIPS

Points = Float[np.ndarray, "N 3"]
Mask = Float[np.ndarray, " N"]

# The front hairline as seen from the side: the most forward z at a height y, metres.
_FRONT = ((-0.05, -0.064), (-0.02, -0.058), (0.0, -0.052), (0.02, -0.040), (0.036, -0.022),
          (0.048, -0.002), (0.056, 0.012), (0.066, 0.03))  # fmt: skip
# And its lower edge: the least y at a depth z, behind and above the ears.
_LOWER = ((-0.165, -0.082), (-0.13, -0.074), (-0.115, -0.05), (-0.105, 0.004), (-0.075, 0.012),
          (-0.068, -0.012), (-0.055, -0.022))  # fmt: skip


_FAR_M = 0.01


def polygon_distance(points: np.ndarray, loop: np.ndarray) -> Mask:
    """Signed distance in the plane, [N, 2] to a closed polygon [K, 2]: negative inside, and not
    looked into farther away than a centimetre."""
    near = ((points > loop.min(0) - _FAR_M) & (points < loop.max(0) + _FAR_M)).all(1)
    distance = np.full(len(points), _FAR_M)
    distance[near] = _polygon_distance(points[near], loop)
    return distance


def _polygon_distance(points: np.ndarray, loop: np.ndarray) -> Mask:
    distance = np.full(len(points), np.inf)
    inside = np.zeros(len(points), bool)
    for a, b in zip(loop, np.roll(loop, -1, axis=0)):
        edge, to = b - a, points - a
        along = np.clip((to @ edge) / max(edge @ edge, 1e-12), 0, 1)
        distance = np.minimum(distance, np.linalg.norm(to - along[:, None] * edge, axis=1))
        crosses = (a[1] > points[:, 1]) != (b[1] > points[:, 1])
        rise = edge[1] if abs(edge[1]) > 1e-12 else 1e-12
        inside ^= crosses & (points[:, 0] < edge[0] * (points[:, 1] - a[1]) / rise + a[0])
    return np.where(inside, -distance, distance)


def lip_distance(body: Scaffold, at: Points) -> Mask:
    """Metres to the lips' outline as seen from the front; negative on them."""
    loop = body.mean_landmarks[list(OUTER_LIPS), :2]
    distance = polygon_distance(at[:, :2], loop)
    return np.where(at[:, 2] > -0.01, distance, 1.0)


def brow_distance(body: Scaffold, at: Points, weight: float = 1.0) -> Mask:
    """Metres to the nearer brow's outline, made thicker or thinner by `weight`."""
    least = np.full(len(at), np.inf)
    for loop in BROW_LOOPS:
        outline = body.mean_landmarks[list(loop), :2]
        middle = 0.5 * (outline[:5] + outline[:4:-1])
        half = 0.5 * (outline[:5] - outline[:4:-1]) * weight
        own = np.concatenate([middle + half, (middle - half)[::-1]])
        least = np.minimum(least, polygon_distance(at[:, :2], own))
    return np.where(at[:, 2] > -0.02, least, 1.0)


def scalp_share(at: Points, hairline: float, wobble: Mask) -> Mask:
    """How densely hair grows, [N]; `wobble` [N] metres makes its edge uneven."""
    x, y, z = at.T
    heights, fronts = np.array(_FRONT).T
    temple = np.exp(-(((np.abs(x) - 0.042) / 0.02) ** 2)) * (y > 0.02)
    back = 0.006 * hairline + np.maximum(hairline, 0) * 0.028 * temple
    front = np.interp(y - 0.004 * hairline, heights, fronts, right=0.08) - back + wobble
    depths, edges = np.array(_LOWER).T
    lower = np.interp(z, depths, edges) + wobble
    return ramp(front - z, -0.005, 0.008) * ramp(y - lower, -0.006, 0.008)


def beard_share(body: Scaffold, at: Points) -> dict[str, Mask]:
    """Moustache, chin and cheeks (with the throat)."""
    x, y, z = np.abs(at[:, 0]), at[:, 1], at[:, 2]
    lips = lip_distance(body, at)
    off_lips = ramp(lips, 0.0005, 0.003)
    front = ramp(z, -0.02, 0.0)
    nose = body.mean_landmarks[2]
    corner = body.mean_landmarks[291]
    moustache = (
        ramp(y - (nose[1] - 0.001 - 0.25 * x), 0.001, -0.003)
        * ramp(y - (corner[1] - 0.012), -0.004, 0.004)
        * ramp(x, 0.036, 0.029) * front * off_lips
    )  # fmt: skip
    patch = ramp(y, -0.079, -0.082) * ramp(x, 0.012, 0.006)
    chin = (ramp(y, -0.086, -0.091) + patch) * ramp(x, 0.036, 0.026) * ramp(y, -0.126, -0.118)
    chin = np.clip(chin, 0, 1) * ramp(z, -0.02, -0.01) * off_lips
    # From the sideburn along the cheek to the corner of the mouth, and below the jaw.
    line = np.interp(x, [0.026, 0.045, 0.06, 0.068], [-0.066, -0.058, -0.045, -0.015])
    cheek = ramp(y - line, 0.003, -0.004) * off_lips * ramp(x, 0.016, 0.028)
    cheek *= ramp(y, -0.130, -0.118) * ramp(z, -0.068, -0.06)
    under = ramp(y, -0.104, -0.110) * ramp(y, -0.132, -0.122) * ramp(z, -0.05, -0.03)
    return {"moustache": moustache, "chin": chin, "cheeks": np.clip(cheek + under, 0, 1)}
