"""The kernels in sequence, as one torch autograd Function."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from avatar3d.numba_threads import in_parallel, thread_count
from render.backends.cpu import binning, blend, blend_backward, projection
from render.backends.cpu.layout import MOMENT_COLOR, RECORD_COLUMNS, SPLAT_COLUMNS, TILE_PX
from render.backends.cpu.stages import stage_ended

# Channels that one blend draws; other counts are drawn in groups, the last filled up with zeros.
GROUP = 3
_NO_ALPHA, _NO_MASKS = np.empty((0, 0), np.float32), np.empty(0, np.uint16)


class Binned(NamedTuple):
    """Splats on the picture, listed per tile."""

    splats: np.ndarray  # [N, SPLAT_COLUMNS]
    tile_boxes: np.ndarray  # [N, 4]
    depth_keys: np.ndarray  # [N]
    starts: np.ndarray  # [tiles + 1]
    splat_ids: np.ndarray  # [entries]


class RasterizeFunction(torch.autograd.Function):
    """means, quaternions, scales, opacities, colors [N, C], viewmat, K, background [C] (float32 on
    the CPU) and width, height, antialiased -> image [H, W, C], alpha [H, W]."""

    @staticmethod
    def forward(ctx, *inputs):
        *tensors, width, height, antialiased = inputs
        arrays = _arrays(tensors)
        colors, background = arrays[4], arrays[7]
        channels = colors.shape[1]
        wanted = any(ctx.needs_input_grad)
        pictures = []
        binned = _bin(arrays, width, height, antialiased)
        alpha = np.empty((height, width), np.float32)
        entry_masks = np.empty(len(binned.splat_ids) if wanted else 0, np.uint16)
        for group in _groups(channels):
            picture = np.empty((height, width, GROUP), np.float32)
            in_parallel(
                blend.blend,
                binned.splats, _padded(colors, group), binned.starts, binned.splat_ids,
                _padded(background, group), picture, alpha, entry_masks, blend.HELD,
            )  # fmt: skip
            pictures.append(picture)
        stage_ended("blend")
        image = _joined(pictures, channels)
        image, alpha = torch.from_numpy(image), torch.from_numpy(alpha)
        if wanted:
            ctx.save_for_backward(*tensors, image, alpha)
            ctx.settings = width, height, antialiased
            ctx.set_materialize_grads(False)  # no zeros for an alpha that no one asks about
            ctx.binned = *binned, entry_masks
        return image, alpha

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, *grad_outputs):
        *inputs, image, alpha = (value.detach().contiguous().numpy() for value in ctx.saved_tensors)
        means, quaternions, scales, opacities, colors, viewmat, K, _ = inputs
        d_image, d_alpha = grad_outputs
        d_image = np.zeros_like(image) if d_image is None else d_image.contiguous().numpy()
        d_alpha = _NO_ALPHA if d_alpha is None else d_alpha.contiguous().numpy()
        width, height, antialiased = ctx.settings
        splats, tile_boxes, depth_keys, starts, splat_ids, entry_masks = ctx.binned
        first_slots = binning.first_slots(tile_boxes)
        count, channels = colors.shape
        moments = np.zeros((count, MOMENT_COLOR), np.float32)
        records = np.empty((len(splat_ids), RECORD_COLUMNS), np.float32)
        d_means, d_quaternions = np.empty_like(means), np.empty_like(quaternions)
        d_scales, d_opacities = np.empty_like(scales), np.empty_like(opacities)
        camera_sums = np.empty((-(-count // projection.CHUNK), 16), np.float32)
        d_color_groups = []
        for group in _groups(channels):
            d_colors = np.empty((count, GROUP), np.float32)
            stage_ended("prepare")
            in_parallel(
                blend_backward.blend_backward,
                splats, _padded(colors, group), starts, splat_ids, entry_masks, tile_boxes,
                first_slots, _padded(image, group), alpha, _padded(d_image, group),
                d_alpha if group.start == 0 else _NO_ALPHA, records, blend_backward.HELD,
            )  # fmt: skip
            stage_ended("blend_backward")
            in_parallel(blend_backward.gather, records, first_slots, moments, d_colors)
            stage_ended("gather")
            d_color_groups.append(d_colors)
        in_parallel(
            projection.project_backward,
            means, quaternions, scales, opacities, viewmat, K, width, height, antialiased,
            depth_keys, moments, d_means, d_quaternions, d_scales, d_opacities, camera_sums,
        )  # fmt: skip
        stage_ended("project_backward")
        d_viewmat = d_K = None
        if any(ctx.needs_input_grad[5:7]):
            d_viewmat, d_K = _camera_gradients(camera_sums)
        d_background = None
        if ctx.needs_input_grad[7]:
            d_background = torch.from_numpy(np.einsum("hwc,hw->c", d_image, 1 - alpha))
        gradients = (d_means, d_quaternions, d_scales, d_opacities)
        return (
            *(torch.from_numpy(gradient) for gradient in gradients),
            torch.from_numpy(_joined(d_color_groups, channels)),
            d_viewmat, d_K, d_background, None, None, None,
        )  # fmt: skip


def draw_8_bit(tensors: Sequence[Tensor], width: int, height: int, antialiased: bool) -> np.ndarray:
    """The image of `RasterizeFunction`, which must have three channels, as uint8 [H, W, 3]; it is
    never written as floats."""
    arrays = _arrays(tensors)
    picture = np.empty((height, width, GROUP), np.uint8)
    binned = _bin(arrays, width, height, antialiased)
    in_parallel(
        blend.blend,
        binned.splats, arrays[4], binned.starts, binned.splat_ids, arrays[7],
        picture, _NO_ALPHA, _NO_MASKS, blend.HELD,
    )  # fmt: skip
    stage_ended("blend")
    return picture


def _arrays(tensors: Sequence[Tensor]) -> list[np.ndarray]:
    return [value.detach().contiguous().numpy() for value in tensors]


def _bin(arrays: Sequence[np.ndarray], width: int, height: int, antialiased: bool) -> Binned:
    means, quaternions, scales, opacities, colors, viewmat, K, _ = arrays
    count = len(means)
    splats = np.empty((count, SPLAT_COLUMNS), np.float32)
    tile_boxes = np.empty((count, 4), np.int32)
    depth_keys = np.empty(count, np.uint32)
    tiles_x, tiles_y = -(-width // TILE_PX), -(-height // TILE_PX)
    stage_ended("prepare")
    in_parallel(
        projection.project,
        means, quaternions, scales, opacities, colors, viewmat, K, width, height, antialiased,
        splats, tile_boxes, depth_keys,
    )  # fmt: skip
    stage_ended("project")
    order = binning.depth_order(depth_keys)
    stage_ended("sort")
    starts, cursors = binning.plan_tiles(order, tile_boxes, tiles_x, tiles_y, thread_count())
    splat_ids = np.empty(starts[-1], np.uint32)
    in_parallel(binning.list_tiles, order, tile_boxes, tiles_x, cursors, splat_ids)
    stage_ended("bin")
    return Binned(splats, tile_boxes, depth_keys, starts, splat_ids)


def _groups(channels: int) -> list[slice]:
    return [slice(start, min(start + GROUP, channels)) for start in range(0, channels, GROUP)]


def _padded(values: np.ndarray, group: slice) -> np.ndarray:
    """The channels of one group, contiguous, filled up with zeros to GROUP of them."""
    if values.shape[-1] == GROUP:
        return values
    padded = np.zeros((*values.shape[:-1], GROUP), np.float32)
    padded[..., : group.stop - group.start] = values[..., group]
    return padded


def _joined(groups: list[np.ndarray], channels: int) -> np.ndarray:
    return groups[0] if channels == GROUP else np.concatenate(groups, axis=-1)[..., :channels]


def _camera_gradients(camera_sums: np.ndarray) -> tuple[Tensor, Tensor]:
    sums = camera_sums.sum(axis=0, dtype=np.float64)
    d_viewmat = np.zeros((4, 4), np.float32)
    d_viewmat[:3] = sums[:12].reshape(3, 4)
    d_K = np.zeros((3, 3), np.float32)
    d_K[0, 0], d_K[1, 1], d_K[0, 2], d_K[1, 2] = sums[12:]
    return torch.from_numpy(d_viewmat), torch.from_numpy(d_K)
