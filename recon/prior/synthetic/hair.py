"""Hair of the head, brows, lashes and beards."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from avatar3d.smooth import smoothstep as ramp
from recon.prior.synthetic import regions
from recon.prior.synthetic.noise import mixed, smooth_noise
from recon.prior.synthetic.scaffold import Scaffold
from recon.prior.synthetic.skin import BEARD_PARTS
from recon.prior.synthetic.splats import Splats, joined
from recon.prior.synthetic.strands import Growth, grow, strand_splats
from recon.prior.synthetic.traits import Traits

_CROWN = np.array([0.012, 0.10, -0.12])
_UPPER_LIDS = (
    (33, 246, 161, 160, 159, 158, 157, 173),
    (263, 466, 388, 387, 386, 385, 384, 398),
)
_LOWER_LIDS = ((33, 7, 163, 144, 145, 153, 154, 155), (263, 249, 390, 373, 374, 380, 381, 382))

_STRAY = 0.01


@dataclass(frozen=True)
class Style:
    """A hairstyle: lengths in metres at the top, the sides and the back."""

    top: float
    side: float
    back: float
    comb: str  # crown, back, part or out
    lift: float = 0.25
    volume: float = 0.008  # height of the outermost hair over the skin
    gravity: float = 0.5
    stiffness: float = 0.6
    curl_radius: float = 0.0
    curl_length: float = 0.04
    frizz: float = 0.0006
    clump: float = 0.6
    strands: int = 5000
    pieces: int = 8
    radius: float = 0.0011
    off_face: float = 0.0


_STYLES = {
    "short": Style(0.030, 0.014, 0.014, "crown", 0.35, 0.007, 0.2, pieces=5),
    "quiff": Style(0.036, 0.012, 0.014, "quiff", 0.45, 0.009, 0.35, 0.6, clump=0.35, pieces=6),
    "side": Style(0.075, 0.028, 0.025, "part", 0.28, 0.010, 0.6, pieces=7),
    "bob": Style(0.19, 0.165, 0.13, "part", 0.20, 0.010, 3.0, 0.5, pieces=12, radius=0.0013,
                 off_face=0.5),
    "long": Style(0.34, 0.31, 0.28, "part", 0.18, 0.010, 3.2, 0.5, pieces=16, radius=0.0014,
                  off_face=0.5),
    "curly": Style(0.12, 0.10, 0.09, "part", 0.42, 0.013, 1.0, 0.6, 0.006, 0.034, 0.0008, 0.45,
                   strands=3600, pieces=20, radius=0.0011, off_face=0.6),
    "afro": Style(0.055, 0.050, 0.050, "out", 0.95, 0.0, 0.0, 0.9, 0.0032, 0.015, 0.0012, 0.1,
                  strands=4600, pieces=14, radius=0.0010),
    "bun": Style(0.13, 0.12, 0.09, "bun", 0.10, 0.006, 0.0, 0.35, clump=0.5, pieces=11),
}  # fmt: skip


def head_hair(body: Scaffold, traits: Traits, rng: np.random.Generator) -> list[Splats]:
    """Strands, and a shell of dark ground under them; paints nothing on bald heads."""
    skull = body.on("scalp", "face", "neck")
    at = body.places[skull]
    wobble = 0.0012 * smooth_noise(at, 0.012, rng) + 0.0008 * smooth_noise(at, 0.004, rng)
    share = regions.scalp_share(at, traits.hairline, wobble)
    if traits.style == "bald":
        bare = ramp(at[:, 1], -0.005, 0.04 + 0.02 * rng.random())
        if rng.random() < 0.5:
            return []
        return [_ground(body, skull, share * (1 - bare), traits, 0.55 * rng.uniform(0.5, 1.2), rng)]
    if traits.style == "buzz":
        fade = 0.55 + 0.45 * ramp(at[:, 1], -0.03, 0.05)
        return [_ground(body, skull, share * fade, traits, rng.uniform(0.6, 0.95), rng)]
    style = _varied(_STYLES[traits.style], rng)
    fade = 1.0
    if traits.style in ("short", "quiff") and rng.random() < 0.5:  # clipped sides
        fade = 0.45 + 0.55 * ramp(at[:, 1], 0.0, 0.05)
    parts = [_ground(body, skull, share * fade, traits, 0.97, rng)]
    area = body.spacing[skull] ** 2
    dense = share * area
    roots = rng.choice(skull, style.strands, p=dense / dense.sum())
    knot = None
    if traits.style == "bun":
        knot = np.array([0.0, rng.uniform(0.02, 0.08), -0.183])
        knot[2] += 0.02 * ramp(knot[1], 0.03, 0.06)
        parts.append(_bun(body, traits, knot, rng))
    parts.append(_strands(body, roots, style, traits, knot, rng))
    return parts


def _varied(style: Style, rng: np.random.Generator) -> Style:
    longer = rng.uniform(0.8, 1.25)
    waves = style
    if style.top > 0.1 and style.curl_radius == 0 and rng.random() < 0.5:
        waves = replace(
            style, curl_radius=rng.uniform(0.002, 0.007), curl_length=rng.uniform(0.05, 0.1)
        )
    return replace(
        waves,
        top=style.top * longer * rng.uniform(0.85, 1.2),
        side=style.side * longer,
        back=style.back * longer,
        volume=style.volume * rng.uniform(0.7, 1.4),
        clump=float(np.clip(style.clump + rng.uniform(-0.25, 0.25), 0, 0.9)),
    )


def _strands(
    body: Scaffold,
    roots: np.ndarray,
    style: Style,
    traits: Traits,
    knot: np.ndarray | None,
    rng: np.random.Generator,
) -> Splats:
    at, count = body.places[roots], len(roots)
    _x, y, z = at.T
    top = ramp(y, 0.035, 0.075)
    back = ramp(z, -0.09, -0.13)
    length = style.side + (style.back - style.side) * back
    length = length + (style.top - length) * top
    if knot is not None:  # around the skull to the knot, not past it
        length = 1.15 * np.linalg.norm(knot - body.points[roots], axis=1)
    length = length * rng.uniform(0.75, 1.1, count)
    # The outermost hair is combed over the rest; the hairline's own lies flat.
    rank = rng.uniform(0, 1, count) ** 0.7
    edge = ramp(0.03 - z, 0.0, 0.05)
    growth = Growth(
        length=length,
        comb=_combed(at, style.comb, rng),
        lift=np.clip(style.lift * (0.5 + rank) * (0.5 + 0.5 * top), 0, 0.97),
        clearance=0.0015 + style.volume * rank * (0.5 + 0.5 * edge) * (0.55 + 0.45 * top),
        target=knot,
        gravity=style.gravity,
        stiffness=style.stiffness,
        curl_radius=style.curl_radius,
        curl_length=style.curl_length,
        frizz=style.frizz,
        clump=style.clump,
        off_face=style.off_face,
        pieces=style.pieces,
    )
    curves = grow(body, roots, growth, rng)
    if style.off_face > 0:  # what still hangs before the face is brushed away, but for a few
        kept = ~_before_face(curves) | (rng.random(count) < _STRAY)
        roots, curves, rank = roots[kept], curves[kept], rank[kept]
    tone = _tones(body.points[roots], traits.hair, rng)
    inner = 0.5 + 0.5 * rank
    sheen = 0.03 if style.comb == "out" else 0.03 + 0.22 * float(np.mean(traits.hair))
    return strand_splats(
        roots, curves, style.radius * (1.7 - 0.8 * rank), tone,
        root_shade=0.6, gloss=sheen, shadow=inner,
    )  # fmt: skip


def _before_face(curves: np.ndarray) -> np.ndarray:
    """Strands [S] of which a part hangs before the face or the throat."""
    x, y, z = np.moveaxis(curves, 2, 0)
    width = np.interp(y, [-0.2, -0.11, -0.03, 0.05], [0.045, 0.05, 0.056, 0.03])
    return ((np.abs(x) < width) & (z > -0.035) & (y < 0.035) & (y > -0.2)).any(1)


def _combed(at: np.ndarray, comb: str, rng: np.random.Generator) -> np.ndarray:
    """Where hair at places [S, 3] is combed, [S, 3] before it is laid on the skin."""
    x, y, z = at.T
    from_crown = at - _CROWN + rng.normal(0, 0.004, at.shape)
    if comb == "back":
        return np.stack([0.15 * x / 0.07, 0.1 - 0.5 * ramp(z, -0.06, -0.14), 0 * x - 1], 1)
    if comb == "bun":
        return np.array([0.0, 0.035, -0.165]) - at
    if comb == "out":
        return rng.normal(size=at.shape)
    if comb == "quiff":
        upward = np.stack([0.25 * x / 0.05, 0 * x + 0.9, 0.25 - 0.9 * ramp(z, 0.0, -0.06)], 1)
        top = ramp(y, 0.03, 0.06)[:, None]
        return upward * top + from_crown / 0.1 * (1 - top)
    if comb == "part":
        line = rng.choice([-0.028, 0.0, 0.028, 0.03, -0.03]) + 0.002 * np.cos(z / 0.012)
        side = np.sign(x - line + 1e-9)
        forward = rng.uniform(-0.5, 0.3)
        parted = np.stack([side, 0 * x - 0.3, 0 * x + forward], 1)
        front = ramp(z, -0.13, -0.09)[:, None]
        return parted * front + from_crown / 0.1 * (1 - front)
    return from_crown


def _ground(
    body: Scaffold,
    skull: np.ndarray,
    share: np.ndarray,
    traits: Traits,
    strength: float,
    rng: np.random.Generator,
) -> Splats:
    """Flat splats of hair colour on the skin: no scalp shines through, and clipped hair is this."""
    own = np.flatnonzero(share > 0.02)
    anchor, normals = skull[own], body.normals[skull[own]]
    grain = 0.9 + 0.12 * smooth_noise(body.places[anchor], 0.003, rng)
    color = np.array(traits.hair) * 0.75
    height = 0.0006 + 0.0016 * share[own]
    return Splats(
        anchor=anchor,
        points=body.points[anchor] + height[:, None] * normals,
        axes=body.frames[anchor],
        scales=body.spacing[anchor, None] * np.array([0.62, 0.62, 0.25]),
        opacity=np.clip(strength * share[own] * grain, 0.01, 0.98),
        colors=np.clip(color * grain[:, None], 0.01, 0.99),
        normals=normals,
        shadow=np.maximum(body.shadow[anchor], 0.5),
        gloss=np.full(len(own), 0.05),
        sharpness=np.full(len(own), 10.0),
    )


def _bun(body: Scaffold, traits: Traits, knot: np.ndarray, rng: np.random.Generator) -> Splats:
    """A knot behind the crown: rings around a ball."""
    middle, size = knot, rng.uniform(0.024, 0.034)
    root = int(body.nearest(middle[None])[0])
    rings, points = 160, 14
    height = rng.uniform(-0.95, 0.95, rings)
    angle = np.linspace(0, 2 * np.pi, points)[None] + rng.uniform(0, 6, rings)[:, None]
    radius = size * np.sqrt(1 - height**2)[:, None] * rng.uniform(0.9, 1.05, (rings, 1))
    curves = np.stack(
        [
            radius * np.cos(angle),
            radius * np.sin(angle),
            np.repeat(size * height[:, None], points, 1),
        ],
        axis=2,
    )
    curves = curves + middle
    tone = np.clip(np.array(traits.hair) * rng.uniform(0.75, 1.2, (rings, 1)), 0, 1)
    return strand_splats(
        np.full(rings, root), curves, np.full(rings, 0.0022), tone, taper=0.0, root_shade=0.9
    )


def brows(body: Scaffold, traits: Traits, rng: np.random.Generator) -> Splats:
    face = body.on("face")
    distance = regions.brow_distance(body, body.places[face], traits.brow_weight)
    share = ramp(distance, 0.001, -0.0015) * body.spacing[face] ** 2
    roots = rng.choice(face, 620, p=share / share.sum())
    x = body.places[roots, 0]
    outward = np.abs(x) - 0.016  # hairs at the inner end stand up
    comb = np.stack(
        [np.sign(x), np.interp(outward, [0, 0.012, 0.035], [1.6, 0.45, -0.35]), -0.3 + 0 * x], 1
    )
    count = len(roots)
    growth = Growth(
        length=rng.uniform(0.005, 0.009, count),
        comb=comb + rng.normal(0, 0.18, comb.shape),
        lift=np.full(count, 0.16),
        clearance=np.full(count, 0.0005),
        gravity=0.0,
        pieces=3,
        frizz=0.0003,
    )
    curves = grow(body, roots, growth, rng)
    tone = np.array(traits.brow) * rng.uniform(0.8, 1.15, (count, 1))
    radius = np.full(count, 0.00022 + 0.00010 * traits.brow_weight)
    return strand_splats(roots, curves, radius, tone, root_shade=0.95, opacity=0.72, gloss=0.03)


def lashes(body: Scaffold, traits: Traits, rng: np.random.Generator) -> Splats:
    """Along the lids' edges; the lower ones are short and few."""
    curves, strength = [], []
    for lids, count, length, rise in (
        (_UPPER_LIDS, 46, 0.0062, 0.55),
        (_LOWER_LIDS, 26, 0.0032, -0.5),
    ):
        for line in lids:
            edge = body.landmarks[list(line)]
            place = np.linspace(0.3, len(line) - 1.2, count)
            low = place.astype(int)
            at = edge[low] + (place - low)[:, None] * (edge[low + 1] - edge[low])
            side = np.sign(at[:, 0].mean())
            lean = side * np.linspace(0.75, -0.35, count)  # the list begins at the outer corner
            out = np.stack([lean, np.full(count, rise), np.full(count, 0.9)], 1)
            out = out / np.linalg.norm(out, axis=1, keepdims=True)
            size = length * (0.6 + 0.5 * traits.lashes) * rng.uniform(0.75, 1.1, (count, 1))
            bow = np.array([0.0, rise, -0.2]) * 0.35 * size
            curves.append(np.stack([at, at + 0.5 * size * out, at + size * out + bow], 1))
            strength.append(np.full(count, 1.0 if rise > 0 else 0.5))
    curve, weight = np.concatenate(curves), np.concatenate(strength)
    roots = body.nearest_on_face(curve[:, 0])
    dark = np.tile(np.minimum(np.array(traits.brow) * 0.5, 0.12), (len(curve), 1))
    thin = 0.00022 * (0.6 + 0.5 * traits.lashes) * np.ones(len(curve))
    splats = strand_splats(roots, curve, thin, dark, gloss=0.0, opacity=0.7)
    line = _lid_lines(body, traits)
    return joined([replace(splats, opacity=splats.opacity * np.repeat(weight, 2)), line])


def _lid_lines(body: Scaffold, traits: Traits) -> Splats:
    """The dark edge where the upper lashes grow."""
    curves = np.stack([body.landmarks[list(line)] for line in _UPPER_LIDS])
    curves = curves + np.array([0.0, 0.0002, 0.0004])
    pieces = np.stack([curves[:, :-1], curves[:, 1:]], 2).reshape(-1, 2, 3)
    roots = body.nearest_on_face(pieces.mean(1))
    color = np.tile(np.array(traits.skin) * 0.28, (len(pieces), 1))
    radius = np.full(len(pieces), 0.00042 + 0.0002 * traits.lashes)
    return strand_splats(
        roots, pieces, radius, color, taper=0.0, root_shade=1.0, opacity=0.75, gloss=0.0
    )


_BEARD_LENGTH = {"moustache": 0.010, "goatee": 0.013, "short": 0.008, "full": 0.028}


def beard(body: Scaffold, traits: Traits, rng: np.random.Generator) -> Splats | None:
    if traits.beard in ("none", "stubble"):
        return None
    face = body.on("face", "neck")
    masks = regions.beard_share(body, body.places[face])
    share = np.clip(sum(masks[name] for name in BEARD_PARTS[traits.beard]), 0, 1)
    patchy = np.clip(0.9 + 0.25 * smooth_noise(body.places[face], 0.01, rng), 0, 1)
    dense = share * patchy * body.spacing[face] ** 2
    count = {"moustache": 700, "goatee": 1400}.get(traits.beard, 4400)
    roots = rng.choice(face, count, p=dense / dense.sum())
    at = body.places[roots]
    lip = at[:, 1] > body.mean_landmarks[291, 1]
    near_nose = lip & (np.abs(at[:, 0]) < 0.035) & (at[:, 2] > -0.005)
    comb = np.stack([0.5 * at[:, 0] / 0.05, np.full(count, -1.0), 0.15 + 0 * at[:, 0]], 1)
    comb[near_nose, 0] += 0.9 * np.sign(at[near_nose, 0])
    length = _BEARD_LENGTH[traits.beard] * rng.uniform(0.6, 1.25) * rng.uniform(0.6, 1.1, count)
    length = np.where(near_nose, np.minimum(length, 0.008), length)
    growth = Growth(
        length=length,
        comb=comb + rng.normal(0, 0.25, comb.shape),
        lift=np.full(count, 0.35),
        clearance=0.001 + 0.003 * rng.uniform(0, 1, count),
        gravity=0.8,
        curl_radius=0.0012,
        curl_length=0.012,
        frizz=0.0006,
        clump=0.2,
        pieces=4,
    )
    curves = grow(body, roots, growth, rng)
    tone = _tones(body.points[roots], traits.beard_color, rng)
    return strand_splats(
        roots, curves, np.full(count, 0.00052), tone, root_shade=0.8, opacity=0.8, gloss=0.04
    )


def _tones(points: np.ndarray, color, rng: np.random.Generator) -> np.ndarray:
    """Strands differ, and whole locks do."""
    lock = 0.10 * smooth_noise(points, 0.018, rng)
    bright = 1 + lock + rng.normal(0, 0.12, len(points))
    warm = mixed(
        np.tile(np.array(color), (len(points), 1)),
        np.array(color) * [1.08, 1.0, 0.88],
        0.5 + 0.5 * smooth_noise(points, 0.03, rng),
    )
    return np.clip(warm * np.clip(bright, 0.55, 1.6)[:, None], 0.01, 0.98)
