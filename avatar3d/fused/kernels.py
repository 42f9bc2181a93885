"""Numba kernels: one expression code to Gaussians in the world.

The formulas are those of `heads.skinning`, `binding` and `avatar.pose_gaussians`; each function
names the torch function it repeats. Every vertex and every anchor is computed alone, by one turn
of a scalar loop over a chunk of fixed size, so the number of threads cannot change a bit. Values
that are not numbers pass through comparisons as they do in torch.

Imported only when the fused path runs: numba is an optional package.
"""

from __future__ import annotations

import math
from typing import no_type_check  # the tests' shape checker must leave kernels unwrapped

import numpy as np
from numba import njit

from avatar3d.binding import STRETCH_LIMITS
from avatar3d.fused import layout
from avatar3d.fused.layout import BLOCK
from avatar3d.heads.skinning import HEAD, JAW, LEFT_EYE, NECK, RIGHT_EYE, ROOT
from avatar3d.heads.skinning_kernels import (
    combine,
    half_inverse,
    quaternion_to_matrix,
    rotate_about,
    rotation_vector_to_quaternion,
)
from avatar3d.light import IRRADIANCE_FLOOR
from avatar3d.numba_tickets import take_ticket

# Not "nnan" and "ninf": what is not a number must stay one.
_FASTMATH = {"contract", "arcp", "nsz", "reassoc"}
_F = np.float32
_ZERO, _ONE, _TWO, _THREE = _F(0), _F(1), _F(2), _F(3)
_TINY = _F(1e-12)  # as torch.nn.functional.normalize
_LEAST_GROWTH = _F(1e-3)
_LEAST_STRETCH, _GREATEST_STRETCH = _F(STRETCH_LIMITS[0]), _F(STRETCH_LIMITS[1])
_LEAST_LIGHT = _F(IRRADIANCE_FLOOR)
# Vertices per task: few enough that threads share them evenly.
_VERTEX_CHUNK = 256
# Where a block's rows begin in its flat arrays. Constants, so that the compiler sees that rows do
# not overlap, and turns the loops over a block into vectors.
_LIT, _REST_TANGENT, _REST_AREA = (
    row * BLOCK for row in (layout.FIXED_LIT, layout.FIXED_TANGENT, layout.FIXED_AREA)
)
_U, _V, _W = (row * BLOCK for row in range(layout.FIXED_BARYCENTRIC, 3))
_LW, _LX, _LY, _LZ = ((layout.FIXED_QUATERNION + row) * BLOCK for row in range(4))
_E0, _E1, _E2 = ((layout.FIXED_SCALE + row) * BLOCK for row in range(3))
_OX, _OY, _OZ = ((layout.ROW_OFFSET + row) * BLOCK for row in range(3))
_COLOR = layout.ROW_COLOR * BLOCK
_PX, _PY, _PZ = ((layout.ROW_POSITION + row) * BLOCK for row in range(3))
_NX, _NY, _NZ = ((layout.ROW_NORMAL + row) * BLOCK for row in range(3))
_TX, _TY, _TZ = ((layout.ROW_TANGENT + row) * BLOCK for row in range(3))
_QW, _QX, _QY, _QZ = ((layout.ROW_QUATERNION + row) * BLOCK for row in range(4))
_S0, _S1, _S2 = ((layout.ROW_SCALE + row) * BLOCK for row in range(3))


@njit(inline="always")
@no_type_check
def _at_least(value, least):
    """clamp(min): unlike max(), keeps a NaN."""
    return least if value < least else value


@njit(inline="always")
@no_type_check
def _clamp(value, least, greatest):
    return least if value < least else (greatest if value > greatest else value)


@njit(cache=True, error_model="numpy")
@no_type_check
def joint_turns(coefficients, joint_drive):
    """How a code turns every joint, [J, 3] rotation vectors of float64."""
    turns = np.zeros((joint_drive.shape[1], 3))
    for joint in (JAW, LEFT_EYE, RIGHT_EYE):
        for e in range(min(len(coefficients), len(joint_drive))):
            coefficient = np.float64(coefficients[e])
            for axis in range(3):
                turns[joint, axis] += coefficient * joint_drive[e, joint, axis]
    return turns


@njit(cache=True, error_model="numpy")
@no_type_check
def joint_transforms(head_rotation, neck_rotation, turns, joints):
    """`skinning.joint_transforms` without the head's translation: [J, 3, 4] of float64.

    The head's translation is added to the anchors instead: near the origin vertices keep the
    digits that normals, which are differences of them, need.
    """
    transforms = np.zeros((joints.shape[0], 3, 4))
    rotation = np.empty((3, 3))
    q = head_rotation.astype(np.float64)
    quaternion_to_matrix(q[0], q[1], q[2], q[3], transforms[HEAD])
    q = neck_rotation.astype(np.float64)
    w, x, y, z = half_inverse(q[0], q[1], q[2], q[3])
    quaternion_to_matrix(w, x, y, z, rotation)
    rotate_about(transforms[HEAD], rotation, joints[HEAD], transforms[NECK])
    rotate_about(transforms[NECK], rotation, joints[NECK], transforms[ROOT])
    for joint in (JAW, LEFT_EYE, RIGHT_EYE):
        w, x, y, z = rotation_vector_to_quaternion(
            turns[joint, 0], turns[joint, 1], turns[joint, 2]
        )
        quaternion_to_matrix(w, x, y, z, rotation)
        rotate_about(transforms[HEAD], rotation, joints[joint], transforms[joint])
    return transforms


@njit(cache=True, fastmath=_FASTMATH, error_model="numpy", nogil=True)
@no_type_check
def pose_vertices(tickets, coefficients, transforms, mesh, surface):
    """`Rig.pose`: shapes, then v' = sum_j w_j (R_j v + t_j). Fills surface [V, SURFACE_COLUMNS]."""
    neutral, skin_weights = mesh.neutral, mesh.skin_weights
    starts, index, offsets = mesh.shape_starts, mesh.shape_index, mesh.shape_offsets
    chunk, count = take_ticket(tickets), len(neutral)
    while chunk * _VERTEX_CHUNK < count:
        for v in range(chunk * _VERTEX_CHUNK, min(count, (chunk + 1) * _VERTEX_CHUNK)):
            x, y, z = neutral[v, 0], neutral[v, 1], neutral[v, 2]
            for k in range(starts[v], starts[v + 1]):
                coefficient = coefficients[index[k]]
                x += coefficient * offsets[k, 0]
                y += coefficient * offsets[k, 1]
                z += coefficient * offsets[k, 2]
            px, py, pz = _ZERO, _ZERO, _ZERO
            for j in range(skin_weights.shape[1]):
                weight = skin_weights[v, j]
                if weight == _ZERO:  # most vertices hang on one joint
                    continue
                t = transforms[j]
                px += weight * (t[0, 0] * x + t[0, 1] * y + t[0, 2] * z + t[0, 3])
                py += weight * (t[1, 0] * x + t[1, 1] * y + t[1, 2] * z + t[1, 3])
                pz += weight * (t[2, 0] * x + t[2, 1] * y + t[2, 2] * z + t[2, 3])
            surface[v, 0], surface[v, 1], surface[v, 2] = px, py, pz
        chunk = take_ticket(tickets)


@njit(cache=True, fastmath=_FASTMATH, error_model="numpy", nogil=True)
@no_type_check
def sum_rings(tickets, mesh, surface):
    """Normals and tangents of the triangles around each vertex, summed (`Binding._surface`).

    Each vertex walks its own triangles: three times the products, but no pass that scatters.
    """
    starts, ring, weights = mesh.ring_starts, mesh.ring, mesh.ring_weights
    chunk, count = take_ticket(tickets), len(surface)
    while chunk * _VERTEX_CHUNK < count:
        for v in range(chunk * _VERTEX_CHUNK, min(count, (chunk + 1) * _VERTEX_CHUNK)):
            x, y, z = surface[v, 0], surface[v, 1], surface[v, 2]
            nx, ny, nz = _ZERO, _ZERO, _ZERO
            tx, ty, tz = _ZERO, _ZERO, _ZERO
            for k in range(starts[v], starts[v + 1]):
                p, q = ring[k, 0], ring[k, 1]
                ax, ay, az = surface[p, 0] - x, surface[p, 1] - y, surface[p, 2] - z
                bx, by, bz = surface[q, 0] - x, surface[q, 1] - y, surface[q, 2] - z
                nx += ay * bz - az * by
                ny += az * bx - ax * bz
                nz += ax * by - ay * bx
                a, b = weights[k, 0], weights[k, 1]
                tx += a * ax + b * bx
                ty += a * ay + b * by
                tz += a * az + b * bz
            surface[v, 3], surface[v, 4], surface[v, 5] = nx, ny, nz
            surface[v, 6], surface[v, 7], surface[v, 8] = tx, ty, tz
        chunk = take_ticket(tickets)


@njit(cache=True, error_model="numpy")
@no_type_check
def _basis_weights(coefficients, look):
    """`ExpressionBasis.weights`, [K] float32."""
    mean, projection, limits = look.basis_mean, look.basis_projection, look.basis_limits
    weights = np.empty(projection.shape[1], np.float32)
    for k in range(projection.shape[1]):
        total = 0.0
        for e in range(min(len(coefficients), len(mean))):
            total += (np.float64(coefficients[e]) - mean[e]) * projection[e, k]
        total = _at_least(total, limits[0, k])
        weights[k] = limits[1, k] if total > limits[1, k] else total
    return weights


@njit(cache=True, fastmath=_FASTMATH, error_model="numpy")
@no_type_check
def _attributes(block, weights, look, rows):
    """Offsets and colours of a block: base + sum_k weights_k * basis[k]."""
    base = look.base[block]
    for i in range(layout.BASIS_ROWS * BLOCK):
        rows[i] = base[i]
    for k in range(len(weights)):
        weight, change = weights[k], look.basis[k, block]
        for i in range(layout.BASIS_ROWS * BLOCK):
            rows[i] += weight * change[i]


@njit(cache=True, fastmath=_FASTMATH, error_model="numpy")
@no_type_check
def _gather(first, count, surface, corners, fixed, rows):
    """The surface under a block's anchors: position, normal, tangent."""
    for i in range(count):
        a, b, c = corners[first + i, 0], corners[first + i, 1], corners[first + i, 2]
        u, v, w = fixed[_U + i], fixed[_V + i], fixed[_W + i]
        for column in range(9):
            rows[_PX + column * BLOCK + i] = (
                u * surface[a, column] + v * surface[b, column] + w * surface[c, column]
            )


@njit(inline="always")
@no_type_check
def frame_quaternion(tx, ty, tz, bx, by, bz, nx, ny, nz):
    """`geometry.matrix_to_quaternion` of the columns tangent, bitangent, normal."""
    # All four, then the choice: vectors cannot branch.
    yz, zx, xy = bz - ny, nx - tz, ty - bx
    sx, sy, sz = bx + ty, nx + tz, ny + bz
    use_w = tx + by + nz > _ZERO
    use_xy, use_x = max(tx, by) > nz, tx > by
    w = yz if use_x else zx
    x = _ONE + tx - by - nz if use_x else sx
    y = sx if use_x else _ONE - tx + by - nz
    z = sy if use_x else sz
    w, x = (w if use_xy else xy), (x if use_xy else sy)
    y, z = (y if use_xy else sz), (z if use_xy else _ONE - tx - by + nz)
    w, x = (_ONE + tx + by + nz if use_w else w), (yz if use_w else x)
    y, z = (zx if use_w else y), (xy if use_w else z)
    inverse = _ONE / _at_least(math.sqrt(w * w + x * x + y * y + z * z), _TINY)
    inverse = -inverse if w < _ZERO else inverse
    return w * inverse, x * inverse, y * inverse, z * inverse


@njit(cache=True, fastmath=_FASTMATH, error_model="numpy")
@no_type_check
def _stand(rows, fixed, translation):
    """`Binding._oriented` and the geometry of `pose_gaussians`, for one block."""
    shift_x, shift_y, shift_z = translation[0], translation[1], translation[2]
    for i in range(BLOCK):
        nx, ny, nz = rows[_NX + i], rows[_NY + i], rows[_NZ + i]
        tx, ty, tz = rows[_TX + i], rows[_TY + i], rows[_TZ + i]
        # The frame: normal; tangent made perpendicular to it; bitangent.
        normal_length = math.sqrt(nx * nx + ny * ny + nz * nz)
        inverse = _ONE / _at_least(normal_length, _TINY)
        nx, ny, nz = nx * inverse, ny * inverse, nz * inverse
        along = nx * tx + ny * ty + nz * tz
        tx, ty, tz = tx - nx * along, ty - ny * along, tz - nz * along
        tangent_length = math.sqrt(tx * tx + ty * ty + tz * tz)
        inverse = _ONE / _at_least(tangent_length, _TINY)
        tx, ty, tz = tx * inverse, ty * inverse, tz * inverse
        bx, by, bz = ny * tz - nz * ty, nz * tx - nx * tz, nx * ty - ny * tx
        rows[_NX + i], rows[_NY + i], rows[_NZ + i] = nx, ny, nz

        # How much the skin has grown along them since the neutral face.
        growth = tangent_length / fixed[_REST_TANGENT + i]
        across = normal_length / fixed[_REST_AREA + i] / _at_least(growth, _LEAST_GROWTH)
        rows[_S0 + i] = fixed[_E0 + i] * _clamp(growth, _LEAST_STRETCH, _GREATEST_STRETCH)
        rows[_S1 + i] = fixed[_E1 + i] * _clamp(across, _LEAST_STRETCH, _GREATEST_STRETCH)
        rows[_S2 + i] = fixed[_E2 + i]

        ox, oy, oz = rows[_OX + i], rows[_OY + i], rows[_OZ + i]
        rows[_PX + i] += tx * ox + bx * oy + nx * oz + shift_x
        rows[_PY + i] += ty * ox + by * oy + ny * oz + shift_y
        rows[_PZ + i] += tz * ox + bz * oy + nz * oz + shift_z

        fw, fx, fy, fz = frame_quaternion(tx, ty, tz, bx, by, bz, nx, ny, nz)
        lw, lx, ly, lz = fixed[_LW + i], fixed[_LX + i], fixed[_LY + i], fixed[_LZ + i]
        rows[_QW + i] = fw * lw - fx * lx - fy * ly - fz * lz
        rows[_QX + i] = fw * lx + fx * lw + fy * lz - fz * ly
        rows[_QY + i] = fw * ly - fx * lz + fy * lw + fz * lx
        rows[_QZ + i] = fw * lz + fx * ly - fy * lx + fz * lw


@njit(cache=True, fastmath=_FASTMATH, error_model="numpy")
@no_type_check
def _lighten(rows, fixed, light, channel):
    """One colour channel of a block under the light (`light.irradiance`), not below zero."""
    l0, ly, lz, lx = light[0, channel], light[1, channel], light[2, channel], light[3, channel]
    lxy, lyz, lzz = light[4, channel], light[5, channel], light[6, channel]
    lxz, lxx = light[7, channel], light[8, channel]
    color = _COLOR + channel * BLOCK
    for i in range(BLOCK):
        x, y, z = rows[_NX + i], rows[_NY + i], rows[_NZ + i]
        factor = l0 + ly * y + lz * z + lx * x + lxy * (x * y) + lyz * (y * z)
        factor += lzz * (_THREE * z * z - _ONE) + lxz * (x * z) + lxx * (x * x - y * y)
        factor = _at_least(factor, _LEAST_LIGHT) if fixed[_LIT + i] != _ZERO else _ONE
        rows[color + i] = _at_least(rows[color + i] * factor, _ZERO)


@njit(cache=True, fastmath=_FASTMATH, error_model="numpy")
@no_type_check
def _hand_over(first, count, rows, posed):
    """A block's rows into the columns of the result."""
    means, quaternions, scales, colors = posed
    for i in range(count):
        for column in range(3):
            means[first + i, column] = rows[_PX + column * BLOCK + i]
            scales[first + i, column] = rows[_S0 + column * BLOCK + i]
            colors[first + i, column] = rows[_COLOR + column * BLOCK + i]
        for column in range(4):
            quaternions[first + i, column] = rows[_QW + column * BLOCK + i]


@njit(cache=True, error_model="numpy")
@no_type_check
def _pose_block(block, weights, surface, look, translation, posed):
    """Anchors block * BLOCK and on."""
    first = block * BLOCK
    count = min(BLOCK, len(look.corners) - first)
    rows = np.zeros(layout.SCRATCH_ROWS * BLOCK, np.float32)
    fixed = look.fixed[block]
    _attributes(block, weights, look, rows)
    _gather(first, count, surface, look.corners, fixed, rows)
    _stand(rows, fixed, translation)
    for channel in range(3):
        _lighten(rows, fixed, look.light, channel)
    _hand_over(first, count, rows, posed)


@njit(cache=True, error_model="numpy", nogil=True)
@no_type_check
def prepare(code, mesh, look):
    """What is computed once: joints, coefficients, the basis's weights."""
    transforms, coefficients = prepare_mesh(code, mesh)
    return transforms, coefficients, _basis_weights(code.coefficients, look)


@njit(cache=True, error_model="numpy", nogil=True)
@no_type_check
def prepare_mesh(code, mesh):
    """Joints, and the shapes' weights."""
    turns = joint_turns(code.coefficients, mesh.joint_drive)
    transforms = joint_transforms(code.head_rotation, code.neck_rotation, turns, mesh.joints)
    # Cut to the shapes of this head, or filled up with zeros.
    coefficients = np.zeros(mesh.joint_drive.shape[0], np.float32)
    known = min(len(coefficients), len(code.coefficients))
    coefficients[:known] = code.coefficients[:known]
    combine(code.coefficients, mesh.combinations, mesh.combination_amounts, coefficients)
    return transforms.astype(np.float32), coefficients


@njit(cache=True, error_model="numpy", nogil=True)
@no_type_check
def pose_anchors(tickets, weights, surface, look, translation, posed):
    """The Gaussians on a posed `surface`; fills `posed`."""
    block = take_ticket(tickets)
    while block < len(look.fixed):
        _pose_block(block, weights, surface, look, translation, posed)
        block = take_ticket(tickets)
