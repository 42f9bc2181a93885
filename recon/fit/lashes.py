"""The line of lashes that shut lids show, drawn by Gaussians that nobody sees while the eye is open.

Anchors lie a millimetre apart and their Gaussians are as wide, so colours alone make of lashes a
broad bar. But a lid has an inner side. Its anchors face the eyeball in every pose, so they are free:
some of them become thin, dark and as long as their share of the line, and a component of the
expression basis brings them out before the lids as the eye shuts.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from scipy.interpolate import PchipInterpolator
from scipy.optimize import linear_sum_assignment

from avatar3d.avatar import Avatar
from avatar3d.binding import Frames
from avatar3d.geometry import matrix_to_quaternion

_COUNT = 20  # Gaussians a line
_CHOICE = 2  # so many times as many anchors are considered
_WIDTH_M, _THICKNESS_M = 0.0005, 0.0003  # standard deviations across the line and in depth
_OVERLAP = 0.65  # along it, in shares of the line
_CORNERS = 0.5  # of the width, at the line's ends
_SHORT = 0.05  # of the seam, which turns up or down at its ends
_BEFORE_M = 0.0008  # of the lids, which bulge before the landmarks of their edge
_NEAREST = 24  # anchors of the lids' outer side, which tell what "before" is
_BULGE = 0.9  # so many of them shall lie behind the line
_INNER, _OUTER = -0.1, 0.2  # forward part of the normals of the lid's two sides
_UNSEEN = 0.3  # confidence in a colour, below which no frame shows it
_AROUND_M, _REACH_M = 0.04, 0.009


class LashLine(NamedTuple):
    """What M anchors have to be; the offsets once the eye is shut."""

    anchors: np.ndarray  # [M] indices
    offsets: np.ndarray  # [M, 3] metres in the anchors' frames
    rotations: np.ndarray  # [M, 4] wxyz in the anchors' frames
    log_scales: np.ndarray  # [M, 3]


def lash_line(
    avatar: Avatar, shut: Frames, seam: np.ndarray, look: np.ndarray, upper: np.ndarray
) -> LashLine | None:
    """Lashes along the seam [K, 3] of one shut eye, the points in order of x.

    shut: the anchors with the eye shut. look: [N] confidence in their colours. upper: [N] whether an
    anchor lies above the open eye. None where the upper lid has no inner side.
    """
    points, rotations = shut.positions.numpy(), shut.rotations.numpy()
    forward = rotations[:, 2, 2]
    skin = avatar.template.is_part("face", "eyelids").numpy()
    about = skin & (np.linalg.norm(points - seam.mean(0), axis=1) < _AROUND_M)
    outer = np.where(about & (forward > _OUTER))[0]
    free = np.where(about & upper & (forward < _INNER) & (look < _UNSEEN))[0]
    seam = seam[np.linalg.norm(np.diff(seam, axis=0, append=np.inf), axis=1) > 0]
    if len(seam) < 3 or len(outer) < _NEAREST or len(free) < _COUNT:
        return None
    line, axes = _placed(seam, points, rotations[:, :, 2], outer)
    apart = np.linalg.norm(line[:, None] - points[None, free], axis=-1)  # [M, free]
    # The first of the template, where there is a choice: coarser levels have those.
    near = np.where(apart.min(0) < _REACH_M)[0][: _CHOICE * _COUNT]
    if len(near) < _COUNT:
        return None
    anchors = free[near[linear_sum_assignment(apart[:, near])[1]]]

    to_anchor = rotations[anchors].transpose(0, 2, 1)
    local = matrix_to_quaternion(torch.from_numpy(to_anchor @ axes)).numpy()
    width = _WIDTH_M * (1 - (1 - _CORNERS) * np.abs(np.linspace(-1, 1, _COUNT)) ** 3)
    length = np.linalg.norm(np.diff(seam, axis=0), axis=1).sum() / _COUNT
    scales = np.stack(np.broadcast_arrays(_OVERLAP * length, width, _THICKNESS_M), axis=1)
    # Posing stretches Gaussians with the skin; theirs is folded away.
    scales[:, :2] /= shut.stretch.numpy()[anchors]
    return LashLine(
        anchors,
        (to_anchor @ (line - points[anchors])[..., None])[..., 0].astype(np.float32),
        local.astype(np.float32),
        np.log(scales).astype(np.float32),
    )


def _placed(
    seam: np.ndarray, points: np.ndarray, normals: np.ndarray, outer: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Centres [M, 3] of the lashes before the lids, and their axes [M, 3, 3] in columns: along the
    line, across it, out of the face. outer: the anchors of the lids' outer side."""
    way = np.concatenate([[0.0], np.linalg.norm(np.diff(seam, axis=0), axis=1).cumsum()])
    curve = PchipInterpolator(way, seam)
    at = way[-1] * (_SHORT + (1 - 2 * _SHORT) * (np.arange(_COUNT) + 0.5) / _COUNT)
    centres, along = curve(at), _unit(curve.derivative()(at))
    apart = ((centres[:, None] - points[None, outer]) ** 2).sum(-1)
    nearest = outer[np.argsort(apart, axis=1)[:, :_NEAREST]]
    out = normals[nearest].mean(1)
    out = _unit(out - (out * along).sum(1, keepdims=True) * along)
    axes = np.stack([along, np.cross(out, along), out], axis=-1)
    bulge = ((points[nearest] - centres[:, None]) @ out[..., None])[..., 0]
    before = np.quantile(bulge, _BULGE, axis=1).clip(min=0.0) + _BEFORE_M
    return centres + before[:, None] * out, axes


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
