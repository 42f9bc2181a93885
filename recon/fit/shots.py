"""What the steps of refinement are compared with: whole frames, and close-ups of their parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from avatar3d.camera import Camera
from recon.fit.observation import Observation
from recon.fit.target import BACKGROUNDS, person_target
from recon.fit.texture import coarse_grey, texture_energy, texture_weight
from render.losses import PreparedTarget

_STRIDE = 8  # px of the detail between places where a close-up may be centred


class Shot(NamedTuple):
    """A picture [S, S] over a plain background, and the camera that should draw it."""

    picture: PreparedTarget
    matte: Tensor  # [S, S]
    weight: Tensor  # [S, S], sums to 1 over the valid pixels
    texture: Tensor  # [s, s], `texture_energy` of the picture
    texture_weight: Tensor  # [s, s], sums to 1
    coarse: Tensor  # [s, s], `coarse_grey` of the picture
    camera: Camera
    background: Tensor  # [3]


class Shots:
    """The support frames, from afar and near.

    Whole frames at the size of the fit tell where everything is. What is smaller than their pixels
    they do not see: Gaussians shrink to dots between which one looks through the head, and the
    average of dot and hole matches. A close-up is a window of the same size in the frame's detail;
    it shows the holes, and what the photograph has in their place.
    """

    def __init__(
        self, observations: Sequence[Observation], camera: Camera, close_ups: float, seed: int
    ) -> None:
        """`close_ups`: their share of all shots, of frames that have detail."""
        self._size_px = observations[0].size_px
        self._camera = camera.resized(self._size_px, self._size_px)
        self._whole = [whole_frame(observation, self._camera) for observation in observations]
        self._details = [_larger_detail(observation) for observation in observations]
        self._close_ups = close_ups
        self._random = np.random.default_rng(seed)

    def take(self, frame: int, backdrop: int) -> Shot:
        """A shot of the frame before one of BACKGROUNDS."""
        detail = self._details[frame]
        if detail is not None and self._random.random() < self._close_ups:
            shown = detail.valid & (detail.matte > 0.5)
            places = np.argwhere(shown[::_STRIDE, ::_STRIDE])
            if len(places):
                return self._close_up(detail, _STRIDE * self._random.choice(places), backdrop)
        return self._whole[frame][backdrop]

    def _close_up(self, detail: Observation, centre: np.ndarray, backdrop: int) -> Shot:
        last = detail.size_px - self._size_px
        row, column = np.clip(centre - self._size_px // 2, 0, last).tolist()
        camera = self._camera.resized(detail.size_px, detail.size_px)
        corner = [[0.0, 0.0, column], [0.0, 0.0, row], [0.0, 0.0, 0.0]]
        K = camera.K - camera.K.new_tensor(corner)
        view = replace(camera, K=K, width=self._size_px, height=self._size_px)
        return _shot(detail.window(row, column, self._size_px), view, backdrop)


def whole_frame(observation: Observation, camera: Camera) -> list[Shot]:
    """A frame before each of BACKGROUNDS; `camera` has the observation's size."""
    continued = observation.continued()
    return [_shot(continued, camera, backdrop) for backdrop in range(len(BACKGROUNDS))]


def _larger_detail(observation: Observation) -> Observation | None:
    detail = observation.detail
    return detail.continued() if detail and detail.size_px > observation.size_px else None


def _shot(observation: Observation, camera: Camera, backdrop: int) -> Shot:
    """Of an observation that is `continued` where nothing was seen; where the camera's tensors lie."""
    valid = torch.from_numpy(observation.valid.astype(np.float32))
    background = BACKGROUNDS[backdrop]
    picture = person_target(observation, background)
    matte, device = torch.from_numpy(observation.matte), camera.K.device
    pixels = torch.from_numpy(picture.pixels).view(picture.shape)
    return Shot(
        picture=picture,
        matte=matte.to(device),
        weight=(valid / valid.sum()).to(device),
        texture=texture_energy(pixels).to(device),
        texture_weight=texture_weight(matte, valid).to(device),
        coarse=coarse_grey(pixels).to(device),
        camera=camera,
        background=torch.tensor(background, device=device),
    )
