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
from numba import njit, prange

from avatar3d.binding import STRETCH_LIMITS
from avatar3d.fused.layout import (
    ANCHOR_AREA,
    ANCHOR_COLOR,
    ANCHOR_LIT,
    ANCHOR_OFFSET,
    ANCHOR_QUATERNION,
    ANCHOR_SCALE,
    ANCHOR_TANGENT,
    BASIS_COLUMNS,
)
from avatar3d.heads.skinning import HEAD, JAW, LEFT_EYE, NECK, RIGHT_EYE, ROOT
from avatar3d.light import IRRADIANCE_FLOOR

# Not "nnan" and "ninf": what is not a number must stay one.
_FASTMATH = {"contract", "arcp", "nsz", "reassoc"}
_F = np.float32
_ZERO, _ONE, _TWO, _THREE = _F(0), _F(1), _F(2), _F(3)
_TINY = _F(1e-12)  # as torch.nn.functional.normalize
_LEAST_GROWTH = _F(1e-3)
_LEAST_STRETCH, _GREATEST_STRETCH = _F(STRETCH_LIMITS[0]), _F(STRETCH_LIMITS[1])
_LEAST_LIGHT = _F(IRRADIANCE_FLOOR)
# Small enough that two threads share the work evenly, large enough that handing out costs nothing.
_VERTEX_CHUNK = 256
_ANCHOR_CHUNK = 512


@njit(inline="always")
@no_type_check
def _at_least(value, least):
    """clamp(min): unlike max(), keeps a NaN."""
    return least if value < least else value


@njit(inline="always")
@no_type_check
def _clamp(value, least, greatest):
    return least if value < least else (greatest if value > greatest else value)


@njit(inline="always")
@no_type_check
def _quaternion_to_matrix(w, x, y, z, matrix):
    """Fills `matrix` [3, 3], as `geometry.quaternion_to_matrix`."""
    matrix[0, 0], matrix[0, 1] = 1 - 2 * (y * y + z * z), 2 * (x * y - w * z)
    matrix[0, 2], matrix[1, 0] = 2 * (x * z + w * y), 2 * (x * y + w * z)
    matrix[1, 1], matrix[1, 2] = 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)
    matrix[2, 0], matrix[2, 1] = 2 * (x * z - w * y), 2 * (y * z + w * x)
    matrix[2, 2] = 1 - 2 * (x * x + y * y)


@njit(inline="always")
@no_type_check
def _rotation_vector_to_quaternion(x, y, z):
    """As `geometry.rotation_vector_to_quaternion`."""
    half_angle_squared = (x * x + y * y + z * z) / 4
    if half_angle_squared < 1e-6:
        sinc, cosine = 1 - half_angle_squared / 6, 1 - half_angle_squared / 2
    else:
        half_angle = math.sqrt(half_angle_squared)
        sinc, cosine = math.sin(half_angle) / half_angle, math.cos(half_angle)
    return cosine, x * sinc / 2, y * sinc / 2, z * sinc / 2


@njit(inline="always")
@no_type_check
def _half_inverse(w, x, y, z):
    """Half of the inverse rotation: conjugate(quaternion_power(q, 0.5))."""
    if w < 0:
        w, x, y, z = -w, -x, -y, -z
    sine = math.sqrt(x * x + y * y + z * z)
    factor = 1.0 if sine < 1e-6 else math.atan2(sine, w) / sine  # half the angle over the sine
    return _rotation_vector_to_quaternion(-factor * x, -factor * y, -factor * z)


@njit(cache=True, error_model="numpy")
@no_type_check
def _rotate_about(parent, rotation, pivot, moved):
    """`skinning._rotate_about`: `moved` [3, 4] = `parent` [3, 4] after a rotation about `pivot`."""
    for row in range(3):
        for column in range(3):
            total = 0.0
            for k in range(3):
                total += parent[row, k] * rotation[k, column]
            moved[row, column] = total
    for row in range(3):
        total = parent[row, 3]
        for k in range(3):
            total += (parent[row, k] - moved[row, k]) * pivot[k]
        moved[row, 3] = total


@njit(cache=True, error_model="numpy")
@no_type_check
def _joint_transforms(code, joints, joint_drive):
    """`skinning.joint_transforms` without the head's translation: [J, 3, 4] of float64.

    The head's translation is added to the anchors instead: near the origin vertices keep the
    digits that normals, which are differences of them, need.
    """
    transforms = np.zeros((joints.shape[0], 3, 4))
    rotation = np.empty((3, 3))
    q = code.head_rotation.astype(np.float64)
    _quaternion_to_matrix(q[0], q[1], q[2], q[3], transforms[HEAD])
    q = code.neck_rotation.astype(np.float64)
    w, x, y, z = _half_inverse(q[0], q[1], q[2], q[3])
    _quaternion_to_matrix(w, x, y, z, rotation)
    _rotate_about(transforms[HEAD], rotation, joints[HEAD], transforms[NECK])
    _rotate_about(transforms[NECK], rotation, joints[NECK], transforms[ROOT])
    for joint in (JAW, LEFT_EYE, RIGHT_EYE):
        vx, vy, vz = 0.0, 0.0, 0.0
        for e in range(min(len(code.coefficients), len(joint_drive))):
            coefficient = np.float64(code.coefficients[e])
            vx += coefficient * joint_drive[e, joint, 0]
            vy += coefficient * joint_drive[e, joint, 1]
            vz += coefficient * joint_drive[e, joint, 2]
        w, x, y, z = _rotation_vector_to_quaternion(vx, vy, vz)
        _quaternion_to_matrix(w, x, y, z, rotation)
        _rotate_about(transforms[HEAD], rotation, joints[joint], transforms[joint])
    return transforms


@njit(cache=True, fastmath=_FASTMATH, error_model="numpy")
@no_type_check
def _pose_vertices(first, end, coefficients, transforms, mesh, surface):
    """`Rig.pose` of the vertices first..end: shapes, then v' = sum_j w_j (R_j v + t_j)."""
    neutral, skin_weights = mesh.neutral, mesh.skin_weights
    starts, index, offsets = mesh.shape_starts, mesh.shape_index, mesh.shape_offsets
    for v in range(first, end):
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


@njit(cache=True, fastmath=_FASTMATH, error_model="numpy")
@no_type_check
def _sum_rings(first, end, mesh, surface):
    """Normals and tangents of the triangles around each vertex, summed (`Binding._surface`).

    Each vertex walks its own triangles: three times the products, but no pass that scatters.
    """
    starts, ring, weights = mesh.ring_starts, mesh.ring, mesh.ring_weights
    for v in range(first, end):
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
def _add_basis(first, end, weights, basis, change):
    """change [CHUNK * 6] += sum_k weights_k * basis[k], in vectors over the anchors."""
    start, length = first * BASIS_COLUMNS, (end - first) * BASIS_COLUMNS
    for k in range(len(weights)):
        weight, row = weights[k], basis[k, start : start + length]
        for i in range(length):
            change[i] += weight * row[i]


@njit(inline="always")
@no_type_check
def _interpolated(surface, a, b, c, u, v, w, column):
    """Three columns of the surface at barycentrics (u, v, w) of a triangle."""
    return (
        u * surface[a, column] + v * surface[b, column] + w * surface[c, column],
        u * surface[a, column + 1] + v * surface[b, column + 1] + w * surface[c, column + 1],
        u * surface[a, column + 2] + v * surface[b, column + 2] + w * surface[c, column + 2],
    )


@njit(inline="always")
@no_type_check
def _frame_quaternion(tx, ty, tz, bx, by, bz, nx, ny, nz):
    """`geometry.matrix_to_quaternion` of the columns tangent, bitangent, normal."""
    if tx + by + nz > _ZERO:
        w, x, y, z = _ONE + tx + by + nz, bz - ny, nx - tz, ty - bx
    elif max(tx, by) > nz:
        if tx > by:
            w, x, y, z = bz - ny, _ONE + tx - by - nz, bx + ty, nx + tz
        else:
            w, x, y, z = nx - tz, bx + ty, _ONE - tx + by - nz, ny + bz
    else:
        w, x, y, z = ty - bx, nx + tz, ny + bz, _ONE - tx - by + nz
    inverse = _ONE / _at_least(math.sqrt(w * w + x * x + y * y + z * z), _TINY)
    if w < _ZERO:
        inverse = -inverse
    return w * inverse, x * inverse, y * inverse, z * inverse


@njit(inline="always")
@no_type_check
def _irradiance(light, channel, x, y, z):
    """`light.irradiance` of one channel at the normal (x, y, z)."""
    total = (
        light[0, channel] + light[1, channel] * y + light[2, channel] * z + light[3, channel] * x
        + light[4, channel] * (x * y) + light[5, channel] * (y * z)
        + light[6, channel] * (_THREE * z * z - _ONE) + light[7, channel] * (x * z)
        + light[8, channel] * (x * x - y * y)
    )  # fmt: skip
    return _at_least(total, _LEAST_LIGHT)


@njit(cache=True, fastmath=_FASTMATH, error_model="numpy")
@no_type_check
def _pose_anchors(first, end, surface, look, change, translation, posed):
    """`Binding._oriented` and `pose_gaussians` of the anchors first..end."""
    corners, anchors, light = look.corners, look.anchors, look.light
    means, quaternions, scales, colors = posed
    for i in range(first, end):
        a, b, c = corners[i, 0], corners[i, 1], corners[i, 2]
        anchor = anchors[i]
        u, v, w = anchor[0], anchor[1], anchor[2]
        px, py, pz = _interpolated(surface, a, b, c, u, v, w, 0)
        nx, ny, nz = _interpolated(surface, a, b, c, u, v, w, 3)
        tx, ty, tz = _interpolated(surface, a, b, c, u, v, w, 6)

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

        # How much the skin has grown along them since the neutral face.
        growth = tangent_length / anchor[ANCHOR_TANGENT]
        growth_across = normal_length / anchor[ANCHOR_AREA] / _at_least(growth, _LEAST_GROWTH)
        scales[i, 0] = anchor[ANCHOR_SCALE] * _clamp(growth, _LEAST_STRETCH, _GREATEST_STRETCH)
        scales[i, 1] = anchor[ANCHOR_SCALE + 1] * _clamp(
            growth_across, _LEAST_STRETCH, _GREATEST_STRETCH
        )
        scales[i, 2] = anchor[ANCHOR_SCALE + 2]

        k = (i - first) * BASIS_COLUMNS
        ox = anchor[ANCHOR_OFFSET] + change[k]
        oy = anchor[ANCHOR_OFFSET + 1] + change[k + 1]
        oz = anchor[ANCHOR_OFFSET + 2] + change[k + 2]
        means[i, 0] = px + tx * ox + bx * oy + nx * oz + translation[0]
        means[i, 1] = py + ty * ox + by * oy + ny * oz + translation[1]
        means[i, 2] = pz + tz * ox + bz * oy + nz * oz + translation[2]

        fw, fx, fy, fz = _frame_quaternion(tx, ty, tz, bx, by, bz, nx, ny, nz)
        lw, lx = anchor[ANCHOR_QUATERNION], anchor[ANCHOR_QUATERNION + 1]
        ly, lz = anchor[ANCHOR_QUATERNION + 2], anchor[ANCHOR_QUATERNION + 3]
        quaternions[i, 0] = fw * lw - fx * lx - fy * ly - fz * lz
        quaternions[i, 1] = fw * lx + fx * lw + fy * lz - fz * ly
        quaternions[i, 2] = fw * ly - fx * lz + fy * lw + fz * lx
        quaternions[i, 3] = fw * lz + fx * ly - fy * lx + fz * lw

        red = anchor[ANCHOR_COLOR] + change[k + 3]
        green = anchor[ANCHOR_COLOR + 1] + change[k + 4]
        blue = anchor[ANCHOR_COLOR + 2] + change[k + 5]
        if anchor[ANCHOR_LIT] != _ZERO:
            red *= _irradiance(light, 0, nx, ny, nz)
            green *= _irradiance(light, 1, nx, ny, nz)
            blue *= _irradiance(light, 2, nx, ny, nz)
        colors[i, 0] = _at_least(red, _ZERO)
        colors[i, 1] = _at_least(green, _ZERO)
        colors[i, 2] = _at_least(blue, _ZERO)


@njit(parallel=True, cache=True, error_model="numpy")
@no_type_check
def pose(code, mesh, look, surface, posed):
    """One code (`Pose`) to Gaussians in the world; fills `surface` [V, SURFACE_COLUMNS] and `posed`.

    Three parallel passes: vertices need the joints, rings their neighbours, anchors their corners.
    """
    transforms = _joint_transforms(code, mesh.joints, mesh.joint_drive).astype(np.float32)
    # Cut to the shapes of this head, or filled up with zeros.
    coefficients = np.zeros(mesh.joint_drive.shape[0], np.float32)
    known = min(len(coefficients), len(code.coefficients))
    coefficients[:known] = code.coefficients[:known]
    weights = _basis_weights(code.coefficients, look)
    vertex_count, anchor_count = len(mesh.neutral), len(look.corners)
    for chunk in prange((vertex_count + _VERTEX_CHUNK - 1) // _VERTEX_CHUNK):
        first, end = chunk * _VERTEX_CHUNK, min(vertex_count, (chunk + 1) * _VERTEX_CHUNK)
        _pose_vertices(first, end, coefficients, transforms, mesh, surface)
    for chunk in prange((vertex_count + _VERTEX_CHUNK - 1) // _VERTEX_CHUNK):
        first, end = chunk * _VERTEX_CHUNK, min(vertex_count, (chunk + 1) * _VERTEX_CHUNK)
        _sum_rings(first, end, mesh, surface)
    for chunk in prange((anchor_count + _ANCHOR_CHUNK - 1) // _ANCHOR_CHUNK):
        first, end = chunk * _ANCHOR_CHUNK, min(anchor_count, (chunk + 1) * _ANCHOR_CHUNK)
        change = np.zeros(_ANCHOR_CHUNK * BASIS_COLUMNS, np.float32)
        _add_basis(first, end, weights, look.basis, change)
        _pose_anchors(first, end, surface, look, change, code.head_translation, posed)
