"""Strands: curves that grow from the skin, bend under their weight and lie on what is below."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial import KDTree

from avatar3d.smooth import smoothstep as ramp
from recon.prior.synthetic.noise import smooth_noise
from recon.prior.synthetic.scaffold import Scaffold
from recon.prior.synthetic.splats import Splats, tubes


@dataclass(frozen=True)
class Growth:
    """How strands grow; lengths in metres. Arrays hold one value a strand."""

    length: Float[np.ndarray, " S"]
    comb: Float[np.ndarray, "S 3"]  # unit: where it is combed, along the surface at its root
    lift: Float[np.ndarray, " S"]  # 0 flat on the skin, 1 straight off it
    clearance: Float[np.ndarray, " S"]  # height over the skin that it keeps
    target: Float[np.ndarray, "3"] | None = None  # where all of it is drawn to, instead of combed
    gravity: float = 0.0  # how much it bends down in its length's course
    stiffness: float = 0.6  # how long it keeps its direction
    curl_radius: float = 0.0
    curl_length: float = 0.03
    off_face: float = 0.0  # how strongly it is parted aside before the face
    frizz: float = 0.0  # metres that single strands stray
    clump: float = 0.0  # 0..1: how close the tips of neighbours come together
    clumps: int = 150
    pieces: int = 9


def grow(
    body: Scaffold, roots: Int[np.ndarray, " S"], growth: Growth, rng: np.random.Generator
) -> Float[np.ndarray, "S K 3"]:
    """Curves from the anchors `roots`; they never enter the skin."""
    count = len(roots)
    normal = body.normals[roots]
    jitter = rng.normal(size=(count, 3)) * body.spacing[roots, None] * 0.4
    at = body.points[roots] + jitter - normal * (jitter * normal).sum(1, keepdims=True)
    comb = growth.comb - normal * (growth.comb * normal).sum(1, keepdims=True)
    direction = _unit(_unit(comb) * (1 - growth.lift[:, None]) + normal * growth.lift[:, None])
    step = (growth.length / growth.pieces)[:, None]
    curve = [at]
    for index in range(growth.pieces):
        share = (index + 1) / growth.pieces
        fall = growth.gravity * share * np.array([0.0, -1.0, 0.0])
        pull = _unit(comb if growth.target is None else growth.target - at)
        toward = growth.stiffness * direction + (1 - growth.stiffness) * (0.4 * pull + fall)
        direction = _unit(toward + growth.off_face * _aside(at))
        moved = at + step * direction
        anchor = body.nearest(moved)
        above = body.normals[anchor]
        height = ((moved - body.points[anchor]) * above).sum(1)
        wanted = growth.clearance * min(1.0, 2.2 * share)
        sunk = np.maximum(wanted - height, 0.0)[:, None]
        moved = moved + above * sunk
        direction = _unit(moved - at)
        at = moved
        curve.append(at)
    curves = np.stack(curve, axis=1)
    curves = _clumped(curves, growth, rng)
    return _curled(curves, growth, rng)


def _aside(at: np.ndarray) -> np.ndarray:
    """Out of the face's way: to the nearer side and back, [S, 3], zero elsewhere."""
    x, y, z = at.T
    before = ramp(z, -0.045, -0.005) * ramp(np.abs(x), 0.085, 0.06) * ramp(y, 0.055, 0.03)
    side = np.where(x < 0, -1.0, 1.0)
    return before[:, None] * np.stack([side, 0 * x, -0.5 + 0 * x], 1)


def _clumped(curves: np.ndarray, growth: Growth, rng: np.random.Generator) -> np.ndarray:
    if growth.clump <= 0 or len(curves) < 2:
        return curves
    guides = rng.choice(len(curves), min(growth.clumps, len(curves)), replace=False)
    own = guides[KDTree(curves[guides, 0]).query(curves[:, 0])[1]]
    share = np.linspace(0, 1, curves.shape[1])[None, :, None] ** 1.2 * growth.clump
    apart = curves - curves[:, :1]  # a guide is followed in shape, so that lengths stay
    together = apart + share * (apart[own] - apart)
    root = curves[:, :1] + 0.7 * share * (curves[own, :1] - curves[:, :1])
    return root + together


def _curled(curves: np.ndarray, growth: Growth, rng: np.random.Generator) -> np.ndarray:
    if growth.curl_radius <= 0 and growth.frizz <= 0:
        return curves
    along = np.linspace(0, 1, curves.shape[1])[None, :]
    tangent = _unit(np.gradient(curves, axis=1))
    side = _unit(np.cross(tangent, np.array([0.32, 0.85, 0.41])))
    other = np.cross(tangent, side)
    # Neighbours curl alike, or waves would cancel out.
    common = np.pi * smooth_noise(curves[:, 0], 0.045, rng) + rng.normal(0, 0.5, len(curves))
    turns = growth.length / growth.curl_length
    phase = common[:, None] + 2 * np.pi * turns[:, None] * along
    size = growth.curl_radius * np.clip(3 * along, 0, 1)
    curled = curves + size[..., None] * (
        np.cos(phase)[..., None] * side + np.sin(phase)[..., None] * other
    )
    return curled + rng.normal(size=curves.shape) * growth.frizz * along[..., None]


def strand_splats(
    roots: Int[np.ndarray, " S"],
    curves: Float[np.ndarray, "S K 3"],
    radius: Float[np.ndarray, " S"],
    colors: Float[np.ndarray, "S 3"],
    *,
    taper: float = 0.5,
    root_shade: float = 0.75,
    opacity: float = 0.9,
    gloss: float = 0.15,
    shadow: Float[np.ndarray, " S"] | None = None,
) -> Splats:
    """Curves as Gaussians that ride on their roots; darker at the root, thinner at the tip."""
    strands, pieces = len(curves), curves.shape[1] - 1
    along = (np.arange(pieces) + 0.5) / pieces
    middle = 0.5 * (curves[:, 1:] + curves[:, :-1])
    centre = np.array([0.0, 0.0, -0.085])  # of the skull: hair is lit as the ball that it makes
    normals = _unit(middle - centre)
    thickness = radius[:, None] * (1 - taper * along[None, :])
    points, axes, scales = tubes(curves, thickness, normals)
    shade = root_shade + (1 - root_shade) * np.clip(along * 2.5, 0, 1)
    arrives = np.ones(strands) if shadow is None else shadow
    return Splats(
        anchor=np.repeat(roots, pieces),
        points=points,
        axes=axes,
        scales=scales,
        opacity=np.full(strands * pieces, opacity),
        colors=np.clip((colors[:, None] * shade[None, :, None]).reshape(-1, 3), 0.01, 0.99),
        normals=normals.reshape(-1, 3),
        shadow=np.repeat(arrives, pieces),
        gloss=np.full(strands * pieces, gloss),
        sharpness=np.full(strands * pieces, -24.0),
    )


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)
