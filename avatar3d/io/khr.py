"""GLB with `KHR_gaussian_splatting` (release candidate of July 2026): still Gaussians in a scene.

glTF's frame is the project's own. Scales and opacities are stored as they are, not as logs and
logits; quaternions as xyzw. `COLOR_0` repeats the colours for programs that show only points.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from avatar3d.errors import UserError
from avatar3d.gaussians import SH_C0
from avatar3d.io.glb import ARRAY_BUFFER, GlbReader, GlbWriter
from avatar3d.io.splats import Splats, check_count, check_splats

NAME = "KHR_gaussian_splatting"
COLOR_SPACE = "srgb_rec709_display"
_ROTATION, _SCALE, _OPACITY = (f"{NAME}:{part}" for part in ("ROTATION", "SCALE", "OPACITY"))
_IDENTITY = {"translation": [0, 0, 0], "rotation": [0, 0, 0, 1], "scale": [1, 1, 1]}


def write_khr(splats: Splats, path: Path) -> None:
    """Write the Gaussians as one point primitive of floats."""
    writer = GlbWriter()

    def attribute(values: np.ndarray, **options: bool) -> int:
        return writer.accessor(values, ARRAY_BUFFER, **options)

    opacities = (1 / (1 + np.exp(-splats.opacity_logits.astype(np.float64)))).astype(np.float32)
    attributes = {
        "POSITION": attribute(splats.positions, bounds=True),
        "COLOR_0": attribute(_fallback_colors(splats.sh[:, 0], opacities), normalized=True),
        _ROTATION: attribute(_unit(splats.quaternions)[:, [1, 2, 3, 0]]),
        _SCALE: attribute(np.exp(splats.log_scales)),
        _OPACITY: attribute(opacities),
    }
    for number, name in enumerate(_sh_names(splats.sh.shape[1])):
        attributes[name] = attribute(np.ascontiguousarray(splats.sh[:, number]))
    extension = {
        "kernel": "ellipse",
        "colorSpace": COLOR_SPACE,
        "sortingMethod": "cameraDistance",
        "projection": "perspective",
    }
    primitive = {"mode": 0, "attributes": attributes, "extensions": {NAME: extension}}
    document = {
        "extensionsUsed": [NAME],
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"name": "avatar", "mesh": 0}],
        "meshes": [{"name": "avatar", "primitives": [primitive]}],
    }
    writer.write(document, path)


def read_khr(path: Path) -> Splats:
    """Read the one Gaussian primitive of a GLB; `UserError` for anything else."""
    reader = GlbReader(path)
    attributes = _gaussian_attributes(reader)
    positions = reader.accessor(attributes.get("POSITION"), ("VEC3",))
    count = len(positions)
    check_count(count, path)
    opacities = reader.accessor(attributes.get(_OPACITY), ("SCALAR",))[:, 0].astype(np.float64)
    scales = reader.accessor(attributes.get(_SCALE), ("VEC3",)).astype(np.float64)
    xyzw = reader.accessor(attributes.get(_ROTATION), ("VEC4",))
    degree = 3
    while degree > 0 and f"{NAME}:SH_DEGREE_{degree}_COEF_0" not in attributes:
        degree -= 1
    sh = [reader.accessor(attributes.get(name), ("VEC3",)) for name in _sh_names((degree + 1) ** 2)]
    if any(len(values) != count for values in (opacities, scales, xyzw, *sh)):
        raise UserError(f"{path} is damaged: its attributes differ in length")
    # Written so that a NaN fails too.
    if not (opacities.min() >= 0 and opacities.max() <= 1 and scales.min() >= 0):
        raise UserError(f"{path} is damaged: opacities beyond 0 to 1, or scales below 0")
    inner = opacities.clip(1e-6, 1 - 1e-6)
    with np.errstate(over="ignore"):  # integers of any size, told by check_splats
        splats = Splats(
            positions=positions.astype(np.float32),
            quaternions=xyzw.astype(np.float32)[:, [3, 0, 1, 2]],
            log_scales=np.log(scales.clip(1e-12)).astype(np.float32),
            opacity_logits=np.log(inner / (1 - inner)).astype(np.float32),
            sh=np.stack(sh, axis=1).astype(np.float32),
        )
    return check_splats(splats, path)


def _gaussian_attributes(reader: GlbReader) -> dict[str, Any]:
    """The attributes of the file's one Gaussian primitive, which must stand untransformed."""
    found = []
    for number, mesh in enumerate(reader.list("meshes")):
        primitives = mesh.get("primitives")
        for primitive in primitives if isinstance(primitives, list) else []:
            extensions = primitive.get("extensions") if isinstance(primitive, dict) else None
            extension = extensions.get(NAME) if isinstance(extensions, dict) else None
            if isinstance(extension, dict) and isinstance(primitive.get("attributes"), dict):
                found.append((number, extension, primitive["attributes"]))
    if len(found) != 1:
        raise UserError(
            f"{reader.path} has {len(found)} meshes of {NAME}, expected 1; a plain mesh is not read"
        )
    mesh, extension, attributes = found[0]
    if extension.get("colorSpace") != COLOR_SPACE or extension.get("extensions"):
        raise UserError(
            f"{reader.path} has Gaussians in colour space {extension.get('colorSpace')!r} or with "
            f"further extensions, expected plain ones in {COLOR_SPACE}"
        )
    for node in reader.list("nodes"):
        moved = "matrix" in node or any(
            node.get(name, still) != still for name, still in _IDENTITY.items()
        )
        if moved and (node.get("mesh") == mesh or "children" in node):
            raise UserError(
                f"{reader.path} places its Gaussians by a transform of their node; apply it first"
            )
    return attributes


def _sh_names(count: int) -> list[str]:
    degrees = range(round(count**0.5))
    return [f"{NAME}:SH_DEGREE_{d}_COEF_{n}" for d in degrees for n in range(2 * d + 1)]


def _unit(quaternions: np.ndarray) -> np.ndarray:
    wide = quaternions.astype(np.float64)
    return (wide / np.linalg.norm(wide, axis=-1, keepdims=True).clip(1e-12)).astype(np.float32)


def _fallback_colors(sh0: np.ndarray, opacities: np.ndarray) -> np.ndarray:
    """Linear RGB with alpha, as glTF's vertex colours are, in bytes [N, 4]."""
    srgb = (sh0 * SH_C0 + 0.5).clip(0, 1)
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    return np.rint(255 * np.column_stack([linear, opacities])).astype(np.uint8)
