"""Numba kernels: `Binding.frames` of one code, and the gradient of `Binding.positions`.

Sums over vertices are made chunk by chunk, in order, so the number of threads cannot change a bit.
Numba's cached code holds what is called from `fused/kernels.py`: after a change there touch this too.
"""

from __future__ import annotations

import math
from typing import no_type_check  # the tests' shape checker must leave kernels unwrapped

import numpy as np
from numba import njit

from avatar3d.binding import STRETCH_LIMITS
from avatar3d.fused.kernels import frame_quaternion, joint_transforms, joint_turns
from avatar3d.heads.skinning import JAW, LEFT_EYE, RIGHT_EYE
from avatar3d.numba_tickets import take_ticket

_FASTMATH = {"contract", "arcp", "nsz", "reassoc"}
_ZERO, _ONE = np.float32(0), np.float32(1)
_TINY, _LEAST_GROWTH = np.float32(1e-12), np.float32(1e-3)
_LEAST, _GREATEST = np.float32(STRETCH_LIMITS[0]), np.float32(STRETCH_LIMITS[1])
_ANCHOR_CHUNK = 1024
VERTEX_CHUNK = 256
_DIFFERENCE = 1e-5  # radians; of central differences in float64, exact to 1e-10


@njit(cache=True, fastmath=_FASTMATH, error_model="numpy", nogil=True)
@no_type_check
def place(tickets, surface, corners, barycentrics, translation, positions):
    """Anchors on the first three columns of a `surface`: fills positions [N, 3]."""
    chunk, count = take_ticket(tickets), len(corners)
    while chunk * _ANCHOR_CHUNK < count:
        for n in range(chunk * _ANCHOR_CHUNK, min(count, (chunk + 1) * _ANCHOR_CHUNK)):
            a, b, c = corners[n, 0], corners[n, 1], corners[n, 2]
            u, v, w = barycentrics[n, 0], barycentrics[n, 1], barycentrics[n, 2]
            for axis in range(3):
                positions[n, axis] = translation[axis] + (
                    u * surface[a, axis] + v * surface[b, axis] + w * surface[c, axis]
                )
        chunk = take_ticket(tickets)


@njit(cache=True, fastmath=_FASTMATH, error_model="numpy", nogil=True)
@no_type_check
def stand(
    tickets, surface, corners, barycentrics, rest_tangent, rest_area, rotations, quaternions, stretch
):  # fmt: skip
    """`Binding._oriented`: fills rotations [N, 3, 3], quaternions [N, 4], stretch [N, 2]."""
    chunk, count = take_ticket(tickets), len(corners)
    while chunk * _ANCHOR_CHUNK < count:
        for n in range(chunk * _ANCHOR_CHUNK, min(count, (chunk + 1) * _ANCHOR_CHUNK)):
            a, b, c = corners[n, 0], corners[n, 1], corners[n, 2]
            u, v, w = barycentrics[n, 0], barycentrics[n, 1], barycentrics[n, 2]
            nx = u * surface[a, 3] + v * surface[b, 3] + w * surface[c, 3]
            ny = u * surface[a, 4] + v * surface[b, 4] + w * surface[c, 4]
            nz = u * surface[a, 5] + v * surface[b, 5] + w * surface[c, 5]
            tx = u * surface[a, 6] + v * surface[b, 6] + w * surface[c, 6]
            ty = u * surface[a, 7] + v * surface[b, 7] + w * surface[c, 7]
            tz = u * surface[a, 8] + v * surface[b, 8] + w * surface[c, 8]
            area = math.sqrt(nx * nx + ny * ny + nz * nz)
            inverse = _ONE / max(area, _TINY)
            nx, ny, nz = nx * inverse, ny * inverse, nz * inverse
            along = nx * tx + ny * ty + nz * tz
            tx, ty, tz = tx - nx * along, ty - ny * along, tz - nz * along
            length = math.sqrt(tx * tx + ty * ty + tz * tz)
            inverse = _ONE / max(length, _TINY)
            tx, ty, tz = tx * inverse, ty * inverse, tz * inverse
            bx, by, bz = ny * tz - nz * ty, nz * tx - nx * tz, nx * ty - ny * tx
            frame = rotations[n]
            frame[0, 0], frame[1, 0], frame[2, 0] = tx, ty, tz
            frame[0, 1], frame[1, 1], frame[2, 1] = bx, by, bz
            frame[0, 2], frame[1, 2], frame[2, 2] = nx, ny, nz
            w, x, y, z = frame_quaternion(tx, ty, tz, bx, by, bz, nx, ny, nz)
            quaternions[n, 0], quaternions[n, 1] = w, x
            quaternions[n, 2], quaternions[n, 3] = y, z
            growth = length / rest_tangent[n]
            across = area / rest_area[n] / max(growth, _LEAST_GROWTH)
            stretch[n, 0] = min(max(growth, _LEAST), _GREATEST)
            stretch[n, 1] = min(max(across, _LEAST), _GREATEST)
        chunk = take_ticket(tickets)


@njit(cache=True, fastmath=_FASTMATH, error_model="numpy", nogil=True)
@no_type_check
def place_backward(
    tickets, by_positions, coefficients, transforms, mesh, anchor_starts, anchors, shares,
    to_transforms, to_shapes,
):  # fmt: skip
    """Gradients of `pose_vertices` and `place` by joints and shapes' weights.

    anchors, shares [3 N]: the anchors on each vertex's triangles and its share in them, from
    anchor_starts [V + 1]. Adds to to_transforms [chunks, J, 3, 4] and to_shapes [chunks, E].
    """
    neutral, skin_weights = mesh.neutral, mesh.skin_weights
    starts, index, offsets = mesh.shape_starts, mesh.shape_index, mesh.shape_offsets
    chunk, count = take_ticket(tickets), len(neutral)
    while chunk * VERTEX_CHUNK < count:
        by_joints, by_shapes = to_transforms[chunk], to_shapes[chunk]
        for v in range(chunk * VERTEX_CHUNK, min(count, (chunk + 1) * VERTEX_CHUNK)):
            gx, gy, gz = _ZERO, _ZERO, _ZERO
            for k in range(anchor_starts[v], anchor_starts[v + 1]):
                n, share = anchors[k], shares[k]
                gx += share * by_positions[n, 0]
                gy += share * by_positions[n, 1]
                gz += share * by_positions[n, 2]
            x, y, z = neutral[v, 0], neutral[v, 1], neutral[v, 2]
            for k in range(starts[v], starts[v + 1]):
                coefficient = coefficients[index[k]]
                x += coefficient * offsets[k, 0]
                y += coefficient * offsets[k, 1]
                z += coefficient * offsets[k, 2]
            hx, hy, hz = _ZERO, _ZERO, _ZERO  # by the vertex before its joints move it
            for j in range(skin_weights.shape[1]):
                weight = skin_weights[v, j]
                if weight == _ZERO:
                    continue
                t, to = transforms[j], by_joints[j]
                wx, wy, wz = weight * gx, weight * gy, weight * gz
                hx += t[0, 0] * wx + t[1, 0] * wy + t[2, 0] * wz
                hy += t[0, 1] * wx + t[1, 1] * wy + t[2, 1] * wz
                hz += t[0, 2] * wx + t[1, 2] * wy + t[2, 2] * wz
                for axis, pull in enumerate((wx, wy, wz)):
                    to[axis, 0] += pull * x
                    to[axis, 1] += pull * y
                    to[axis, 2] += pull * z
                    to[axis, 3] += pull
            for k in range(starts[v], starts[v + 1]):
                by_shapes[index[k]] += offsets[k, 0] * hx + offsets[k, 1] * hy + offsets[k, 2] * hz
        chunk = take_ticket(tickets)


@njit(cache=True, error_model="numpy")
@no_type_check
def _along(head_rotation, neck_rotation, turns, joints, values, place, by_transforms):
    """The derivative by values[place], which is part of one of the first three arguments."""
    kept = values[place]
    values[place] = kept + _DIFFERENCE
    above = joint_transforms(head_rotation, neck_rotation, turns, joints)
    values[place] = kept - _DIFFERENCE
    below = joint_transforms(head_rotation, neck_rotation, turns, joints)
    values[place] = kept
    return ((above - below) * by_transforms).sum() / (2 * _DIFFERENCE)


@njit(cache=True, error_model="numpy", nogil=True)
@no_type_check
def code_backward(code, mesh, by_transforms, by_shapes, to_coefficients, to_head, to_neck):
    """From joints [J, 3, 4] and shapes' weights [E] (float64) to the code: fills the last three.

    Seventeen numbers move the joints, too few for a derivative of its own to be worth its lines.
    """
    head = code.head_rotation.astype(np.float64)
    neck = code.neck_rotation.astype(np.float64)
    turns, joints = joint_turns(code.coefficients, mesh.joint_drive), mesh.joints
    for i in range(4):
        to_head[i] = _along(head, neck, turns, joints, head, i, by_transforms)
        to_neck[i] = _along(head, neck, turns, joints, neck, i, by_transforms)
    known = min(len(code.coefficients), len(mesh.joint_drive))
    for e in range(known):
        to_coefficients[e] = by_shapes[e]
    for joint in (JAW, LEFT_EYE, RIGHT_EYE):
        for axis in range(3):
            by_turn = _along(head, neck, turns, joints, turns[joint], axis, by_transforms)
            for e in range(known):
                to_coefficients[e] += mesh.joint_drive[e, joint, axis] * by_turn
    for c in range(len(mesh.combinations)):
        i, j, k = mesh.combinations[c, 0], mesh.combinations[c, 1], mesh.combinations[c, 2]
        if max(i, j) < len(code.coefficients):
            by_amount = mesh.combination_amounts[c] * by_shapes[k]
            to_coefficients[i] += by_amount * code.coefficients[j]
            to_coefficients[j] += by_amount * code.coefficients[i]
