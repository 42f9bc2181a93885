"""Where a synthetic person is photographed: light, camera, background."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from avatar3d.camera import Camera
from avatar3d.light import IRRADIANCE_FLOOR, sh_basis
from avatar3d.smooth import smoothstep as ramp
from recon.capture.opencv import cv2

_GAMMA = 2.2  # light adds up before it
_FOCAL_AT_512 = (900.0, 2600.0)
_USUAL_FOCAL_PX, _HEAD_M = 1500.0, 0.86  # a head that fills half of the crop is so far away


@dataclass(frozen=True)
class Light:
    """Low-order light that stays in the world, and the lamp that makes its highlights."""

    coefficients: Float[Tensor, "9 3"]  # irradiance, linear; 1 leaves colours as they are
    toward: Float[Tensor, "3"]  # unit: to the lamp
    lamp: Float[Tensor, "3"]  # its colour and strength

    def shaded(
        self,
        colors: Tensor,
        normals: Tensor,
        along: Tensor,
        to_eye: Tensor,
        shadow: Tensor,
        gloss: Tensor,
        sharpness: Tensor,
    ) -> Tensor:
        """sRGB colours [N, 3] of albedos [N, 3]; `along` [N, 3] is a strand's direction."""
        arrives = (sh_basis(normals) @ self.coefficients).clamp(min=IRRADIANCE_FLOOR)
        half = normalize(self.toward + to_eye, dim=-1)
        on_surface = (normals * half).sum(-1).clamp(min=0.0)
        # Kajiya and Kay 1989: a hair shines where it is square to the half vector.
        on_strand = (1 - (along * half).sum(-1).square()).clamp(min=0.0).sqrt()
        lobe = torch.where(sharpness < 0, on_strand, on_surface) ** sharpness.abs()
        facing = ((normals * self.toward).sum(-1) + 0.1).clamp(0.0, 1.0)
        shine = (gloss * lobe * facing * shadow)[:, None] * self.lamp
        linear = colors.clamp(min=0.0) ** _GAMMA * arrives * shadow[:, None] + shine
        return linear.clamp(min=0.0) ** (1 / _GAMMA)


def random_light(rng: np.random.Generator) -> Light:
    """A lamp or window somewhere in front, a sky, and a dim bounce from below."""
    yaw, height = rng.normal(0, 0.8), rng.uniform(-0.1, 1.1)
    toward = np.array([np.sin(yaw) * np.cos(height), np.sin(height), np.cos(yaw) * np.cos(height)])
    warmth = rng.normal(0, 0.07)
    lamp = np.array([1 + warmth, 1.0, 1 - warmth])
    sky_warmth = rng.normal(0, 0.06)
    sky = np.array([1 + sky_warmth, 1.0, 1 - sky_warmth])
    share = rng.beta(3.0, 1.8)  # of the lamp
    light = share * _lobe(toward)[:, None] * lamp
    light[0] += (1 - share) * sky
    light[1] += (1 - share) * rng.uniform(0.0, 0.5) * sky
    if rng.random() < 0.35:  # a second one, from behind or beside
        rim = np.array([rng.choice([-1, 1]) * rng.uniform(0.6, 1.0), 0.3, -rng.uniform(0.2, 0.9)])
        color = rng.uniform(0.1, 0.5) * rng.uniform(0.8, 1.2, 3)
        light += _lobe(rim / np.linalg.norm(rim))[:, None] * color
    # The camera's exposure: what looks at it is about as bright as its albedo.
    ahead = np.array(
        [[0, 0, 1.0], [0.5, 0, 0.87], [-0.5, 0, 0.87], [0, 0.5, 0.87], [0, -0.3, 0.95]]
    )
    basis = sh_basis(torch.from_numpy(ahead)).numpy()
    seen = np.maximum(basis @ light, IRRADIANCE_FLOOR).mean()
    gain = rng.uniform(0.8, 1.25) / seen
    return Light(
        torch.from_numpy(light * gain).float(),
        torch.from_numpy(toward).float(),
        torch.from_numpy(lamp * share * gain).float(),
    )


def _lobe(toward: np.ndarray) -> Float[np.ndarray, " 9"]:
    """A distant lamp's irradiance in the basis of `avatar3d.light`, 1 where it is met squarely.

    max(0, c) is about 1/4 + c/2 + 5/16 P2(c), c the cosine to the lamp.
    """
    x, y, z = toward
    second = (
        15
        / 32
        * np.array(
            [
                2 * x * y,
                2 * y * z,
                (z * z - (x * x + y * y) / 2) / 3,
                2 * x * z,
                (x * x - y * y) / 2,
            ]
        )
    )
    return np.concatenate([[0.25], [0.5 * y, 0.5 * z, 0.5 * x], second])


def random_camera(rng: np.random.Generator, size_px: int) -> Camera:
    """A crop about a head at the world's origin, near with a wide lens or far with a long one."""
    focal_px = float(np.exp(rng.uniform(*np.log(_FOCAL_AT_512))))
    distance = _HEAD_M * focal_px / _USUAL_FOCAL_PX * rng.uniform(0.98, 1.22)
    viewmat = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0]))
    viewmat[2, 3] = distance
    focal = focal_px * size_px / 512
    K = torch.tensor([[focal, 0.0, size_px / 2], [0.0, focal, size_px / 2], [0.0, 0.0, 1.0]])
    return Camera(viewmat, K, size_px, size_px)


def random_background(rng: np.random.Generator, size_px: int) -> Float[np.ndarray, "S S 3"]:
    """A wall, a room out of focus or a studio, sRGB 0..1."""
    row, column = np.mgrid[:size_px, :size_px] / size_px
    slope = rng.uniform(-0.3, 0.3, 2)
    wall = rng.uniform(0.08, 0.95) * (1 + rng.uniform(-0.10, 0.10, 3))
    tilt = 1 + slope[0] * (row - 0.5) + slope[1] * (column - 0.5)
    picture = wall * tilt[..., None]
    kind = rng.choice(["plain", "room", "foliage"], p=[0.3, 0.5, 0.2])
    if kind == "room":
        for _ in range(rng.integers(4, 14)):
            left, top = rng.uniform(-0.2, 1.0, 2)
            width, height = rng.uniform(0.05, 0.5, 2)
            inside = (abs(column - left) < width / 2) & (abs(row - top) < height / 2)
            shade = rng.uniform(0.05, 1.0) * (1 + rng.uniform(-0.15, 0.15, 3))
            picture[inside] += rng.uniform(0.3, 0.9) * (shade - picture[inside])
    elif kind == "foliage":
        for scale in (8, 20, 48):
            grain = rng.uniform(-1, 1, (scale, scale, 1)) * rng.uniform(0.6, 1.0, 3)
            grown = cv2.resize(grain, (size_px, size_px), interpolation=cv2.INTER_CUBIC)
            picture = picture + 0.16 * np.asarray(grown)
    blur = size_px / 512 * rng.uniform(1.5, 14.0)
    picture = np.asarray(cv2.GaussianBlur(picture.astype(np.float32), (0, 0), blur))
    corner = ramp(np.hypot(row - 0.5, column - 0.5), 0.45, 0.8) * rng.uniform(0, 0.3)
    return np.clip(picture * (1 - corner[..., None]), 0, 1).astype(np.float32)
