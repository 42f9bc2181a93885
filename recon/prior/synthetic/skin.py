"""Skin, lips, eyes and teeth: the colours of a synthetic person's surface."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from avatar3d.heads.skinning import LEFT_EYE, RIGHT_EYE
from avatar3d.smooth import smoothstep as ramp
from recon.prior.synthetic import regions
from recon.prior.synthetic.noise import mixed, smooth_noise
from recon.prior.synthetic.scaffold import Scaffold
from recon.prior.synthetic.splats import Splats
from recon.prior.synthetic.traits import Traits

_ALONG, _ACROSS = 0.66, 0.22  # standard deviations in spacings: closed, and still sharp
_IRIS_M, _PUPIL_M = 5.9e-3, 1.9e-3
BEARD_PARTS = {
    "stubble": ("moustache", "chin", "cheeks"), "moustache": ("moustache",),
    "goatee": ("moustache", "chin"), "short": ("moustache", "chin", "cheeks"),
    "full": ("moustache", "chin", "cheeks"), "none": (),
}  # fmt: skip


def surface(body: Scaffold, traits: Traits, rng: np.random.Generator) -> Splats:
    """One splat an anchor."""
    count = len(body.points)
    colors = skin_colors(body, traits, rng)
    gloss, sharpness = np.full(count, 0.07), np.full(count, 14.0)
    oily = np.exp(-((body.places[:, 0] / 0.016) ** 2)) * (body.places[:, 1] > -0.05)
    gloss *= rng.uniform(0.4, 1.8) * (1 + 0.9 * oily)
    lips = ramp(regions.lip_distance(body, body.places), 0.001, -0.001)
    gloss += 0.16 * lips * (0.4 + traits.lipstick)
    _paint_mouth(body, colors, gloss)
    _paint_eyes(body, traits, colors, gloss, sharpness, rng)
    scales = body.spacing[:, None] * np.array([_ALONG, _ALONG, _ACROSS])
    return Splats(
        anchor=np.arange(count),
        points=body.points,
        axes=body.frames,
        scales=scales,
        opacity=np.full(count, 0.97),
        colors=np.clip(colors, 0.01, 0.99),
        normals=body.normals,
        shadow=body.shadow,
        gloss=gloss,
        sharpness=sharpness,
    )


def skin_colors(
    body: Scaffold, traits: Traits, rng: np.random.Generator
) -> Float[np.ndarray, "N 3"]:
    """Tone, blood, freckles, lines, stubble and lips at every anchor."""
    at = body.places
    x, y, z = np.abs(at[:, 0]), at[:, 1], at[:, 2]
    face = ramp(z, -0.06, -0.02) * ramp(y, -0.13, -0.115)
    base = np.array(traits.skin)
    colors = np.tile(base, (len(at), 1))
    blotches = 0.6 * smooth_noise(at, 0.035, rng) + 0.5 * smooth_noise(at, 0.010, rng)
    pores = smooth_noise(at, 0.0035, rng)
    colors *= (1 + 0.014 * blotches + (0.010 + 0.012 * traits.age) * pores)[:, None]
    # Blood under thin skin; on dark skin it shows less.
    blood = np.exp(-((x - 0.040) ** 2 + (y + 0.036) ** 2) / 0.018**2)
    blood += 0.9 * np.exp(-(x**2 + (y + 0.040) ** 2) / 0.012**2) * (z > 0.02)
    blood += 0.35 * np.exp(-(x**2 + (y + 0.102) ** 2) / 0.015**2) + 0.5 * (x > 0.075)
    blood = blood * (0.8 + 0.25 * blotches) * traits.ruddiness * (1 - 0.55 * traits.tone)
    colors = mixed(colors, colors * np.array([0.99, 0.80, 0.79]), 0.85 * blood)
    # Eye sockets, the skin below them, and the shade beneath the lower lip.
    socket = np.exp(-(((x - 0.030) / 0.020) ** 2) - ((y - 0.006) / 0.011) ** 2)
    bags = np.exp(-(((x - 0.029) / 0.014) ** 2) - ((y + 0.014) / 0.005) ** 2)
    tired = 0.35 * socket + (0.3 + 0.5 * traits.age) * bags * rng.uniform(0.4, 1.0)
    colors = mixed(colors, colors * np.array([0.80, 0.70, 0.74]), tired * face)
    colors *= (1 - _openings(body, at))[:, None]
    jaw = ramp(y, -0.125, -0.16)
    colors *= (1 - 0.06 * jaw)[:, None]
    colors *= (1 - _lines(body, at, traits, rng) * face)[:, None]
    colors = _freckled(colors, at, face, traits, rng)
    colors = _stubbled(colors, body, traits, rng)
    brows = ramp(regions.brow_distance(body, at, traits.brow_weight), 0.0015, -0.002)
    colors = mixed(colors, np.array(traits.brow), 0.30 * brows)
    return _with_lips(colors, body, traits, rng)


def _with_lips(
    colors: np.ndarray, body: Scaffold, traits: Traits, rng: np.random.Generator
) -> np.ndarray:
    at = body.places
    lips = ramp(regions.lip_distance(body, at), 0.0012, -0.0008)
    own = np.array(traits.skin) * [0.90, 0.63, 0.65]
    if traits.tone > 0.6:
        own = own * [0.92, 1.05, 1.05]
    own = own + traits.lipstick * 0.9 * (np.array(traits.lip_color) - own)
    upper = 1 - 0.10 * (at[:, 1] > body.mean_landmarks[13, 1])  # it looks down, out of the light
    creases = np.cos(at[:, 0] * 2 * np.pi / 0.0022 + 2 * smooth_noise(at, 0.006, rng))
    own = own * (upper * (1 + 0.035 * creases))[:, None]
    seam = np.exp(-(((at[:, 1] - body.mean_landmarks[13, 1]) / 0.0016) ** 2))
    own = own * (1 - 0.35 * seam * (at[:, 2] > 0.0))[:, None]
    return mixed(colors, own, lips * (0.82 + 0.18 * traits.lipstick))


def _openings(body: Scaffold, at: np.ndarray) -> np.ndarray:
    """How dark nostrils, the crease of the upper lid and the nose's wings are."""
    x, y, z = np.abs(at[:, 0]), at[:, 1], at[:, 2]
    base, wing = body.mean_landmarks[2], body.mean_landmarks[327]
    middle = 0.52 * wing[0]
    nostril = np.exp(
        -((((x - middle) / 0.0042) ** 2 + ((y - base[1] - 0.0022) / 0.0022) ** 2) ** 2)
    )
    dark = 0.72 * nostril * (z > wing[2] - 0.006)
    groove = np.exp(
        -((((x - wing[0] - 0.0035) / 0.0018) ** 2) + ((y - wing[1] - 0.004) / 0.007) ** 2)
    )
    lids = body.mean_landmarks[[466, 388, 387, 386, 385, 384, 398]]
    height = y - np.interp(x, lids[::-1, 0], lids[::-1, 1]) - 0.0042
    inside = ramp(x, 0.017, 0.022) * ramp(x, 0.048, 0.043)
    crease = np.exp(-((height / 0.0011) ** 2)) * inside * (z > -0.01)
    return np.maximum(dark, np.maximum(0.28 * groove, 0.26 * crease))


def _lines(body: Scaffold, at: np.ndarray, traits: Traits, rng: np.random.Generator) -> np.ndarray:
    """How dark the folds of age are: beside the nose, on the forehead, at the eyes' corners."""
    x, y = np.abs(at[:, 0]), at[:, 1]
    nose, corner = body.mean_landmarks[327], body.mean_landmarks[291]
    a, b = nose[:2] + [0.004, 0.002], corner[:2] + [0.011, -0.004]
    to, edge = np.stack([x, y], 1) - a, b - a
    along = np.clip(to @ edge / (edge @ edge), 0, 1)
    bend = 0.004 * np.sin(np.pi * along)
    distance = np.linalg.norm(to - along[:, None] * edge - bend[:, None] * [1.0, 0.3], axis=1)
    fold = np.exp(-((distance / 0.0024) ** 2)) * (0.06 + 0.16 * traits.age)
    old = max(0.0, traits.age - 0.4) / 0.6
    waves = np.cos((y + 0.004 * np.cos(x / 0.016)) * 2 * np.pi / 0.0095 + rng.uniform(0, 6))
    brow = ramp(y, 0.028, 0.036) * ramp(y, 0.064, 0.055) * ramp(x, 0.045, 0.03)
    forehead = np.maximum(waves, 0) ** 6 * brow * 0.16 * old
    angle = np.arctan2(y - 0.001, x - 0.046)
    radius = np.hypot(y - 0.001, x - 0.046)
    feet = np.maximum(np.cos(angle * 11), 0) ** 4 * ramp(radius, 0.002, 0.006) * 0.18 * old
    feet = feet * ramp(radius, 0.017, 0.010) * (x > 0.047)
    return fold + forehead + feet


def _freckled(colors, at, face, traits: Traits, rng: np.random.Generator) -> np.ndarray:
    dark = np.array(traits.skin) * [0.72, 0.58, 0.50]
    if traits.freckles > 0:
        spots = smooth_noise(at, 0.0042, rng) + 0.8 * smooth_noise(at, 0.0075, rng)
        where = np.exp(-(((at[:, 1] + 0.028) / 0.028) ** 2)) * face
        share = ramp(spots, 1.5 - 0.6 * traits.freckles, 2.4) * where
        colors = mixed(colors, dark, 0.75 * traits.freckles * share)
    for _ in range(rng.poisson(1.5)):  # moles
        middle = at[rng.choice(np.flatnonzero(face > 0.8))]
        near = np.linalg.norm(at - middle, axis=1)
        size = rng.uniform(0.0009, 0.002)
        colors = mixed(colors, dark * 0.6, 0.8 * ramp(near, 1.6 * size, 0.6 * size))
    return colors


def _stubbled(colors, body: Scaffold, traits: Traits, rng: np.random.Generator) -> np.ndarray:
    """Shaved hair under the skin, and the dark ground of a beard."""
    masks = regions.beard_share(body, body.places)
    parts = BEARD_PARTS[traits.beard]
    if not parts:
        return colors
    strength = {"stubble": rng.uniform(0.15, 0.6), "short": 0.7, "full": 0.8}.get(
        traits.beard, 0.75
    )
    share = np.clip(sum(masks[name] for name in parts), 0, 1)
    grain = 0.75 + 0.35 * smooth_noise(body.places, 0.0022, rng)
    shade = mixed(colors * 0.9, np.array(traits.beard_color), np.full(len(colors), 0.6))
    return mixed(colors, shade, strength * share * grain)


def _paint_mouth(body: Scaffold, colors: np.ndarray, gloss: np.ndarray) -> None:
    for part, color, shine in (
        ("upper_teeth", (0.86, 0.83, 0.76), 0.25), ("lower_teeth", (0.81, 0.78, 0.71), 0.25),
        ("gums", (0.66, 0.36, 0.37), 0.2), ("tongue", (0.72, 0.38, 0.38), 0.15),
        ("mouth", (0.24, 0.09, 0.09), 0.0),
    ):  # fmt: skip
        own = body.on(part)
        colors[own], gloss[own] = color, shine
        depth = body.mean_landmarks[13, 2] - body.places[own, 2]
        colors[own] *= (1 - 0.6 * ramp(depth, 0.012, 0.045))[:, None]


def _paint_eyes(
    body: Scaffold,
    traits: Traits,
    colors: np.ndarray,
    gloss: np.ndarray,
    sharpness: np.ndarray,
    rng: np.random.Generator,
) -> None:
    joints = body.template.head.joints.double().numpy()
    pupil_m = _PUPIL_M * rng.uniform(0.75, 1.35)
    white = np.array([0.86, 0.83, 0.80]) * (1 - 0.08 * traits.tone)
    streaks = rng.uniform(0, 6, 3)
    for part, joint in (("left_eyeball", LEFT_EYE), ("right_eyeball", RIGHT_EYE)):
        own = body.on(part)
        away = body.places[own] - joints[joint]
        radius = np.where(away[:, 2] > 0, np.hypot(away[:, 0], away[:, 1]), 1.0)
        angle = np.arctan2(away[:, 1], away[:, 0])
        veins = np.maximum(smooth_noise(away, 0.004, rng), 0) * ramp(
            np.abs(away[:, 0]), 0.005, 0.01
        )
        eye = mixed(np.tile(white, (len(own), 1)), np.array([0.78, 0.50, 0.46]), 0.22 * veins)
        eye *= (1 - 0.22 * ramp(away[:, 1], 0.001, 0.0055))[:, None]  # in the upper lid's shade
        fibres = sum(np.cos(k * angle + p) for k, p in zip((17, 29, 43), streaks)) / 3
        ring = ramp(radius / _IRIS_M, 0.78, 1.0)
        light = 1 + 0.28 * fibres + 0.35 * ramp(radius, 4.2e-3, 2.4e-3) - 0.55 * ring
        light = light - 0.25 * ramp(away[:, 1], 0.0, 0.005)
        iris = np.clip(np.array(traits.iris) * light[:, None], 0.02, 0.9)
        eye = mixed(eye, iris, ramp(radius, _IRIS_M + 3e-4, _IRIS_M - 3e-4))
        eye = mixed(eye, np.full(3, 0.02), ramp(radius, pupil_m + 2.5e-4, pupil_m - 2.5e-4))
        colors[own], gloss[own], sharpness[own] = eye, 0.9, 220.0
