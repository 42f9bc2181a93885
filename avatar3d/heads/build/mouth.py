"""Inside of the mouth: cavity, teeth with gums, tongue."""

from __future__ import annotations

import numpy as np

from avatar3d.heads.build import anthropometry as body
from avatar3d.heads.build.halfmesh import HalfMesh, Points
from avatar3d.heads.build.skin import Skin
from avatar3d.heads.build.surface import normalised

TEETH = 7  # of a half arch
SAMPLES_PER_TOOTH = 4
# Widths of the crowns from the middle (mm; Wheeler's Dental Anatomy, rounded).
UPPER_WIDTHS = np.array([8.5, 6.5, 7.5, 7.0, 6.8, 10.0, 9.5])
LOWER_WIDTHS = np.array([5.3, 5.8, 6.8, 7.0, 7.0, 11.0, 10.5])


class MouthFrame:
    """Where the lips meet and the teeth stand (metres)."""

    def __init__(self, skin: Skin):
        self.stomion = 0.5 * (skin.face[13] + skin.face[14])
        self.upper_front = self.stomion + (0.0, -0.0022, -0.0090)  # edge of the upper incisors
        # At rest the teeth stand a little apart (the freeway space).
        self.lower_front = self.stomion + (0.0, -0.0034, -0.0113)


def add_cavity(mesh: HalfMesh, skin: Skin, mouth: MouthFrame) -> np.ndarray:
    """A closed bag behind the lips, outside teeth and gums; ring indices [R, 21]."""
    lips = skin.lip_loops[0]
    points, names = mesh.vertices[lips], mesh.names[lips]
    k = np.linspace(0.0, np.pi, len(lips))  # 0 upper middle, pi lower middle
    side, up = np.sin(k), np.cos(k)
    middle_name = normalised(names.mean(0) * (0.0, 1.0, 1.0))
    y0, z0 = mouth.stomion[1], mouth.stomion[2]
    # (depth behind the lips, half width, height above and below): wraps the arches, then closes
    rings = [points + np.stack([0 * k, 0.0006 * up, 0 * k - 0.0030], 1)]
    sections = (
        (0.0070, 0.0212, 0.0060),
        (0.0135, 0.0262, 0.0150),
        (0.0240, 0.0320, 0.0195),
        (0.0420, 0.0350, 0.0200),
        (0.0580, 0.0270, 0.0170),
    )
    for depth, half_width, height in sections:
        x = half_width * side**0.8
        # The lips curve back to the corners; further inside the rings straighten.
        curve = (points[:, 2] - z0) * np.clip(1.0 - depth / 0.05, 0.0, 1.0)
        rings.append(
            np.stack([x, y0 + height * np.sign(up) * np.abs(up) ** 0.8, z0 - depth + curve], 1)
        )
    ring_points = np.array(rings)
    ring_points[:, [0, -1], 0] = 0.0
    shrink = np.linspace(0.88, 0.25, len(rings))[:, None, None]
    ring_names = normalised(middle_name + shrink * (names - middle_name))
    inner = mesh.add("cavity", ring_points, ring_names)
    end = mesh.add("cavity", np.array([[0.0, y0 - 0.002, z0 - 0.064]]), middle_name[None])[0]
    mesh.connect_grid(np.concatenate([lips[None], inner]), "mouth")
    mesh.fan(inner[-1], end, "mouth")
    return inner


def arch(distance: Points, half_width: float, depth: float) -> tuple[Points, Points]:
    """Points [N, 2] (x, z; front at 0) and outward normals of a dental arch at arc lengths."""
    u = np.linspace(0.0, 1.0, 400)
    x = half_width * np.sin(u * np.pi / 2) ** 0.85
    z = -depth * (1 - np.cos(u * np.pi / 2)) ** 0.95
    length = np.concatenate([[0.0], np.cumsum(np.hypot(np.diff(x), np.diff(z)))])
    scaled = np.minimum(distance, length[-1])
    point = np.stack([np.interp(scaled, length, x), np.interp(scaled, length, z)], 1)
    step = 0.0008
    ahead = np.stack([np.interp(scaled + step, length, x), np.interp(scaled + step, length, z)], 1)
    behind = np.stack(
        [np.interp(scaled - step, length, x, left=-step), np.interp(scaled - step, length, z)], 1
    )
    tangent = ahead - behind
    normal = np.stack([-tangent[:, 1], tangent[:, 0]], 1)
    return point, normal / np.linalg.norm(normal, axis=1, keepdims=True)


def add_teeth(mesh: HalfMesh, mouth: MouthFrame, upper: bool) -> None:
    """A row of crowns as one strip with relief, and the gum above it."""
    name = "upper_teeth" if upper else "lower_teeth"
    widths = (UPPER_WIDTHS if upper else LOWER_WIDTHS) * 1e-3
    front = mouth.upper_front if upper else mouth.lower_front
    away = 1.0 if upper else -1.0  # from the biting edge towards the gum
    ends = np.concatenate([[0.0], np.cumsum(widths)])
    local = (np.arange(TEETH * SAMPLES_PER_TOOTH + 1) % SAMPLES_PER_TOOTH) / SAMPLES_PER_TOOTH
    distance = np.interp(
        np.arange(TEETH * SAMPLES_PER_TOOTH + 1) / SAMPLES_PER_TOOTH, np.arange(TEETH + 1), ends
    )
    crown = np.sin(np.pi * local) ** 0.5  # 0 between two teeth, 1 on a tooth's middle
    molar = np.clip((distance - ends[3]) / (ends[5] - ends[3]), 0.0, 1.0)
    scale = 1.0 if upper else 0.94
    xz, normal = arch(distance, body.ARCH_HALF_WIDTH * scale, body.ARCH_DEPTH)
    height = body.INCISOR_HEIGHT * (1.0 - 0.28 * molar) * (1.0 if upper else 0.88)
    thick = 0.0016 + 0.0036 * molar  # half thickness at the edge
    root = 0.0034 + 0.0018 * molar
    profile = (  # (height share, out of the arch's middle line, relief)
        (1.00, root * 0.80, 0.0004),
        (0.55, root * 0.95, 0.0009),
        (0.12, thick * 1.05, 0.0009),
        (0.00, thick * 0.45, 0.0003),
        (0.04 + 0.06 * molar, -thick * 0.6, 0.0003),
        (0.55, -root * 0.85, 0.0006),
        (1.00, -root * 0.95, 0.0003),
    )

    def strip(share: Points, out: Points, relief: float) -> Points:
        offset = out + relief * (crown - 1.0) * np.sign(out)
        plane = xz + normal * offset[:, None]
        notch = 0.0008 * (1.0 - crown) * (share < 0.3)
        y = front[1] + away * (height * share + notch) + 0.0015 * molar
        row = np.stack([plane[:, 0], y, front[2] + plane[:, 1]], axis=1)
        row[0, 0] = 0.0
        return row

    rows = np.array([strip(np.broadcast_to(s, distance.shape), np.broadcast_to(o, distance.shape), r)
                     for s, o, r in profile])  # fmt: skip
    crowns = mesh.add(name, rows)
    mesh.connect_grid(crowns if upper else crowns[::-1], name)
    mesh.connect(np.array([[crowns[0, -1], crowns[k, -1], crowns[k + 1, -1]] for k in range(1, 6)])
                 [:, :: 1 if upper else -1], name)  # fmt: skip
    gum_rows = []
    section = (  # (height share, out of the arch's middle line, scalloped)
        (0.92, 1.05, 1.0),
        (1.0, 1.22, 0.8),
        (1.55, 1.35, 0.0),
        (1.9, 0.9, 0.0),
        (1.9, -0.9, 0.0),
        (1.55, -1.35, 0.0),
        (1.0, -1.2, 0.8),
        (0.92, -1.0, 1.0),
    )
    for share, out, arc in section:
        scallop = share - 0.10 * arc * (1.0 - crown)
        gum_rows.append(strip(scallop, root * out, 0.0004))
    gums = mesh.add("upper_gum" if upper else "lower_gum", np.array(gum_rows)[:, ::2])
    mesh.connect_grid(gums[::-1] if upper else gums, "gums")


def add_tongue(mesh: HalfMesh, mouth: MouthFrame) -> None:
    """A flattened body between the lower arches; tip first [rings along, half section]."""
    along = np.array([0.03, 0.12, 0.25, 0.40, 0.55, 0.70, 0.85, 1.0])
    turn = np.linspace(0.0, np.pi, 9)  # 0 top middle, pi bottom middle
    tip = mouth.lower_front + (0.0, -0.0030, -0.0080)
    half_width = 0.0185 * np.sqrt(np.clip(1.0 - (1.0 - along) ** 2.6, 0.0, 1.0))
    half_height = 0.0060 * np.sqrt(np.clip(1.0 - (1.0 - along) ** 2.2, 0.0, 1.0))
    top = 0.0045 * np.sin(np.pi * np.clip(along * 0.9, 0, 1))
    x = half_width[:, None] * np.sin(turn)
    groove = -0.0012 * np.exp(-((x / 0.004) ** 2)) * (np.cos(turn) > 0) * (along > 0.1)[:, None]
    y = tip[1] + top[:, None] + half_height[:, None] * np.cos(turn) + groove
    z = np.broadcast_to((tip[2] - 0.046 * along)[:, None], x.shape)
    points = np.stack([x, y, z], axis=-1)
    points[:, [0, -1], 0] = 0.0
    grid = mesh.add("tongue", points)
    apex = mesh.add("tongue", tip[None])[0]
    root = mesh.add("tongue", points[-1].mean(0, keepdims=True) * (0.0, 1.0, 1.0))[0]
    mesh.connect_grid(grid, "tongue")
    mesh.fan(grid[0][::-1], apex, "tongue")
    mesh.fan(grid[-1], root, "tongue")
