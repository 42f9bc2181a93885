"""Rotations and surface frames. Quaternions are wxyz; functions broadcast over leading dimensions."""

from __future__ import annotations

import re
from functools import cache

import torch
from torch import Tensor
from torch.nn.functional import normalize

# Up to here the number of operations costs, beyond it the bytes that they move.
_FEW_NUMBERS = 256


def quaternion_multiply(a: Tensor, b: Tensor) -> Tensor:
    """Hamilton product, [..., 4] x [..., 4]: rotating by the result rotates by `b`, then by `a`."""
    if max(a.numel(), b.numel()) <= _FEW_NUMBERS:
        products = _products(a, b)
        return products @ _multiplication(products.dtype, products.device)
    aw, ax, ay, az = a.unbind(-1)
    bw, bx, by, bz = b.unbind(-1)
    return torch.stack(
        [
            aw * bw - ax * bx - ay * by - az * bz,
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
        ],
        dim=-1,
    )


def quaternion_conjugate(quaternion: Tensor) -> Tensor:
    return quaternion * quaternion.new_tensor([1.0, -1.0, -1.0, -1.0])


def quaternion_to_matrix(quaternion: Tensor) -> Tensor:
    """Rotation matrices [..., 3, 3] of unit quaternions [..., 4]."""
    if quaternion.numel() <= _FEW_NUMBERS:
        ones = torch.eye(3, dtype=quaternion.dtype, device=quaternion.device)
        turned = _products(quaternion, quaternion) @ _turning(quaternion.dtype, quaternion.device)
        return ones + turned.unflatten(-1, (3, 3))
    w, x, y, z = quaternion.unbind(-1)
    rows = [
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    ]  # fmt: skip
    return torch.stack(rows, dim=-1).unflatten(-1, (3, 3))


def _products(a: Tensor, b: Tensor) -> Tensor:
    """Every component of `a` times every one of `b`, [..., 16]."""
    return (a[..., :, None] * b[..., None, :]).flatten(-2)


@cache
def _multiplication(dtype: torch.dtype, device: torch.device) -> Tensor:
    """`quaternion_multiply` as a matrix [16, 4] of the products."""
    return _linear_in_products(
        ("ww-xx-yy-zz", "wx+xw+yz-zy", "wy-xz+yw+zx", "wz+xy-yx+zw"), 1.0
    ).to(device, dtype)


@cache
def _turning(dtype: torch.dtype, device: torch.device) -> Tensor:
    """`quaternion_to_matrix` less the identity as a matrix [16, 9] of the products."""
    return _linear_in_products(
        ("-yy-zz", "xy-wz", "xz+wy", "xy+wz", "-xx-zz", "yz-wx", "xz-wy", "yz+wx", "-xx-yy"), 2.0
    ).to(device, dtype)


def _linear_in_products(sums: tuple[str, ...], factor: float) -> Tensor:
    """ "ww-xx": the product of both w less that of both x."""
    matrix = torch.zeros(16, len(sums))
    for column, terms in enumerate(sums):
        for sign, first, second in re.findall(r"([+-]?)(\w)(\w)", terms):
            row = 4 * "wxyz".index(first) + "wxyz".index(second)
            matrix[row, column] = -factor if sign == "-" else factor
    return matrix


def matrix_to_quaternion(matrix: Tensor) -> Tensor:
    """Unit quaternions [..., 4] of rotation matrices [..., 3, 3], with w >= 0.

    Of the four equivalent expressions one with a large denominator is used (Shepperd 1978), so
    that neither value nor gradient loses digits anywhere.
    """
    m = matrix
    xx, yy, zz = m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]
    yz, zx, xy = (
        m[..., 2, 1] - m[..., 1, 2],
        m[..., 0, 2] - m[..., 2, 0],
        m[..., 1, 0] - m[..., 0, 1],
    )
    sx, sy, sz = (
        m[..., 0, 1] + m[..., 1, 0],
        m[..., 0, 2] + m[..., 2, 0],
        m[..., 1, 2] + m[..., 2, 1],
    )
    from_w = torch.stack([1 + xx + yy + zz, yz, zx, xy], dim=-1)
    from_x = torch.stack([yz, 1 + xx - yy - zz, sx, sy], dim=-1)
    from_y = torch.stack([zx, sx, 1 - xx + yy - zz, sz], dim=-1)
    from_z = torch.stack([xy, sy, sz, 1 - xx - yy + zz], dim=-1)
    from_xy = torch.where((xx > yy)[..., None], from_x, from_y)
    from_xyz = torch.where((torch.maximum(xx, yy) > zz)[..., None], from_xy, from_z)
    quaternion = normalize(torch.where((xx + yy + zz > 0)[..., None], from_w, from_xyz), dim=-1)
    return torch.where(quaternion[..., :1] < 0, -quaternion, quaternion)


def rotation_vector_to_quaternion(vector: Tensor) -> Tensor:
    """Exponential map, [..., 3] radians to unit quaternions [..., 4]; smooth at zero."""
    half_angle_squared = (vector * vector).sum(-1, keepdim=True) / 4
    # sin(h)/h and cos(h) as functions of h^2: the series keeps the gradient finite at h = 0.
    small = half_angle_squared < 1e-6
    h = torch.where(small, torch.ones_like(half_angle_squared), half_angle_squared).sqrt()
    sinc = torch.where(small, 1 - half_angle_squared / 6, h.sin() / h)
    cosine = torch.where(small, 1 - half_angle_squared / 2, h.cos())
    return torch.cat([cosine, vector * (sinc / 2)], dim=-1)


def quaternion_to_rotation_vector(quaternion: Tensor) -> Tensor:
    """Logarithm of unit quaternions [..., 4]: the shortest rotation vector [..., 3] in radians."""
    quaternion = torch.where(quaternion[..., :1] < 0, -quaternion, quaternion)
    sine = quaternion[..., 1:].norm(dim=-1, keepdim=True)
    half_angle = torch.atan2(sine, quaternion[..., :1])
    return quaternion[..., 1:] * torch.where(
        sine < 1e-6, 2.0, 2 * half_angle / sine.clamp(min=1e-6)
    )


def quaternion_power(quaternion: Tensor, exponent: float) -> Tensor:
    """A fraction of a rotation: slerp from the identity."""
    return rotation_vector_to_quaternion(exponent * quaternion_to_rotation_vector(quaternion))


def rotate(rotation: Tensor, vector: Tensor) -> Tensor:
    """Matrices [..., 3, 3] times vectors [..., 3]. On a CPU, batched matmul of 3x3s is far slower."""
    return (rotation * vector[..., None, :]).sum(-1)


def triangle_normals(vertices: Tensor, triangles: Tensor) -> Tensor:
    """Unnormalised normals [..., F, 3]: their length is twice the triangle's area."""
    a, b, c = (vertices[..., triangles[:, corner], :] for corner in range(3))
    return torch.linalg.cross(b - a, c - a)


def vertex_normals(vertices: Tensor, triangles: Tensor) -> Tensor:
    """Area-weighted unit normals [..., V, 3]."""
    normals = triangle_normals(vertices, triangles)
    total = torch.zeros_like(vertices)
    for corner in range(3):
        total = total.index_add(-2, triangles[:, corner], normals)
    return normalize(total, dim=-1)
