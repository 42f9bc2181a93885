"""A head for real time: one person's shape folded in, only the shapes that act computed.

`HeadModel.folded(identity).vertices(code)` gives what `HeadModel.vertices(identity, code)` gives,
to a micrometre, many times as fast: bases are kept where they are not zero, coefficients that are
zero cost nothing, and a batch runs in vectors over its codes. Where a gradient is wanted, or Numba
is absent, the definition itself is run.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from avatar3d.codes import ExpressionCode
from avatar3d.heads.skinning import Rig
from avatar3d.numba_threads import in_parallel
from avatar3d.optional import numba_is_here

_SMALL_BATCH = 4  # below, codes are posed one by one: vectors over them would be half empty


class Arrays(NamedTuple):
    """A rig as the kernels read it; float32, indices uint32. S rows: E shapes, then correctives."""

    neutral: np.ndarray  # [V, 3]
    joints: np.ndarray  # [J, 3]
    joint_drive: np.ndarray  # [E, J, 3]
    joint_expression: np.ndarray  # [E or 0, J, 3]
    combinations: np.ndarray  # [C, 3]: two coefficients and the shape that they act on
    combination_amounts: np.ndarray  # [C]
    corrected: bool  # whether 36 pose correctives follow the shapes
    shape_starts: np.ndarray  # [S + 1] by shape: where its rows of the next two begin
    shape_vertex: np.ndarray  # [N]
    shape_offsets: np.ndarray  # [N, 3]
    vertex_starts: np.ndarray  # [V + 1] by vertex: the same entries in another order
    vertex_shape: np.ndarray  # [N]
    vertex_offsets: np.ndarray  # [N, 3]
    weight_starts: np.ndarray  # [V + 1]
    weight_joint: np.ndarray  # [M]
    weights: np.ndarray  # [M]


class FoldedHead:
    """One person's head, laid out for speed."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self._arrays: Arrays | None = None

    def vertices(self, code: ExpressionCode) -> Tensor:
        """Posed vertices in the world, [..., V, 3] metres."""
        wanted = torch.is_grad_enabled() and any(
            value.requires_grad for value in (*code, self.rig.neutral)
        )
        plain = all(value.dtype == torch.float32 and value.device.type == "cpu" for value in code)
        batch = code.coefficients.shape[:-1]
        alike = all(value.shape[:-1] == batch for value in code)
        if wanted or not plain or not alike or not numba_is_here():
            return self.rig.pose(code)
        if self._arrays is None:
            self._arrays = _lay_out(self.rig)
        return self._pose(code, batch, self._arrays)

    def _pose(self, code: ExpressionCode, batch: torch.Size, arrays: Arrays) -> Tensor:
        from avatar3d.heads import folded_kernels as kernels

        rows = [
            np.ascontiguousarray(value.detach().reshape(-1, value.shape[-1]).numpy())
            for value in code
        ]
        count, vertices = len(rows[0]), len(arrays.neutral)
        posed = torch.empty(*batch, vertices, 3)
        out = posed.view(count, vertices, 3).numpy()
        coefficients, transforms = kernels.prepare(rows[0], rows[1], rows[2], rows[3], arrays)
        if count < _SMALL_BATCH:
            for index in range(count):
                kernels.pose_one(
                    coefficients[:, index], transforms[:, :, index], arrays, out[index]
                )
        else:
            in_parallel(kernels.pose_many, coefficients, transforms, arrays, out)
        return posed


def _lay_out(rig: Rig) -> Arrays:
    basis = rig.expression_basis.detach().unflatten(-1, (-1, 3))  # [E, V, 3]
    if rig.pose_correctives is not None:
        basis = torch.cat([basis, rig.pose_correctives.detach().unflatten(-1, (-1, 3))])
    moves = (basis != 0).any(-1)  # [S, V]
    shape, vertex = moves.nonzero(as_tuple=True)
    vertex_, shape_ = moves.T.nonzero(as_tuple=True)
    weights = rig.skin_weights.detach()
    at, joint = (weights != 0).nonzero(as_tuple=True)
    shift = rig.joint_expression
    together, amounts = rig.combinations, rig.combination_amounts
    return Arrays(
        neutral=_array(rig.neutral),
        joints=_array(rig.joints),
        joint_drive=_array(rig.joint_drive),
        joint_expression=_array(rig.joint_drive[:0] if shift is None else shift),
        combinations=_indices(at.new_zeros(0, 3) if together is None else together),
        combination_amounts=_array(weights.new_zeros(0) if amounts is None else amounts),
        corrected=rig.pose_correctives is not None,
        shape_starts=_starts(shape, len(basis)),
        shape_vertex=_indices(vertex),
        shape_offsets=_array(basis[shape, vertex]),
        vertex_starts=_starts(vertex_, len(rig.neutral)),
        vertex_shape=_indices(shape_),
        vertex_offsets=_array(basis[shape_, vertex_]),
        weight_starts=_starts(at, len(rig.neutral)),
        weight_joint=_indices(joint),
        weights=_array(weights[at, joint]),
    )


def _array(value: Tensor) -> np.ndarray:
    return np.ascontiguousarray(value.detach().numpy())


def _indices(value: Tensor) -> np.ndarray:
    return value.numpy().astype(np.uint32)


def _starts(sorted_index: Tensor, count: int) -> np.ndarray:
    counts = torch.bincount(sorted_index, minlength=count)
    return np.concatenate([[0], counts.cumsum(0).numpy()]).astype(np.uint32)
