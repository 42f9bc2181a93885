"""Identity modes: measured directions of the face, carried to the whole head, and authored ones."""

from __future__ import annotations

import numpy as np

from avatar3d.heads.build import anthropometry as body
from avatar3d.heads.build import landmarks as lm
from avatar3d.heads.build.assemble import Head
from avatar3d.heads.build.halfmesh import Points
from avatar3d.heads.build.lids import Lids
from avatar3d.heads.build.skin import far_controls
from avatar3d.heads.build.surface import Spline
from avatar3d.smooth import smoothstep

MEASURED_MODES = 24


class Carrier:
    """Carries displacements of the 468 landmarks to all vertices and joints."""

    def __init__(self, head: Head, statistics: lm.Statistics):
        self.head, self.statistics = head, statistics
        skin = head.skin
        still = skin.spline.controls[468:][far_controls(skin)]
        names = np.concatenate([skin.landmark_names, still])
        self.spline = Spline(names, smoothing=2e-4)
        mesh = head.mesh
        self.named = np.flatnonzero(~np.isnan(mesh.names[:, 0]))
        moving = np.ones(len(mesh.vertices), bool)
        for piece in ("bust", "cavity", "lid_lining", "ear"):
            moving[mesh.pieces[piece]] = False
        self.skin_vertices = self.named[moving[self.named]]
        self.skin_operator = self.spline.operator(mesh.names[self.skin_vertices])[:, :468]

    def carried(self, landmarks: Points) -> tuple[Points, Points]:
        """[468, 3] -> displacements of vertices [V, 3] and joints [6, 3]."""
        head, mesh = self.head, self.head.mesh
        d = landmarks.copy()
        for k in range(5):  # the lips stay closed: take the gap's change out, less so further away
            for mirrored in (False, True):
                ids = [(loop[k], loop[10 - k]) for loop in lm.LIP_LOOPS[:3]]
                if mirrored:
                    ids = [tuple(self.statistics.mirror[list(pair)]) for pair in ids]
                if mirrored and k == 0:
                    continue  # the middle is its own mirror image
                gap = d[ids[0][0]] - d[ids[0][1]]
                for (upper, lower), share in zip(ids, (0.5, 0.32, 0.14), strict=True):
                    d[upper] -= share * gap
                    d[lower] += share * gap
        field = np.zeros_like(mesh.vertices)
        field[self.skin_vertices] = self.skin_operator @ d
        rows = head.half_rows
        for flip in (False, True):
            side = mesh.mirror if flip else np.arange(len(mesh.vertices))
            border = field[side[rows["bust"][0]]]
            count = len(rows["bust"]) - 1
            fade = 1.0 - smoothstep(np.arange(1, count + 1) / count, 0.0, 0.55)
            field[side[rows["bust"][1:]]] = border[None] * fade[:, None, None]
            # The ear moves as one, with its base.
            ear = mesh.pieces["ear"]
            ear = ear[(mesh.vertices[ear, 0] < 0) == flip]
            field[ear] = field[side[head.skin.ear_base]].mean(0)
            border = side[rows["lips"][0]]
            closed = 0.5 * (field[border[:11]] + field[border[20:9:-1]])
            field[border[:11]], field[border[11:]] = closed, closed[9::-1]
            lips = field[border]
            deep = field[side[rows["lips"][2]]].mean(0)
            for depth, ring in enumerate(rows["cavity"]):
                t = smoothstep(np.array([depth / 3.0]))
                field[side[ring]] = (1 - t) * lips + t * deep
            eye = side[rows["eye"][0]]
            shift = field[eye].mean(0)
            lining = mesh.pieces["lid_lining"]
            lining = lining[(mesh.vertices[lining, 0] < 0) == flip]
            own = np.sort(mesh.mirror[lining]) if flip else lining
            columns = np.arange(len(own)) % len(eye)
            moved = field[eye[columns]]
            depth = np.array([0.15, 0.6, 1.0])[np.arange(len(own)) // len(eye)][:, None]
            field[side[own]] = (1 - depth) * moved + depth * shift
            ball = mesh.pieces["eyeball"]
            field[ball[(mesh.vertices[ball, 0] < 0) == flip]] = shift
        mouth = field[np.concatenate([rows["lips"][1], mesh.mirror[rows["lips"][1]]])].mean(0)
        end = np.setdiff1d(
            mesh.pieces["cavity"],
            np.concatenate([rows["cavity"].ravel(), mesh.mirror[rows["cavity"].ravel()]]),
        )
        field[end] = mouth
        for piece in ("upper_teeth", "lower_teeth", "upper_gum", "lower_gum", "tongue"):
            field[mesh.pieces[piece]] = mouth
        return field, self.joints_of(field)

    def joints_of(self, field: Points) -> Points:
        """Eyes ride with their eyeballs; the jaw with half the ears' move; the neck with its skin."""
        mesh = self.head.mesh
        moved = np.zeros((6, 3))
        ball = mesh.pieces["eyeball"]
        for joint, own in ((4, mesh.vertices[ball, 0] > 0), (5, mesh.vertices[ball, 0] < 0)):
            moved[joint] = field[ball[own]].mean(0)
        base = np.concatenate([self.head.skin.ear_base, mesh.mirror[self.head.skin.ear_base]])
        moved[3] = 0.5 * field[base].mean(0) * (0.0, 1.0, 1.0)
        ring = self.head.half_rows["bust"]
        moved[2] = field[np.concatenate([ring[0], mesh.mirror[ring[0]]])].mean(0)
        low = len(ring) // 2
        moved[1] = field[np.concatenate([ring[low], mesh.mirror[ring[low]]])].mean(0)
        return moved


def authored_modes(head: Head) -> list[Points]:
    """Fields [V, 3] of one deviation for what the face's landmarks do not show.

    Deviations of lengths: ANSUR II (head breadth 5.5, length 7, neck breadth 5, biacromial 18 mm),
    Farkas 1994 (ear height 3.5, protrusion 3 mm).
    """
    mesh = head.mesh
    p = mesh.vertices
    x, y, z = p.T
    skin = ~np.isnan(mesh.names[:, 0])
    inside = np.zeros(len(p), bool)
    for piece in ("cavity", "lid_lining"):
        inside[mesh.pieces[piece]] = True
    skull = skin & ~inside
    above = smoothstep(y, -0.075, -0.005)
    behind = 1.0 - smoothstep(z, -0.085, -0.015)
    cranium = skull * above * np.maximum(behind, smoothstep(y, 0.045, 0.085))
    ear = np.zeros(len(p))
    ear[mesh.pieces["ear"]] = 1.0
    away = np.hypot(y - body.EAR_CENTRE[1], z - body.EAR_CENTRE[2])
    # The ear with the skin it grows on, fading over the side of the head.
    grown = np.maximum(ear, skull * (1.0 - smoothstep(away, 0.030, 0.055)) * (np.abs(x) > 0.03))
    sign = np.sign(x)
    forehead = skull * smoothstep(y, 0.045, 0.085) * smoothstep(z, -0.07, 0.0)
    crown = np.clip((y - 0.03) / 0.08, 0, 1)
    hinge = np.clip((body.EAR_CENTRE[2] + 0.012 - z) / 0.030, 0.0, 1.3)
    neck = (
        skull
        * smoothstep(-y, 0.085, 0.115)
        * (1 - smoothstep(-y, 0.150, 0.190))
        * smoothstep(-z, 0.0, 0.03)
    )
    across, through = np.clip(x / 0.055, -1, 1), np.clip((z + 0.088) / 0.055, -1, 1)
    drop = smoothstep(-y, 0.100, 0.170) * (1.0 - (head_weight_of_chin(p)))
    below = skull * drop
    shoulder = skull * smoothstep(np.abs(x), 0.055, 0.150) * smoothstep(-y, 0.120, 0.165)
    bust = skull * smoothstep(-y, 0.140, 0.200)
    up, right, out = np.eye(3)[1], np.eye(3)[0], np.eye(3)[2]

    def along(amount: Points, direction: Points) -> Points:
        return amount[:, None] * direction

    ear_v, ear_w = y - body.EAR_CENTRE[1], z - body.EAR_CENTRE[2]
    fields = [
        along(cranium * x / 0.0765 * 0.0028, right),  # breadth
        along(cranium * np.clip((-0.06 - z) / 0.10, 0, 1.2) * -0.0065, out),  # length behind
        along(skull * np.clip((y - 0.045) / 0.067, 0, 1.1) ** 1.3 * 0.0050, up),  # height
        along(forehead * 0.0040, out),
        along(cranium * crown * np.clip((-0.07 - z) / 0.09, -1, 1) * 0.004, up),
        along(cranium * smoothstep(-z, 0.09, 0.15) * np.clip((0.05 - y) / 0.1, 0, 1) * -0.004, out),
        np.stack([0 * x, grown * ear_v * 0.055, grown * ear_w * 0.055], 1),  # ear size
        along(ear * hinge * sign * 0.0030, right),  # ear protrusion
        along(grown * 0.0028, up),  # ear height
        along(grown * 0.0030, out),  # ear to the front
        np.stack([0 * x, grown * ear_w * 0.10, -grown * ear_v * 0.10], 1),  # ear tilt
        along(ear * np.clip(-(ear_v + 0.012) / 0.02, 0, 1) * -0.0022, up),  # lobe
        np.stack([neck * across * 0.0030, 0 * x, neck * through * 0.0030], 1),  # neck thickness
        along(below * -0.0085, up),  # neck length
        along(below * -0.0090, out),  # head carried forward
        along(shoulder * sign * np.clip(np.abs(x) / 0.2, 0, 1) * 0.0130, right),  # shoulder breadth
        along(shoulder * smoothstep(np.abs(x), 0.06, 0.17) * -0.0090, up),  # sloping shoulders
        along(bust * np.clip((z + 0.09) / 0.09, -1, 1) * 0.0080, out),  # chest depth
        along(bust * -0.0085, out),  # chest behind or before the head
    ]  # fmt: skip
    # Asymmetric: cranium to one side, one ear higher or further out, one shoulder lower.
    fields += [
        along(
            cranium * np.clip((-0.06 - z) / 0.10, 0, 1.2) * np.clip(x / 0.07, -1, 1) * -0.0022, out
        ),
        along(grown * sign * 0.0012, up),
        along(ear * hinge * 0.0013, right),
        along(shoulder * sign * -0.0050, up),
    ]
    return fields


def open_lids(head: Head) -> Points:
    """How far the lids stand open at rest: palpebral fissure height, deviation 1 mm (Farkas 1994).

    The measured modes have it only mixed with the rest of the face."""
    lids = Lids(head)
    left = lids.moved(-0.09, -0.03)
    return left + left[head.mesh.mirror] * (-1.0, 1.0, 1.0)


def head_weight_of_chin(points: Points) -> Points:
    """1 on the jaw and chin, 0 on neck and bust, so that the neck lengthens under the jaw."""
    return smoothstep(points[:, 2], -0.030, 0.004) * smoothstep(points[:, 1], -0.150, -0.128)


def jaw_modes(face: Points) -> list[Points]:
    """Landmark displacements [468, 3]: jaw breadth, chin length, nose bent, jaw to one side."""
    x, y, _ = face.T
    jaw = smoothstep(-y, 0.045, 0.085)
    width = jaw[:, None] * np.stack([np.clip(x / 0.06, -1, 1) * 0.0026, 0 * x, 0 * x], 1)
    chin = smoothstep(-y, 0.082, 0.112)[:, None] * np.array([0.0, -0.0028, 0.0008])
    nose = np.exp(-(((y + 0.028) / 0.018) ** 2) - (x / 0.016) ** 2)[:, None] * [0.0012, 0.0, 0.0]
    lopsided = jaw[:, None] * np.array([0.0016, 0.0, 0.0])
    return [width, chin, nose, lopsided]


def identity_modes(head: Head, statistics: lm.Statistics) -> tuple[Points, Points]:
    """Modes [I, V, 3] and joint changes [I, 6, 3], those that move landmarks first."""
    carrier = Carrier(head, statistics)
    fields, joint_fields = [], []
    measured = list(statistics.identity_modes[:MEASURED_MODES, :468])
    for landmarks in measured + jaw_modes(head.skin.face):
        field, joints = carrier.carried(landmarks)
        fields.append(field)
        joint_fields.append(joints)
    for field in [*authored_modes(head), open_lids(head)]:
        fields.append(field)
        joint_fields.append(carrier.joints_of(field))
    return np.stack(fields), np.stack(joint_fields)
