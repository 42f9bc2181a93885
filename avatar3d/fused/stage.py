"""One avatar laid out for the kernels: the fused path of `Avatar.gaussians`.

The torch path is the definition; this one repeats it without gradients, several times as fast.
Positions agree within 1e-6 m and opacities to the bit. Quaternions (up to sign), log-scales and
colours agree within 2e-5 at 99 of 100 anchors, and within 1e-3 where a fold's or a sliver's normals
nearly cancel: float32 itself, summed in another order, holds no more there.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from avatar3d.binding import Binding
from avatar3d.codes import ExpressionCode
from avatar3d.fused import layout
from avatar3d.fused.layout import Look, Mesh, Pose, Posed
from avatar3d.gaussians import Gaussians
from avatar3d.heads.skinning import JOINT_NAMES
from avatar3d.numba_threads import in_parallel
from avatar3d.optional import numba_is_here

if TYPE_CHECKING:
    from avatar3d.avatar import Avatar

# Beyond any meaning, in radians, metres and coefficients. What is larger or not a number at all is
# left to torch: kernels skip products with zero, and so would not spread a NaN as torch does.
_LARGEST_NUMBER = 1e4


def why_not_fused(avatar: Avatar, code: ExpressionCode) -> str | None:
    """What keeps this avatar and code from the fused path; None if nothing does."""
    tensors = (*code, *_sources(avatar), avatar.identity)
    if torch.is_grad_enabled() and any(value.requires_grad for value in tensors):
        return "gradients are wanted; use torch.no_grad() or tensors without requires_grad"
    if any(value.dtype != torch.float32 or value.device.type != "cpu" for value in tensors):
        return "all tensors must be float32 on the CPU"
    if len({value.shape[:-1] for value in code}) > 1:
        return "the code's tensors must have the same leading dimensions"
    if avatar.head.pose_correctives is not None or avatar.head.joint_expression is not None:
        return f"the head {avatar.head.name!r} bends its shapes with the pose"
    if torch.compiler.is_compiling():
        return "torch is tracing"
    if not all((np.abs(_array(value)) < _LARGEST_NUMBER).all() for value in code):
        return f"the code must be finite, every number below {_LARGEST_NUMBER:g}"
    if not numba_is_here():
        return "the package 'numba' cannot be imported; pip install 'avatar3d[recon]'"
    return None


def warm_up() -> None:
    """Compile the kernels, or load them from the cache, by posing one vertex and one anchor."""

    def zeros(*shape: int) -> np.ndarray:
        return np.zeros(shape, np.float32)

    def indices(*shape: int) -> np.ndarray:
        return np.zeros(shape, np.uint32)

    joints = len(JOINT_NAMES)
    fixed, base = layout.FIXED_ROWS * layout.BLOCK, layout.BASIS_ROWS * layout.BLOCK
    mesh = Mesh(
        zeros(joints, 3), zeros(1, joints, 3), indices(0, 3), zeros(0), zeros(1, 3), indices(2),
            indices(0), zeros(0, 3),
        zeros(1, joints), indices(2), indices(0, 2), zeros(0, 2),
    )  # fmt: skip
    look = Look(
        indices(1, 3), zeros(1, fixed), zeros(1, base), zeros(0), zeros(0, 0), zeros(2, 0),
        zeros(0, 1, base), zeros(9, 3),
    )  # fmt: skip
    surface, posed = zeros(1, layout.SURFACE_COLUMNS), Posed(*(zeros(1, w) for w in (3, 4, 3, 3)))
    _pose(Pose(zeros(1), zeros(4), zeros(3), zeros(4)), mesh, look, surface, posed)


def _pose(code: Pose, mesh: Mesh, look: Look, surface: np.ndarray, posed: Posed) -> None:
    """One code to Gaussians in the world; fills `surface` [V, SURFACE_COLUMNS] and `posed`.

    Three passes: vertices need the joints, rings their neighbours, anchors their corners.
    """
    from avatar3d.fused import kernels

    transforms, coefficients, weights = kernels.prepare(code, mesh, look)
    in_parallel(kernels.pose_vertices, coefficients, transforms, mesh, surface)
    in_parallel(kernels.sum_rings, mesh, surface)
    in_parallel(kernels.pose_anchors, weights, surface, look, code.head_translation, posed)


class Stage:
    """An avatar's arrays in the order of the kernels, made once and kept with the avatar."""

    def __init__(self, avatar: Avatar) -> None:
        self._versions = _versions(avatar)
        binding = avatar.binding
        self._mesh = mesh_of(binding)
        self._look = _look(avatar)
        self._opacities = avatar.attributes.opacity_logits.detach().sigmoid()

    def is_current(self, avatar: Avatar) -> bool:
        """Whether nobody has written into the avatar's tensors since, as an optimiser does.

        Inference tensors keep no count of writes: those are taken to be constant.
        """
        return self._versions == _versions(avatar)

    @torch.no_grad()
    def gaussians(self, code: ExpressionCode) -> Gaussians:
        """As `Avatar.gaussians`, for a code that `why_not_fused` has nothing against."""
        batch = code.coefficients.shape[:-1]
        count = len(self._opacities)
        posed = [torch.empty(*batch, count, width) for width in (3, 4, 3, 3)]
        flat = math.prod(batch)
        rows = zip(*(_array(value).reshape(flat, value.shape[-1]) for value in code))
        outputs = zip(*(value.view(flat, *value.shape[-2:]).numpy() for value in posed))
        surface = np.empty((len(self._mesh.neutral), layout.SURFACE_COLUMNS), np.float32)
        for row, output in zip(rows, outputs):
            _pose(Pose(*row), self._mesh, self._look, surface, Posed(*output))
        means, quaternions, scales, colors = posed
        opacities = self._opacities.expand(*batch, -1).clone()
        return Gaussians(means, quaternions, scales, opacities, colors)


def mesh_of(binding: Binding) -> Mesh:
    """A binding's vertices and what moves them."""
    rig = binding.rig
    offsets = rig.expression_basis.detach().unflatten(-1, (-1, 3)).transpose(0, 1)  # [V, E, 3]
    vertex, shape = (offsets != 0).any(-1).nonzero(as_tuple=True)  # in order of vertices
    vertex_count = len(rig.neutral)
    together, amounts = rig.combinations, rig.combination_amounts

    # A triangle's tangent is w1 (b - a) + w2 (c - a); from b and from c it is written with the
    # edges that leave them.
    a, b, c = binding.triangles.unbind(-1)
    first, second = binding.tangent_weights.detach().unbind(-1)
    third = -(first + second)
    centre = torch.cat([a, b, c])
    ring = torch.stack([torch.cat([b, c, a]), torch.cat([c, a, b])], dim=-1)
    ring_weights = torch.stack(
        [torch.cat([first, second, third]), torch.cat([second, third, first])], dim=-1
    )
    order = torch.argsort(centre, stable=True)
    return Mesh(
        joints=_array(rig.joints),
        joint_drive=_array(rig.joint_drive),
        combinations=_indices(shape.new_zeros(0, 3) if together is None else together),
        combination_amounts=_array(rig.neutral.new_zeros(0) if amounts is None else amounts),
        neutral=_array(rig.neutral),
        shape_starts=_starts(vertex, vertex_count),
        shape_index=_indices(shape),
        shape_offsets=_array(offsets[vertex, shape]),
        skin_weights=_array(rig.skin_weights),
        ring_starts=_starts(centre, vertex_count),
        ring=_indices(ring[order]),
        ring_weights=_array(ring_weights[order]),
    )


def _look(avatar: Avatar) -> Look:
    binding, attributes, basis, light = (
        avatar.binding, avatar.attributes, avatar.basis, avatar.light,
    )  # fmt: skip
    fixed = torch.cat(
        [
            avatar.template.barycentrics,
            torch.nn.functional.normalize(attributes.rotations, dim=-1),
            attributes.log_scales.exp(),
            binding.rest_tangent[:, None],
            binding.rest_area[:, None],
            avatar.template.lit[:, None] & torch.tensor(light is not None),
        ],
        dim=-1,
    )
    base = torch.cat([attributes.offsets, attributes.colors], dim=-1)
    if basis is None:
        mean, projection, limits = torch.zeros(0), torch.zeros(0, 0), torch.zeros(2, 0)
        changes = base.new_zeros(0, *base.shape)
    else:
        mean, projection, limits = basis.mean, basis.projection, basis.limits
        changes = torch.cat([basis.offsets, basis.colors], dim=-1)
    return Look(
        corners=_indices(binding.anchor_corners),
        fixed=_blocks(fixed),
        base=_blocks(base),
        basis_mean=_array(mean),
        basis_projection=_array(projection),
        basis_limits=_array(limits),
        basis=_blocks(changes),
        light=_array(torch.zeros(9, 3) if light is None else light),
    )


def _blocks(values: Tensor) -> np.ndarray:
    """[..., N, C] in blocks whose columns stand as rows, [..., B, C * BLOCK]."""
    columns = values.shape[-1]
    filled = torch.nn.functional.pad(values.detach(), (0, 0, 0, -values.shape[-2] % layout.BLOCK))
    blocks = filled.unflatten(-2, (-1, layout.BLOCK)).transpose(-1, -2)
    return _array(blocks.reshape(*blocks.shape[:-2], columns * layout.BLOCK))


def _sources(avatar: Avatar) -> list[Tensor]:
    """The tensors that make the avatar's look."""
    a, b = avatar.attributes, avatar.basis
    sources = [a.offsets, a.rotations, a.log_scales, a.opacity_logits, a.colors]
    if b is not None:
        sources += [b.mean, b.projection, b.offsets, b.colors, b.limits]
    return sources if avatar.light is None else [*sources, avatar.light]


def _versions(avatar: Avatar) -> list[int]:
    return [0 if value.is_inference() else value._version for value in _sources(avatar)]


def _array(value: Tensor) -> np.ndarray:
    return value.detach().contiguous().numpy()


def _indices(value: Tensor) -> np.ndarray:
    return value.contiguous().numpy().astype(np.uint32)


def _starts(rows: Tensor, count: int) -> np.ndarray:
    """Where each row's entries begin, [count + 1], in a list that is ordered by row."""
    ends = torch.bincount(rows, minlength=count).cumsum(0)
    return _indices(torch.cat([ends.new_zeros(1), ends]))
