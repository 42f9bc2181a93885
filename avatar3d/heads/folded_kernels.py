"""Numba kernels of `folded`: the formulas of `skinning`, one code at a time or vectors of codes.

Imported only when they run: numba is an optional package.
"""

from __future__ import annotations

from typing import no_type_check  # the tests' shape checker must leave kernels unwrapped

import numpy as np
from numba import njit

from avatar3d.heads.skinning import HEAD, JAW, LEFT_EYE, NECK, RIGHT_EYE, ROOT
from avatar3d.heads.skinning_kernels import (
    combine,
    half_inverse,
    quaternion_to_matrix,
    rotate_about,
    rotation_vector_to_quaternion,
)
from avatar3d.numba_tickets import take_ticket

_FASTMATH = {"contract", "arcp", "nsz", "reassoc"}
_JOINTS = 6
_CORRECTIVES = 36
_CHUNK = 32  # vertices a task


@njit(cache=True, error_model="numpy")
@no_type_check
def prepare(coefficients, head_rotation, head_translation, neck_rotation, rig):
    """Weights of the shapes [S, B] with pose correctives' features after them, and the joints'
    rest-to-world transforms [J, 12, B], of codes [B, ...]."""
    batch = len(coefficients)
    shapes = len(rig.joint_drive)
    known = min(shapes, coefficients.shape[1])
    rows = np.zeros((shapes + (_CORRECTIVES if rig.corrected else 0), batch), np.float32)
    transforms = np.empty((_JOINTS, 12, batch), np.float32)
    world = np.zeros((_JOINTS, 3, 4))
    turn, joints = np.empty((3, 3)), np.empty((_JOINTS, 3))
    for b in range(batch):
        for e in range(known):
            rows[e, b] = coefficients[b, e]
        combine(coefficients[b], rig.combinations, rig.combination_amounts, rows[:, b])
        for j in range(_JOINTS):
            for axis in range(3):
                joints[j, axis] = rig.joints[j, axis]
        for e in range(min(known, len(rig.joint_expression))):
            c = np.float64(coefficients[b, e])
            if c != 0:
                for j in range(_JOINTS):
                    for axis in range(3):
                        joints[j, axis] += c * rig.joint_expression[e, j, axis]
        q = head_rotation[b]
        quaternion_to_matrix(
            np.float64(q[0]), np.float64(q[1]), np.float64(q[2]), np.float64(q[3]), world[HEAD]
        )
        for axis in range(3):
            world[HEAD, axis, 3] = head_translation[b, axis]

        q = neck_rotation[b]
        w, x, y, z = np.float64(q[0]), np.float64(q[1]), np.float64(q[2]), np.float64(q[3])
        if rig.corrected:
            quaternion_to_matrix(w, x, y, z, turn)
            _features(turn, rows, shapes, 0, b)
        w, x, y, z = half_inverse(w, x, y, z)
        quaternion_to_matrix(w, x, y, z, turn)
        rotate_about(world[HEAD], turn, joints[HEAD], world[NECK])
        rotate_about(world[NECK], turn, joints[NECK], world[ROOT])
        for order, j in enumerate((JAW, LEFT_EYE, RIGHT_EYE)):
            x, y, z = 0.0, 0.0, 0.0
            for e in range(known):
                c = np.float64(coefficients[b, e])
                x += c * rig.joint_drive[e, j, 0]
                y += c * rig.joint_drive[e, j, 1]
                z += c * rig.joint_drive[e, j, 2]
            w, x, y, z = rotation_vector_to_quaternion(x, y, z)
            quaternion_to_matrix(w, x, y, z, turn)
            if rig.corrected:
                _features(turn, rows, shapes, order + 1, b)
            rotate_about(world[HEAD], turn, joints[j], world[j])
        for j in range(_JOINTS):
            for row in range(3):
                for column in range(4):
                    transforms[j, 4 * row + column, b] = world[j, row, column]
    return rows, transforms


@njit(inline="always")
@no_type_check
def _features(turn, rows, shapes, joint, b):
    """`skinning.pose_features` of one joint."""
    for row in range(3):
        for column in range(3):
            unit = 1.0 if row == column else 0.0
            rows[shapes + 9 * joint + 3 * row + column, b] = turn[row, column] - unit


@njit(cache=True, fastmath=_FASTMATH, error_model="numpy")
@no_type_check
def pose_one(coefficients, transforms, rig, out):
    """One code: shapes that act are added to the neutral, then every vertex follows its joints."""
    for v in range(len(out)):
        for axis in range(3):
            out[v, axis] = rig.neutral[v, axis]
    for e in range(len(coefficients)):
        c = coefficients[e]
        if c == np.float32(0):
            continue
        for k in range(rig.shape_starts[e], rig.shape_starts[e + 1]):
            v = rig.shape_vertex[k]
            out[v, 0] += c * rig.shape_offsets[k, 0]
            out[v, 1] += c * rig.shape_offsets[k, 1]
            out[v, 2] += c * rig.shape_offsets[k, 2]
    for v in range(len(out)):
        x, y, z = out[v, 0], out[v, 1], out[v, 2]
        px, py, pz = np.float32(0), np.float32(0), np.float32(0)
        for k in range(rig.weight_starts[v], rig.weight_starts[v + 1]):
            weight, t = rig.weights[k], transforms[rig.weight_joint[k]]
            px += weight * (t[0] * x + t[1] * y + t[2] * z + t[3])
            py += weight * (t[4] * x + t[5] * y + t[6] * z + t[7])
            pz += weight * (t[8] * x + t[9] * y + t[10] * z + t[11])
        out[v, 0], out[v, 1], out[v, 2] = px, py, pz


@njit(cache=True, fastmath=_FASTMATH, error_model="numpy", nogil=True)
@no_type_check
def pose_many(tickets, coefficients, transforms, rig, out):
    """Codes in vectors: each vertex runs over all of them at once. Fills `out` [B, V, 3]."""
    batch, count = out.shape[0], out.shape[1]
    rest = np.empty((3, batch), np.float32)
    posed = np.empty((_CHUNK, 3, batch), np.float32)
    chunk = take_ticket(tickets)
    while chunk * _CHUNK < count:
        first, end = chunk * _CHUNK, min(count, (chunk + 1) * _CHUNK)
        for v in range(first, end):
            _pose_vertex(v, coefficients, transforms, rig, rest, posed[v - first])
        # Code by code, so that what is written lies together.
        for b in range(batch):
            for v in range(first, end):
                for axis in range(3):
                    out[b, v, axis] = posed[v - first, axis, b]
        chunk = take_ticket(tickets)


@njit(cache=True, fastmath=_FASTMATH, error_model="numpy")
@no_type_check
def _pose_vertex(v, coefficients, transforms, rig, rest, posed):
    batch = rest.shape[1]
    x, y, z = rest[0], rest[1], rest[2]
    px, py, pz = posed[0], posed[1], posed[2]
    nx, ny, nz = rig.neutral[v, 0], rig.neutral[v, 1], rig.neutral[v, 2]
    for b in range(batch):
        x[b], y[b], z[b] = nx, ny, nz
        px[b], py[b], pz[b] = np.float32(0), np.float32(0), np.float32(0)
    for k in range(rig.vertex_starts[v], rig.vertex_starts[v + 1]):
        c = coefficients[rig.vertex_shape[k]]
        ox, oy, oz = rig.vertex_offsets[k, 0], rig.vertex_offsets[k, 1], rig.vertex_offsets[k, 2]
        for b in range(batch):
            x[b] += c[b] * ox
            y[b] += c[b] * oy
            z[b] += c[b] * oz
    for k in range(rig.weight_starts[v], rig.weight_starts[v + 1]):
        weight, t = rig.weights[k], transforms[rig.weight_joint[k]]
        for b in range(batch):
            px[b] += weight * (t[0, b] * x[b] + t[1, b] * y[b] + t[2, b] * z[b] + t[3, b])
            py[b] += weight * (t[4, b] * x[b] + t[5, b] * y[b] + t[6, b] * z[b] + t[7, b])
            pz[b] += weight * (t[8, b] * x[b] + t[9, b] * y[b] + t[10, b] * z[b] + t[11, b])
