"""Checkpoints of GaussianAvatars (Qian et al. 2024): `point_cloud.ply` with `flame_param.npz`.

There each Gaussian lies in the frame of a FLAME triangle (`binding_0`): the origin at its centre,
the axes first edge, normal and their cross product, lengths in units of the triangle's size. Laid
out on the neutral FLAME head of the checkpoint's shape they become still Gaussians, which
`bind_splats` gives to the anchors. The teeth that GaussianAvatars adds to FLAME are not part of
it: Gaussians on them are left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avatar3d.errors import UserError
from avatar3d.heads import HeadModel
from avatar3d.io.ply import read_vertices, splats_of
from avatar3d.io.splats import Splats, check_splats
from avatar3d.npz import read_npz

PARAMETERS = "flame_param.npz"
FLAME_VERTICES, FLAME_TRIANGLES = 5023, 9976
_DAMAGED = "it is damaged: give the point_cloud.ply and flame_param.npz of one checkpoint"
_SHAPE_LIMIT = 30.0  # standard deviations, as .avatar files hold


@dataclass(frozen=True)
class Checkpoint:
    """A person on the neutral FLAME head, in the head's frame."""

    shape: np.ndarray  # [I] float32: the head's identity weights
    splats: Splats
    normals: np.ndarray  # [M, 3] of the triangles below
    on_teeth: int  # Gaussians left out


def is_checkpoint(path: Path) -> bool:
    """Whether a .ply has the column that GaussianAvatars adds."""
    return "binding_0" in (read_vertices(path).dtype.names or ())


def read_checkpoint(path: Path, head: HeadModel) -> Checkpoint:
    """Read `path` and the parameters beside it, for a FLAME head."""
    if len(head.neutral) != FLAME_VERTICES or len(head.triangles) != FLAME_TRIANGLES:
        raise UserError(
            f"{path} rides on FLAME ({FLAME_VERTICES:,} vertices, {FLAME_TRIANGLES:,} triangles), "
            f"but the head {head.name!r} has {len(head.neutral):,} and {len(head.triangles):,}; "
            "give your FLAME with --head"
        )
    vertices = read_vertices(path)
    local = check_splats(splats_of(vertices, path), path)
    binding = vertices["binding_0"].astype(np.int64)
    if binding.min() < 0 or binding.max() >= 2 * FLAME_TRIANGLES:
        raise UserError(f"{path} binds Gaussians to triangles that FLAME does not have; {_DAMAGED}")
    on_face = binding < FLAME_TRIANGLES
    if not on_face.any():
        raise UserError(f"{path} has no Gaussians on FLAME itself; {_DAMAGED}")
    shape, static_offset = _parameters(path.with_name(PARAMETERS), head)
    neutral = head.rig(_tensor(shape)).neutral.double().numpy() + static_offset
    local = Splats(*(value[on_face] for value in local))
    splats, normals = place_on_triangles(local, neutral[head.triangles.numpy()[binding[on_face]]])
    return Checkpoint(shape, check_splats(splats, path), normals, int((~on_face).sum()))


def place_on_triangles(local: Splats, corners: np.ndarray) -> tuple[Splats, np.ndarray]:
    """Gaussians [M] in the frames of triangles [M, 3, 3] -> in space, and the triangles' normals."""
    import torch

    from avatar3d.geometry import matrix_to_quaternion, quaternion_multiply

    a, b, c = corners.transpose(1, 0, 2)
    first = _unit(b - a)
    normal = _unit(np.cross(first, c - a))
    third = _unit(np.cross(first, normal))
    axes = np.stack([first, normal, third], axis=-1)  # [M, 3, 3], columns
    size = (np.linalg.norm(b - a, axis=-1) + np.abs(((c - a) * third).sum(-1))) / 2
    size = size.clip(1e-9)
    place = corners.mean(1) + size[:, None] * np.einsum("mij,mj->mi", axes, local.positions)
    turned = quaternion_multiply(
        matrix_to_quaternion(torch.from_numpy(axes)),
        torch.from_numpy(_unit(local.quaternions.astype(np.float64))),
    )
    splats = local._replace(
        positions=place.astype(np.float32),
        quaternions=turned.float().numpy(),
        log_scales=(local.log_scales + np.log(size)[:, None]).astype(np.float32),
    )
    return splats, normal


def _parameters(path: Path, head: HeadModel) -> tuple[np.ndarray, np.ndarray]:
    """Identity weights [I] and what the checkpoint adds to FLAME's vertices [V, 3] (metres)."""
    arrays = read_npz(path)
    shape = arrays.get("shape")
    if shape is None or shape.dtype.kind != "f" or not 1 <= shape.size <= head.identity_count:
        raise UserError(
            f"{path} has no FLAME shape of 1 to {head.identity_count} numbers; expected the "
            "flame_param.npz of a GaussianAvatars checkpoint"
        )
    shape = shape.reshape(-1).astype(np.float32)
    if not (np.abs(shape) <= _SHAPE_LIMIT).all():  # NaN fails too
        raise UserError(
            f"{path} has a shape beyond {_SHAPE_LIMIT:g} standard deviations; {_DAMAGED}"
        )
    offset = arrays.get("static_offset", np.zeros((FLAME_VERTICES, 3)))
    if offset.dtype.kind != "f" or offset.size % 3 or offset.size < 3 * FLAME_VERTICES:
        raise UserError(
            f"{path} has a static_offset that does not fit FLAME's vertices; {_DAMAGED}"
        )
    offset = offset.reshape(-1, 3)[:FLAME_VERTICES].astype(np.float64)
    if not (np.abs(offset) <= 0.5).all():
        raise UserError(f"{path} has a static_offset beyond half a metre; {_DAMAGED}")
    return shape, offset


def _tensor(values: np.ndarray):
    import torch

    return torch.from_numpy(values)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True).clip(1e-20)
