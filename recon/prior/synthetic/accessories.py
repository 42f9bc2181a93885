"""Glasses and clothes."""

from __future__ import annotations

import colorsys

import numpy as np
from jaxtyping import Float

from avatar3d.smooth import smoothstep as ramp
from recon.prior.synthetic.noise import mixed, smooth_noise
from recon.prior.synthetic.regions import polygon_distance
from recon.prior.synthetic.scaffold import Scaffold
from recon.prior.synthetic.splats import Splats, joined, tubes, upright
from recon.prior.synthetic.traits import Traits

_NOSE_BRIDGE, _CHEEKS = 6, (234, 454)
_RIM_COLORS = ((0.05, 0.05, 0.06), (0.30, 0.18, 0.10), (0.55, 0.50, 0.42), (0.12, 0.14, 0.25),
               (0.62, 0.63, 0.66))  # fmt: skip


def glasses(body: Scaffold, traits: Traits, rng: np.random.Generator) -> Splats | None:
    """Thin rings, a bridge and temples, with lenses that hardly show; all ride on the nose."""
    if traits.glasses == "none":
        return None
    bridge = body.landmarks[_NOSE_BRIDGE]
    eyes = np.stack([body.landmarks[[159, 145]].mean(0), body.landmarks[[386, 374]].mean(0)])
    wide = 0.5 * abs(eyes[1, 0] - eyes[0, 0])
    square = traits.glasses != "round"
    half = np.array([0.0215, 0.0185 if square else 0.0205]) * rng.uniform(0.92, 1.15)
    half[0] = min(half[0] * (1.12 if square else 1.0), wide - 0.006)
    power = rng.uniform(3.0, 4.5) if square else 2.1
    thickness = rng.uniform(0.0005, 0.0014) * (1.3 if square else 1.0)
    color = np.array(_RIM_COLORS[rng.integers(len(_RIM_COLORS))])
    middle_y = eyes[:, 1].mean() - rng.uniform(0.001, 0.006)
    front = max(bridge[2] + 0.006, eyes[:, 2].max() + 0.013)
    edge = float(np.abs(body.landmarks[list(_CHEEKS), 0]).max()) + 0.006

    def bowed(points: np.ndarray) -> np.ndarray:
        """The front bends around the face."""
        z = front - 7.0 * np.maximum(np.abs(points[..., 0]) - 0.012, 0) ** 2
        return np.stack([points[..., 0], points[..., 1], z], -1)

    angle = np.linspace(0, 2 * np.pi, 65)
    outline = np.stack([_power(np.cos(angle), power), _power(np.sin(angle), power)], 1) * half
    if square:
        outline[:, 0] *= 1 + 0.06 * outline[:, 1] / half[1]
    curves, parts = [], []
    for side in (-1.0, 1.0):
        centre = np.array([side * wide, middle_y])
        curves.append(bowed(outline * [side, 1.0] + centre))
        temple_front = bowed(np.array([side * (wide + half[0]), middle_y + 0.6 * half[1]]))
        corner = np.array([side * edge, temple_front[1], temple_front[2] - 0.012])
        ear = np.array([side * (edge + 0.004), temple_front[1] - 0.004, -0.085])
        path = np.stack([temple_front, corner, ear, ear + [0, -0.02, -0.012]])
        curves.append(_resampled(path, 65))
        parts.append(_lens(body, outline, centre, side, bowed, traits, rng))
    span = np.linspace(-(wide - half[0]), wide - half[0], 65)
    arch = middle_y + 0.25 * half[1] + 0.0025 * np.cos(span / (wide - half[0]) * np.pi / 2)
    curves.append(bowed(np.stack([span, arch], 1)))
    stack = np.stack(curves)
    normals = np.tile([0.0, 0.3, 0.95], (len(stack), 64, 1))
    points, axes, scales = tubes(stack, np.full((len(stack), 64), thickness), normals, 0.6)
    parts.append(_riding(body, points, axes, scales, np.tile(color, (len(points), 1)), 0.95, 0.35))
    return joined(parts)


def _lens(body, outline, centre, side, bowed, traits: Traits, rng) -> Splats:
    pitch = 0.0016
    grid = np.stack(np.meshgrid(np.arange(-16, 17), np.arange(-16, 17)), -1).reshape(-1, 2) * pitch
    inside = grid[polygon_distance(grid, outline) < -0.0004]
    points = bowed(inside * [side, 1.0] + centre)
    dark = traits.glasses == "sun"
    normal = np.stack([points[:, 0] * 10.0, 0 * points[:, 0], np.ones(len(points))], 1)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    axes = upright(np.tile([1.0, 0.0, 0.0], (len(points), 1)), normal)
    scales = np.tile([0.9 * pitch, 0.9 * pitch, 0.0002], (len(points), 1))
    tint = np.full(3, 0.07) if dark else np.array([0.85, 0.88, 0.92])
    opacity = 0.82 if dark else rng.uniform(0.003, 0.010)
    return _riding(
        body, points, axes, scales, np.tile(tint, (len(points), 1)), opacity, 0.8 if dark else 0.4
    )


def _riding(body: Scaffold, points, axes, scales, colors, opacity: float, gloss: float) -> Splats:
    """Stiff pieces: one anchor on the nose's bridge carries all."""
    count = len(points)
    anchor = int(body.nearest_on_face(body.landmarks[[_NOSE_BRIDGE]])[0])
    return Splats(
        anchor=np.full(count, anchor),
        points=points,
        axes=axes,
        scales=scales,
        opacity=np.full(count, opacity),
        colors=colors,
        normals=axes[:, :, 2],
        shadow=np.ones(count),
        gloss=np.full(count, gloss),
        sharpness=np.full(count, 60.0),
    )


def clothes(body: Scaffold, traits: Traits, rng: np.random.Generator) -> list[Splats]:
    """Cloth over the bust below a neckline, and a collar along it."""
    own = body.on("bust", "neck")
    at = body.places[own]
    depth = {"vneck": rng.uniform(0.03, 0.06), "shirt": 0.025, "suit": 0.06}.get(
        traits.clothes, 0.0
    )
    line = _neckline(at, depth)
    worn = own[at[:, 1] < line]
    place = body.places[worn]
    color = _cloth_colors(place, traits, rng)
    thick = 0.004 + 0.0012 * smooth_noise(place, 0.05, rng)
    folds = 1 + 0.06 * smooth_noise(place * [1.0, 0.5, 1.0], 0.045, rng)
    shirt = Splats(
        anchor=worn,
        points=body.points[worn] + thick[:, None] * body.normals[worn],
        axes=body.frames[worn],
        scales=body.spacing[worn, None] * np.array([0.72, 0.72, 0.3]),
        opacity=np.full(len(worn), 0.97),
        colors=np.clip(color * folds[:, None], 0.01, 0.98),
        normals=body.normals[worn],
        shadow=body.shadow[worn],
        gloss=np.full(len(worn), 0.02),
        sharpness=np.full(len(worn), 8.0),
    )
    return [shirt, _collar(body, depth, traits, color, rng)]


def _neckline(at: np.ndarray, depth: float) -> np.ndarray:
    """The height above which skin shows, [N], at places on neck and bust."""
    x, z = at[:, 0], at[:, 2]
    front = ramp(z, -0.12, -0.06)
    line = -0.138 - 0.030 * front
    vee = depth * np.clip(1 - np.abs(x) / 0.05, 0, 1) * front
    return line - vee


def _cloth_colors(place: np.ndarray, traits: Traits, rng: np.random.Generator) -> np.ndarray:
    hue, strong = rng.uniform(), rng.beta(1.2, 2.0)
    first = np.array(colorsys.hsv_to_rgb(hue, 0.8 * strong, rng.uniform(0.06, 0.85)))
    other = (hue + rng.uniform(0.3, 0.7)) % 1
    second = np.array(colorsys.hsv_to_rgb(other, 0.5, rng.uniform(0.2, 0.9)))
    colors = np.tile(first, (len(place), 1))
    x, y = place[:, 0], place[:, 1]
    if traits.clothes == "suit":
        white, dark = np.full(3, 0.86), first * 0.25 + 0.04
        opening = np.abs(x) - np.interp(y, [-0.26, -0.15], [0.002, 0.045])
        colors = mixed(np.tile(dark, (len(place), 1)), white, (opening < 0) * (place[:, 2] > -0.09))
        if rng.random() < 0.6:
            tie = (np.abs(x) < np.interp(y, [-0.3, -0.16], [0.03, 0.011])) & (place[:, 2] > -0.06)
            colors = mixed(colors, second * 0.7, tie * 1.0)
        return colors
    pattern = rng.choice(["plain", "stripes", "checks", "blobs"], p=[0.55, 0.2, 0.13, 0.12])
    width = rng.uniform(0.012, 0.04)
    if pattern == "stripes":
        axis = y if rng.random() < 0.6 else x
        colors = mixed(colors, second, ramp(np.sin(2 * np.pi * axis / width), -0.15, 0.15))
    elif pattern == "checks":
        both = np.sin(2 * np.pi * x / width) * np.sin(2 * np.pi * y / width)
        colors = mixed(colors, second, 0.7 * ramp(both, -0.1, 0.1))
    elif pattern == "blobs":
        colors = mixed(colors, second, ramp(smooth_noise(place, width, rng), 0.5, 0.9))
    return colors * (1 + 0.03 * smooth_noise(place, 0.006, rng))[:, None]


def _collar(
    body: Scaffold, depth: float, traits: Traits, cloth: np.ndarray, rng: np.random.Generator
) -> Splats:
    """A rolled edge; a shirt's stands up and folds over, a hood's is thick."""
    own = body.on("bust", "neck")
    at = body.places[own]
    edge = own[np.abs(at[:, 1] - _neckline(at, depth)) < 0.004]
    angle = np.arctan2(body.places[edge, 0], body.places[edge, 2] + 0.09)
    edge = edge[np.argsort(angle)]
    color = np.median(cloth, axis=0)
    if traits.clothes == "suit":
        color = np.full(3, 0.88)
    tall, thick = {
        "shirt": (0.018, 0.0020), "suit": (0.018, 0.0020), "hoodie": (0.016, 0.008),
    }.get(traits.clothes, (0.0, 0.0026))  # fmt: skip
    rows = max(1, round(tall / 0.004))
    points, anchors, shade = [], [], []
    for row in range(rows + 1):
        share = row / max(rows, 1)
        out = thick + 0.004 + 0.006 * share * (traits.clothes != "hoodie")
        lifted = body.points[edge] + out * body.normals[edge] + [0.0, tall * share, 0.0]
        points.append(lifted)
        anchors.append(edge)
        shade.append(np.full(len(edge), 0.85 + 0.15 * share))
    point, anchor = np.concatenate(points), np.concatenate(anchors)
    count = len(point)
    size = np.array([0.0036, 0.0026, thick])
    tint = color * np.concatenate(shade)[:, None] * rng.uniform(0.92, 1.05)
    return Splats(
        anchor=anchor,
        points=point,
        axes=body.frames[anchor],
        scales=np.tile(size, (count, 1)),
        opacity=np.full(count, 0.93),
        colors=np.clip(tint, 0.01, 0.98),
        normals=body.normals[anchor],
        shadow=np.maximum(body.shadow[anchor], 0.6),
        gloss=np.full(count, 0.02),
        sharpness=np.full(count, 8.0),
    )


def _power(value: np.ndarray, power: float) -> np.ndarray:
    """A superellipse's coordinate of a circle's."""
    return np.sign(value) * np.abs(value) ** (2 / power)


def _resampled(path: Float[np.ndarray, "P 3"], count: int) -> Float[np.ndarray, "count 3"]:
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])
    at = np.linspace(0, along[-1], count)
    return np.stack([np.interp(at, along, path[:, axis]) for axis in range(3)], 1)
