"""The ear: a polar grid from the side of the head over the rim into the concha."""

from __future__ import annotations

import numpy as np

from avatar3d.heads.build import anthropometry as body
from avatar3d.heads.build.halfmesh import HalfMesh
from avatar3d.heads.build.skin import EAR_COLUMNS, Skin
from avatar3d.heads.build.surface import normalised


def _bump(angle: np.ndarray, at_degrees: float, width_degrees: float) -> np.ndarray:
    distance = (angle - np.radians(at_degrees) + np.pi) % (2 * np.pi) - np.pi
    return np.exp(-((distance / np.radians(width_degrees)) ** 2))


def add_ear(mesh: HalfMesh, skin: Skin) -> None:
    """Angles run from the front (0) over the top (90 degrees) to the back (180) and the lobe (270).

    Every ring is given by its size relative to the outline and by its height above the head.
    """
    base = skin.ear_base
    angle = np.linspace(0.0, 2 * np.pi, EAR_COLUMNS, endpoint=False)
    back = 0.5 - 0.5 * np.cos(angle)  # 0 in front, 1 behind
    lobe = _bump(angle, 270, 38)
    tragus = _bump(angle, 352, 26)
    # Outline: broad above, narrow at the lobe, the front nearly straight.
    half_height = 0.5 * body.EAR_HEIGHT
    half_width = 0.5 * body.EAR_WIDTH * (1.0 + 0.22 * np.sin(angle))
    outline_u = half_width * np.cos(angle) * np.where(np.cos(angle) > 0, 0.86, 1.12)
    outline_v = half_height * np.sin(angle)
    # Height of the rim above the head: the ear hinges at its front edge.
    rim = 0.0006 + body.EAR_PROTRUSION * np.clip(back * 1.2 - 0.12, 0.0, 1.0) * (1 - 0.5 * lobe)
    rim += 0.0022 * _bump(angle, 55, 35)
    floor = -0.0015 + 0.0095 * back
    profile = (  # (size, height) from the back of the ear to the concha
        (0.90, 0.45 * rim),
        (0.98, 0.80 * rim),
        (1.00, rim),
        (0.955, rim + 0.0016 * back),
        (0.84, rim - 0.0048 * (1 - lobe) * back + 0.002 * tragus),
        (0.70, rim * 0.88 + 0.0022 * _bump(angle, 165, 75) + 0.0045 * tragus),
        (0.54, floor + 0.0060 * _bump(angle, 150, 85) + 0.0030 * lobe + 0.0060 * tragus),
        (0.36, floor - 0.0020 + 0.0010 * lobe + 0.0015 * tragus),
        (0.17, floor * 0.4 - 0.0040),
    )
    # The side of the head under the ear as a plane x(y, z).
    under = mesh.vertices[base]
    design = np.stack([np.ones(len(base)), under[:, 1], under[:, 2]], axis=1)
    plane = np.linalg.lstsq(design, under[:, 0], rcond=None)[0]
    c, s = np.cos(body.EAR_TILT), np.sin(body.EAR_TILT)
    concha_shift = np.array([0.0, -0.004, 0.003])  # the concha lies low and forward in the outline
    centre_name = normalised(mesh.names[base].mean(0))
    rings, names = [], []
    for level, (size, height) in enumerate(profile):
        u, v = outline_u * size, outline_v * size
        z, y = u * c - v * s, u * s + v * c
        middle = body.EAR_CENTRE + np.array([0.0, 0.0, -0.004]) + concha_shift * (1.0 - size)
        y, z = middle[1] + y, middle[2] + z
        ring = np.stack([plane[0] + plane[1] * y + plane[2] * z + height, y, z], axis=1)
        rings.append(ring)
        shrink = 1.0 - (level + 1) / (len(profile) + 1.5)
        names.append(normalised(centre_name + shrink * (mesh.names[base] - centre_name)))
    inner = mesh.add("ear", np.array(rings), np.array(names))
    canal = np.mean(rings[-1], axis=0) - (0.004, 0.0, 0.0)
    tip = mesh.add("ear", canal[None], centre_name[None])[0]
    mesh.connect_grid(np.concatenate([base[None], inner]), "ears", closed=True)
    mesh.fan(inner[-1], tip, "ears", closed=True)
