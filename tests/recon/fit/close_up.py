"""Eyes and mouth from near: a mean head of many anchors before a long lens."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch

from avatar3d.binding import Binding
from avatar3d.camera import Camera
from avatar3d.codes import ExpressionCode
from avatar3d.heads import load_head
from avatar3d.template import Template, make_template
from recon.fit.observation import Observation, Sighting, area_with_closed_eyes, sight
from recon.fit.start import Confidence, Start
from tests.support.avatars import plain_avatar

COUNT, SIZE_PX = 20_000, 256
CAMERA = Camera.frontal(focal_length_px=1400, size_px=SIZE_PX, distance_m=0.9)


class Scene(NamedTuple):
    template: Template
    binding: Binding
    closed: torch.Tensor


@lru_cache(maxsize=1)
def scene() -> Scene:
    template = make_template(load_head("default"), COUNT)
    binding = Binding(template, None)
    return Scene(template, binding, area_with_closed_eyes(binding))


def photograph(picture: np.ndarray, code: ExpressionCode, camera: Camera = CAMERA) -> Sighting:
    """A picture [S, S, 3], or one colour all over, as a photo tracked as `code`."""
    template, binding, closed = scene()
    everywhere = np.ones((SIZE_PX, SIZE_PX), np.float32)
    shown = np.broadcast_to(picture, (SIZE_PX, SIZE_PX, 3)).astype(np.float32).copy()
    observation = Observation(shown, everywhere, everywhere > 0)
    with torch.no_grad():
        rig = template.head.rig(None)
        return sight(observation, template, binding, rig, code, camera, closed)


def unknown() -> Start:
    """Nothing is known of anything: grey, and half transparent."""
    attributes = plain_avatar(COUNT).attributes
    attributes = replace(
        attributes, opacity_logits=torch.zeros(COUNT), colors=torch.full((COUNT, 3), 0.5)
    )
    one = torch.ones(COUNT, 1)
    return Start(
        attributes, Confidence(one, one, one), np.ones(COUNT, np.float32), None,
        torch.zeros(COUNT, 3), torch.ones(COUNT),
    )  # fmt: skip
