"""An episode of a person who is nobody: the mean head with made-up colours, photographed."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch

from avatar3d.avatar import Attributes, Avatar
from avatar3d.codes import ExpressionCode
from recon.fit.start import start_attributes
from recon.prior.episodes import Episode, View
from tests.recon.fit import synthetic as scene


def person() -> Avatar:
    """Skin with a soft gradient, nothing in the layers."""
    template = scene.scene().template
    points = template.neutral_points()
    count = template.count
    spacing = template.spacing.clamp(4e-4, 0.015)
    colors = 0.6 + 2.0 * points * torch.tensor([1.0, -0.5, 0.3])
    rotations = torch.zeros(count, 4)
    rotations[:, 0] = 1.0
    attributes = Attributes(
        offsets=torch.zeros(count, 3),
        rotations=rotations,
        log_scales=(torch.stack([spacing, spacing, 0.3 * spacing], 1) * 0.7).log(),
        opacity_logits=torch.where(template.layer == 0, 4.0, -5.0),
        colors=colors.clamp(0.05, 0.95).contiguous(),
    )
    return Avatar(template.head, torch.zeros(0), attributes, light=None)


@lru_cache(maxsize=2)
def episode(shots: int = 2, name: str = "nobody") -> Episode:
    template = scene.scene().template
    codes = [
        scene.turned(0.25 * math.sin(2.0 * k), jawOpen=0.2 * k % 0.6) for k in range(shots + 3)
    ]
    photos = [scene.photograph(person(), code) for code in codes]
    sightings = [scene.look(photo, code) for photo, code in zip(photos[:shots], codes)]
    views = tuple(
        View(
            torch.from_numpy((photo.colors * 255).round().astype(np.uint8)),
            torch.from_numpy((photo.matte * 255).round().astype(np.uint8)),
            torch.from_numpy(scene.disc(48, 52, 14) > 0),
        )
        for photo in photos
    )
    return Episode(
        person=name,
        head=template.head.name,
        start=start_attributes(template, sightings, 0, 0.1),
        identity=torch.zeros(0),
        camera=scene.CAMERA,
        valid=torch.ones(scene.SIZE_PX, scene.SIZE_PX, dtype=torch.bool),
        support=views[:shots],
        support_codes=ExpressionCode.stack(codes[:shots]),
        queries=views[shots:],
        query_codes=ExpressionCode.stack(codes[shots:]),
    )
