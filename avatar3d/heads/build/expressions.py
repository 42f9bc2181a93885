"""The 52 ARKit shapes as displacement fields.

A field is a sum of strokes: a displacement in mm (x outward on the left side) that fades as a
Gaussian of the distance in the frontal plane, on the upper lip's side of the mouth, the lower's, or
both. Left shapes are authored, right ones are their mirror images. Sizes follow the spread of the
measured landmarks within clips (statistics.safetensors) and the actions' anatomy (Ekman & Friesen
1978, Facial Action Coding System).
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from safetensors.numpy import load_file
from scipy.sparse import csr_matrix, diags
from scipy.sparse.linalg import splu

from avatar3d.codes import ARKIT_NAMES
from avatar3d.heads.build import anthropometry as body
from avatar3d.heads.build.assemble import Head
from avatar3d.heads.build.halfmesh import Indices, Points
from avatar3d.heads.build.lids import Lids
from avatar3d.heads.build.skin import far_controls
from avatar3d.heads.build.surface import Spline
from avatar3d.smooth import smoothstep

CORRECTIONS_PATH = Path(__file__).with_name("expression_corrections.safetensors")
SMOOTHING = 5e-5  # of the spline that carries them


class Stroke(NamedTuple):
    at: tuple[float, float]  # mm, frontal plane
    move: tuple[float, float, float]  # mm
    size: tuple[float, float]  # mm, distance at which a Gaussian falls to 1/e
    lip: int = 0  # +1 above the mouth's slit only, -1 below it only, 0 both


CORNER = (24.0, -68.5)
# One-sided strokes of the left shapes; shapes of both sides are their sum with the mirror image.
LEFT: dict[str, list[Stroke]] = {
    "browDownLeft": [
        Stroke((15, 17), (-1.9, -4.3, 1.6), (12, 13)),
        Stroke((38, 25), (-4.6, -4.1, 2.7), (16, 14)),
        Stroke((4, 20), (-0.7, -1.6, 0.8), (8, 12)),
    ],
    "browInnerUp": [
        Stroke((17, 19), (0.4, 6.5, -0.1), (14, 17)),
        Stroke((4, 32), (0.0, 1.9, 0.0), (16, 22)),
    ],
    "browOuterUpLeft": [
        Stroke((46, 21), (1.7, 8.2, -2.8), (15, 17)),
        Stroke((30, 25), (0.3, 4.4, -0.6), (13, 15)),
    ],
    "cheekPuff": [
        Stroke((30, -72), (1.2, 0.7, 12.6), (19, 20)),
        Stroke((48, -64), (8.4, 0.0, 3.6), (18, 22)),
        Stroke((8, -72), (0.0, 0.0, 3.8), (14, 15)),
    ],
    "cheekSquintLeft": [
        Stroke((50, -34), (-0.7, 6.6, 2.4), (27, 23)),
        Stroke((34, -14), (0.0, 1.4, 0.4), (16, 8)),
    ],
    "noseSneerLeft": [
        Stroke((17, -38), (-0.4, 3.6, 0.4), (12, 13)),
        Stroke((27, -49), (-1.2, 5.6, 0.3), (18, 18), 1),
        Stroke((9, 4), (0.0, -1.7, 1.4), (9, 10)),
        Stroke((17, 13), (-0.8, -2.2, 0.6), (13, 12)),
        Stroke((12, -62), (0.0, 2.8, 0.0), (13, 8), 1),
    ],
    "mouthSmileLeft": [
        Stroke(CORNER, (7.7, 9.4, -7.7), (15, 15)),
        Stroke((12, -68), (2.4, 1.7, -2.4), (10, 11)),
        Stroke((40, -48), (1.1, 5.5, 2.2), (18, 18)),
        Stroke((50, -36), (0.0, 2.2, 0.9), (18, 16)),
    ],
    "mouthFrownLeft": [
        Stroke((26, -72), (1.8, -5.5, -2.3), (13, 14)),
        Stroke((22, -88), (0.5, -2.1, 0.0), (15, 13)),
    ],
    "mouthDimpleLeft": [
        Stroke(CORNER, (1.4, 4.3, -5.5), (13, 14)),
        Stroke((14, -69), (0.8, 1.0, -1.4), (11, 12)),
    ],
    "mouthStretchLeft": [
        Stroke(CORNER, (5.7, -2.0, -5.3), (15, 16)),
        Stroke((13, -70), (2.1, -0.6, -1.5), (11, 13)),
        Stroke((30, -90), (1.3, -1.4, -0.7), (18, 18)),
    ],
    "mouthPressLeft": [
        Stroke((13, -62), (0.2, -1.1, -0.6), (12, 5), 1),
        Stroke((13, -76), (0.2, 1.7, -0.4), (12, 7), -1),
        Stroke((17, -103), (-0.2, 4.6, 1.6), (18, 15)),
        Stroke(CORNER, (0.4, 0.4, -0.7), (10, 9)),
    ],
    "mouthLowerDownLeft": [
        Stroke((11, -72), (1.2, -6.5, -1.5), (11, 13), -1),
        Stroke((14, -90), (0.5, -2.6, 0.5), (14, 12)),
    ],
    "mouthUpperUpLeft": [
        Stroke((11, -62), (1.4, 6.7, -1.2), (12, 11), 1),
        Stroke((25, -51), (2.0, 6.4, -1.8), (16, 16), 1),
        Stroke((17, -40), (0.7, 2.2, 0.0), (9, 9)),
    ],
    "mouthShrugLower": [
        Stroke((0, -100), (0.0, 5.0, 1.2), (16, 14)),
        Stroke((9, -100), (0.0, 4.0, 0.8), (16, 14)),
        Stroke((7, -72), (0.0, 4.4, 2.0), (16, 11)),
    ],
    "mouthShrugUpper": [
        Stroke((7, -63), (0.0, 3.6, 0.7), (13, 9), 1),
        Stroke((7, -72), (0.0, 3.0, 0.7), (13, 9), -1),
    ],
    "mouthRollLower": [
        Stroke((7, -71), (0.0, -0.5, -5.8), (15, 4.8), -1),
        Stroke((7, -77), (0.0, 4.6, -2.6), (16, 6), -1),
        Stroke((6, -92), (0.0, 2.2, 0.6), (16, 12)),
    ],
    "mouthRollUpper": [
        Stroke((7, -65), (0.0, -0.6, -6.0), (15, 4.2), 1),
        Stroke((7, -58.5), (0.0, -4.4, -3.0), (16, 5.0), 1),
        Stroke((6, -50), (0.0, -1.5, 0.2), (16, 8), 1),
    ],
    "mouthFunnel": [
        Stroke((8, -63), (-0.7, 4.1, 6.0), (13, 9), 1),
        Stroke((8, -75), (-0.7, -6.2, 5.5), (13, 10), -1),
        Stroke(CORNER, (-6.0, -0.5, 4.8), (11, 13)),
        Stroke((10, -100), (0.0, -2.4, 0.6), (18, 14)),
    ],
    "mouthPucker": [
        Stroke((7, -68.5), (-2.0, 0.0, 6.4), (12, 14)),
        Stroke(CORNER, (-7.9, 0.7, 6.8), (11, 13)),
        Stroke((38, -66), (-3.3, 0.6, 1.7), (15, 20)),
    ],
}  # fmt: skip
BOTH_SIDES = {
    "browInnerUp", "cheekPuff", "mouthShrugLower", "mouthShrugUpper", "mouthRollLower",
    "mouthRollUpper", "mouthFunnel", "mouthPucker",
}  # fmt: skip
SEALED = {
    "mouthPressLeft", "mouthShrugLower", "mouthShrugUpper", "cheekPuff", "mouthLeft",
    "mouthFrownLeft", "mouthDimpleLeft", "mouthStretchLeft",
}  # fmt: skip
LIP_SHARES = (0.5, 0.32, 0.14)  # of what closes the lips, by loop from the border outwards
# How far (metres) a corner may go inwards, so that both together leave a mouth.
CORNER_ROOM = {"mouthPucker": 0.0105, "mouthFunnel": 0.0065}
# Travel of the upper border down and of the lower border up, in shares of the eye's opening.
LID_TRAVEL = {
    "eyeBlinkLeft": (0.90, 0.10),
    "eyeLookDownLeft": (0.66, -0.16),
    "eyeLookUpLeft": (-0.36, 0.10),
    "eyeSquintLeft": (0.20, 0.28),
    "eyeWideLeft": (-0.38, -0.05),
}


class Canvas:
    """The vertices that strokes move, with their side of the mouth."""

    def __init__(self, head: Head):
        mesh = head.mesh
        self.mesh, self.mm = mesh, mesh.vertices * 1e3
        x, y = self.mm[:, 0], self.mm[:, 1]
        lips = head.half_rows["lips"]
        loop = self.mm[lips[0]]
        slit = np.interp(np.abs(x), loop[:11, 0], 0.5 * (loop[:11, 1] + loop[20:9:-1, 1]))
        corner_x = loop[10, 0]
        width = np.where(
            np.abs(x) < corner_x, 1e-3, np.minimum(8.0, (np.abs(x) - corner_x) * 0.9 + 1e-3)
        )
        self.above = smoothstep((y - slit) / width, -1.0, 1.0)
        half = np.linspace(0.0, 1.0, 21)
        side = np.where(half < 0.5, 1.0, np.where(half > 0.5, 0.0, 0.5))
        for ring in [*lips[:4], *head.half_rows["cavity"]]:
            for own in (ring, mesh.mirror[ring]):
                self.above[own] = side
        # Gaussians see the cavity's first rings as part of the lips, the deeper ones not.
        self.strength = np.zeros(len(mesh.vertices))
        self.strength[mesh.pieces["skin"]] = 1.0
        self.place = self.mm[:, :2].copy()
        for depth, ring in enumerate(head.half_rows["cavity"]):
            for own, lip in ((ring, lips[0]), (mesh.mirror[ring], mesh.mirror[lips[0]])):
                self.strength[own] = max(0.0, 1.0 - 0.22 * depth)
                self.place[own] = self.mm[lip, :2]
        border = head.half_rows["eye"][0]
        lining = mesh.pieces["lid_lining"]
        for side_sign, border_own in ((1, border), (-1, mesh.mirror[border])):
            own = lining[np.sign(self.mm[lining, 0]) == side_sign]
            self.strength[own] = 1.0
            if side_sign == 1:
                columns = np.arange(len(own)) % len(border)
                self.place[own] = self.mm[border_own[columns], :2]
                left_own = own
            else:
                self.place[mesh.mirror[left_own]] = self.place[left_own] * (-1.0, 1.0)
        for piece in ("ear", "bust"):
            self.strength[mesh.pieces[piece]] = 1.0
        self.front = smoothstep(self.mm[:, 2], -75.0, -20.0)
        self.front[np.isnan(mesh.names[:, 0])] = 0.0
        cavity = mesh.pieces["cavity"]
        self.front[cavity] = 1.0

    def painted(self, strokes: list[Stroke]) -> Points:
        """Displacement [V, 3] in metres of the strokes on the left side."""
        total = np.zeros_like(self.mm)
        for stroke in strokes:
            offset = (self.place - stroke.at) / stroke.size
            amount = np.exp(-(offset**2).sum(1)) * self.strength * self.front
            if stroke.lip:
                amount = amount * (self.above if stroke.lip > 0 else 1.0 - self.above)
            total += amount[:, None] * stroke.move
        return total * 1e-3

    def mirrored(self, field: Points) -> Points:
        return field[self.mesh.mirror] * (-1.0, 1.0, 1.0)


def turn_of_open_jaw(weights: Points) -> Points:
    """What skinning does to each vertex at jawOpen 1, [V, 3, 3]."""
    a, jaw = body.JAW_OPEN_ANGLE, weights[:, 3, None, None]
    turn = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    return (1 - jaw) * np.eye(3) + jaw * turn


def sealed_over_open_jaw(head: Head, weights: Points, opening: Points, closing: Points) -> Points:
    """The field of mouthClose, its lips brought together where the learned opening left a gap."""
    mesh, rows, mixed = head.mesh, head.half_rows, turn_of_open_jaw(weights)
    field = closing.copy()
    for side in (np.arange(len(mesh.vertices)), mesh.mirror):
        offset = mesh.vertices + opening + field - body.JAW_JOINT
        border = side[rows["lips"][0]]
        posed = np.einsum("vij,vj->vi", mixed[border], offset[border])
        gap = posed[:11] - posed[20:9:-1]
        gap[-1] = 0.0
        for loop, share in zip(side[rows["lips"]], LIP_SHARES, strict=False):
            upper, lower = loop[:11], loop[20:9:-1]
            field[upper] -= share * np.linalg.solve(mixed[upper], gap[..., None])[..., 0]
            field[lower] += share * np.linalg.solve(mixed[lower], gap[..., None])[..., 0]
    return field


def closing_of_open_jaw(head: Head, canvas: Canvas, weights: Points) -> Points:
    """mouthClose: what brings the lips together again while the jaw is turned by jawOpen."""
    vertices, mixed = head.mesh.vertices, turn_of_open_jaw(weights)
    moved = np.einsum("vij,vj->vi", mixed, vertices - body.JAW_JOINT) + body.JAW_JOINT
    field = np.zeros_like(vertices)
    slit = head.half_rows["lips"][0]
    upper, lower = slit[:11], slit[20:9:-1]
    opened = moved[upper] - moved[lower]
    x = np.abs(canvas.place[:, 0]) * 1e-3
    gap = np.stack([np.interp(x, vertices[upper, 0], opened[:, k]) for k in range(3)], axis=1)
    rest_gap = vertices[upper] - vertices[lower]
    gap -= np.stack([np.interp(x, vertices[upper, 0], rest_gap[:, k]) for k in range(3)], axis=1)
    # The opening's profile is steep at the corners; away from the lips the skin smooths it out.
    height = np.abs(canvas.mm[:, 1] - canvas.mm[slit[0], 1])
    near = np.exp(-((height / 9.0) ** 2))
    near[head.mesh.pieces["cavity"]] = 1.0
    wide = np.exp(-((x / (0.75 * vertices[slit[10], 0])) ** 2))[:, None]
    gap = near[:, None] * gap + (1 - near)[:, None] * wide * (opened[0] - rest_gap[0])
    inside = 1.0 - smoothstep(x, vertices[slit[10], 0] * 0.98, vertices[slit[10], 0] + 0.020)
    fade_up = np.exp(-(np.maximum(0.0, height / 13.0) ** 2))
    fade_down = np.exp(-(np.maximum(0.0, height / 26.0) ** 2))
    upper_share = 0.18
    # The border itself must meet exactly; beyond it the move fades.
    border = np.concatenate([slit, head.mesh.mirror[slit]])
    cavity = head.mesh.pieces["cavity"]
    fade_up[border], fade_down[border] = 1.0, 1.0
    fade_up[cavity] = fade_down[cavity] = canvas.strength[cavity]
    above = canvas.above
    wanted = -gap * (above * upper_share * fade_up)[:, None]
    wanted += gap * ((1 - above) * (1 - upper_share) * fade_down)[:, None]
    wanted *= (inside * np.minimum(canvas.strength, 1.0) * canvas.front)[:, None]
    # The closed lips come down as they are at rest, corners and all.
    drop = wanted[upper[0]] + moved[upper[0]] - vertices[upper[0]]
    wanted[border] = vertices[border] + drop - moved[border]
    for ring in head.half_rows["cavity"]:
        for inner, lips in ((ring, slit), (head.mesh.mirror[ring], head.mesh.mirror[slit])):
            wanted[inner] = canvas.strength[inner][:, None] * wanted[lips]
    wanted = smoothest_around(head, wanted, border)
    field = np.linalg.solve(mixed, wanted[..., None])[..., 0]
    field[:, 0] = 0.0
    return field


def smoothest_around(head: Head, field: Points, held: Indices) -> Points:
    """The field, on the skin around the mouth as smooth as can be between the vertices `held` and
    the rest of the face, which stays: no creases where a profile would end."""
    mesh = head.mesh
    x, y, z = mesh.vertices.T * 1e3
    near = (np.abs(x) < 52) & (y > -122) & (y < -46) & (z > -25)
    free = np.zeros(len(x), bool)
    free[mesh.pieces["skin"]] = near[mesh.pieces["skin"]]
    still = np.zeros(len(x), bool)
    still[mesh.pieces["skin"]] = True
    still &= ~free
    free[held] = False
    skin = np.isin(mesh.triangles, mesh.pieces["skin"]).all(1)
    bending = bending_energy(mesh.vertices, mesh.triangles[skin])
    known = np.where(still[:, None], 0.0, field)
    inner, outer = np.flatnonzero(free), np.flatnonzero(~free)
    solved = splu(bending[inner][:, inner].tocsc()).solve(-bending[inner][:, outer] @ known[outer])
    known[inner] = solved
    return known


def bending_energy(vertices: Points, triangles: Indices) -> csr_matrix:
    """Sum of squared mean curvature changes as a matrix [V, V]: L M^-1 L of the cotangent Laplacian."""
    count = len(vertices)
    corners = vertices[triangles]
    area = 0.5 * np.linalg.norm(
        np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1
    )
    laplacian = csr_matrix((count, count))
    for k in range(3):
        a, b, apex = triangles[:, (k + 1) % 3], triangles[:, (k + 2) % 3], corners[:, k]
        dot = ((vertices[a] - apex) * (vertices[b] - apex)).sum(1)
        weight = np.maximum(0.25 * dot / area, 0.02)
        rows, columns = np.concatenate([a, b, a, b]), np.concatenate([b, a, a, b])
        values = np.concatenate([-weight, -weight, weight, weight])
        laplacian = laplacian + csr_matrix((values, (rows, columns)), shape=(count, count))
    mass = np.bincount(triangles.ravel(), np.repeat(area / 3, 3), minlength=count)
    share = diags(1.0 / np.maximum(mass, mass[mass > 0].min()))
    return csr_matrix(laplacian @ share @ laplacian)


def tongue_out(head: Head) -> Points:
    field = np.zeros_like(head.mesh.vertices)
    own = head.mesh.pieces["tongue"]
    p = head.mesh.vertices[own]
    along = (p[:, 2] - p[:, 2].min()) / np.ptp(p[:, 2])
    # Up over the lower teeth and lip, then down again at the tip; thinner, as it grows longer.
    over = smoothstep(along, 0.15, 0.55) * (1.0 - 0.9 * smoothstep(along, 0.62, 1.0))
    middle = p[:, 1].mean()
    field[own, 2] = 0.036 * along**1.3
    field[own, 1] = 0.0085 * over - 0.3 * smoothstep(along, 0.3, 0.8) * (p[:, 1] - middle)
    return field


def jaw_forward(weights: Points) -> Points:
    return weights[:, 3:4] * np.array([0.0, -0.0010, 0.0085])


def sideways(canvas: Canvas) -> Points:
    """mouthLeft: the mouth shifts to the subject's left, the corner ahead lifts a little."""
    strokes = [
        Stroke((0, -69), (11.5, 0.0, 0.0), (25, 18)),
        Stroke(CORNER, (4.0, 1.2, -5.0), (14, 15)),
        Stroke((-24.0, -68.5), (6.0, 0.0, 6.5), (14, 15)),
    ]
    return canvas.painted(strokes)


def gaze_drags_lids(lids: Lids) -> Points:
    """The lids' skin follows the cornea's bulge a little to the side (eyeLookOut)."""
    p = lids.points
    x, y = (p[:, 0] - body.EYE_CENTRE_MEASURED[0]) * 1e3, p[:, 1] * 1e3
    amount = np.exp(-((x / 9.0) ** 2) - (y / 8.0) ** 2) * lids.region
    return amount[:, None] * np.array([0.0026, 0.0, 0.0])


def corrections(head: Head, canvas: Canvas) -> dict[str, Points]:
    """What clips say that the strokes lack, of the left shapes and those of both sides [V, 3].

    `recon.track.learn_expressions` has measured it at the landmarks; it is carried to the skin as
    the face is, and into the mouth as strokes are.
    """
    if not CORRECTIONS_PATH.exists():  # while they are being learned anew
        return {}
    learned = load_file(str(CORRECTIONS_PATH))["corrections"].astype(np.float64)
    mesh, skin = head.mesh, head.skin
    still = far_controls(skin)
    names = np.concatenate([skin.landmark_names, skin.spline.controls[468:][still]])
    own = mesh.pieces["skin"]
    operator = Spline(names, smoothing=SMOOTHING).operator(mesh.names[own])[:, :468]
    fields = {}
    for index, name in enumerate(ARKIT_NAMES):
        if name.endswith("Right") or not learned[index].any():
            continue
        field = np.zeros_like(mesh.vertices)
        field[own] = operator @ learned[index, :468]
        lips = head.half_rows["lips"][0]
        for ring in head.half_rows["cavity"]:
            for inner, border in ((ring, lips), (mesh.mirror[ring], mesh.mirror[lips])):
                field[inner] = field[border] * canvas.strength[inner][:, None]
        fields[name] = field * np.minimum(canvas.strength * canvas.front, 1.0)[:, None]
    return fields


def _move_lips(field: Points, loop: Indices, gap: Points, share: float) -> None:
    """Upper and lower points of a half loop [21] by a share of the gap [11, 3] towards each other."""
    field[loop[:11]] -= share * gap
    field[loop[20:9:-1]] += share * gap


def lips_apart(head: Head, field: Points, *, sealed: bool) -> Points:
    """The field, with lips that do not pass each other (or, `sealed`, stay on each other).

    Where each shape alone keeps them from crossing, so does every sum of shapes.
    """
    field, mesh, rows = field.copy(), head.mesh, head.half_rows
    for side in (np.arange(len(mesh.vertices)), mesh.mirror):
        loops = side[rows["lips"]]
        gap = field[loops[0][:11]] - field[loops[0][20:9:-1]]
        if not sealed:
            gap = np.stack([0 * gap[:, 0], np.minimum(gap[:, 1], 0.0), 0 * gap[:, 2]], axis=1)
        gap[-1] = 0.0  # the corner is one point
        for loop, share in zip(loops, LIP_SHARES, strict=False):
            _move_lips(field, loop, gap, share)
        for ring in side[rows["cavity"]][:2]:
            _move_lips(field, ring, gap, 0.5)
    return field


def expression_basis(head: Head, weights: Points) -> Points:
    """[52, V, 3] metres at coefficient 1."""
    canvas, lids = Canvas(head), Lids(head)
    fields: dict[str, Points] = {}
    for name, strokes in LEFT.items():
        field = canvas.painted(strokes)
        fields[name] = field + canvas.mirrored(field) if name in BOTH_SIDES else field
    for name, (upper, lower) in LID_TRAVEL.items():
        fields[name] = lids.moved(upper, lower)
    fields["eyeSquintLeft"] += canvas.painted([Stroke((32, -15), (-0.6, 2.4, 0.6), (17, 8))])
    fields["eyeLookOutLeft"] = gaze_drags_lids(lids)
    fields["eyeLookInLeft"] = -gaze_drags_lids(lids)
    fields["jawForward"] = jaw_forward(weights)
    fields["jawLeft"] = np.zeros_like(head.mesh.vertices)
    fields["mouthLeft"] = sideways(canvas)
    narrowing = canvas.painted([Stroke(CORNER, (-1.8, 0.0, 0.0), (14, 16))])
    fields["jawOpen"] = narrowing + canvas.mirrored(narrowing)
    fields["mouthClose"] = closing_of_open_jaw(head, canvas, weights)
    fields["mouthClose"] -= fields["jawOpen"]
    fields["tongueOut"] = tongue_out(head)
    for name, learned in corrections(head, canvas).items():
        fields[name] += learned
    for name, field in fields.items():
        if name in CORNER_ROOM:
            inward = -field[head.half_rows["lips"][0][10], 0]
            field[:, 0] *= min(1.0, CORNER_ROOM[name] / inward)
        if name.startswith(("mouth", "cheekPuff", "noseSneer")) and name != "mouthClose":
            fields[name] = lips_apart(head, field, sealed=name in SEALED)
    fields["mouthClose"] = sealed_over_open_jaw(
        head, weights, fields["jawOpen"], fields["mouthClose"]
    )
    for name in list(fields):
        if name.endswith("Left"):
            fields[name[:-4] + "Right"] = canvas.mirrored(fields[name])
    return np.stack([fields[name] for name in ARKIT_NAMES])
