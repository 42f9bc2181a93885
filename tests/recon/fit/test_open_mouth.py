"""One photo with the mouth shut makes a mouth that opens: dark within, no teeth across it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from avatar3d.avatar import Avatar
from avatar3d.binding import Binding
from avatar3d.camera import Camera
from avatar3d.codes import ExpressionCode
from avatar3d.heads import HeadModel, load_head
from avatar3d.heads.model import LandmarkRig
from avatar3d.template import make_template
from recon.fit.fitter import with_prior
from recon.fit.observation import Observation, area_with_closed_eyes, sight
from recon.fit.start import start_attributes
from recon.prior.weights import load_prior
from render.mesh import project_points
from render.rasterize import rasterize
from tests.support.data import data_file

COUNT, SIZE_PX, FOCAL_PX = 40_000, 192, 1400
SKIN = np.array([0.7, 0.5, 0.4], np.float32)
NEUTRAL, OPEN = ExpressionCode.neutral(), ExpressionCode.from_named(jawOpen=0.9)
# MediaPipe's landmarks of the mouth's opening: corners, and where the lips part.
CORNERS, UPPER, LOWER = [78, 308], 13, 14


def shown(head: HeadModel) -> Avatar:
    """The start, with the shipped prior, from a picture of skin on the mean head."""
    template = make_template(head, COUNT)
    binding = Binding(template, None)
    everywhere = np.ones((SIZE_PX, SIZE_PX), np.float32)
    colors = np.broadcast_to(SKIN, (SIZE_PX, SIZE_PX, 3)).astype(np.float32).copy()
    observation = Observation(colors, everywhere, everywhere > 0)
    camera = Camera.frontal(600, SIZE_PX, 0.9)
    with torch.no_grad():
        sighting = sight(
            observation, template, binding, template.head.rig(None), NEUTRAL, camera,
            area_with_closed_eyes(binding),
        )  # fmt: skip
        first = start_attributes(template, [sighting], 0)
        codes = NEUTRAL.coefficients[None]
        start = with_prior(load_prior("clean"), template, first, codes, [sighting])
    return Avatar(head, torch.zeros(head.identity_count), start.attributes, light=start.light)


def opening(avatar: Avatar) -> np.ndarray:
    """Colours [P, 3] within the open lips."""
    landmarks = LandmarkRig(avatar.template.head, avatar.identity).pose(OPEN)
    middle = landmarks[[UPPER, LOWER]].mean(0)
    camera = Camera.look_at(
        middle + torch.tensor([0.0, 0.0, 0.9]), middle, FOCAL_PX, SIZE_PX, SIZE_PX
    )
    with torch.no_grad():
        picture = rasterize(avatar.gaussians(OPEN), camera, background=torch.ones(3)).colors
    points = project_points(landmarks.numpy(), camera.viewmat.numpy(), camera.K.numpy())[0]
    (left, right), top, bottom = sorted(points[CORNERS, 0]), points[UPPER, 1], points[LOWER, 1]
    y, x = np.mgrid[:SIZE_PX, :SIZE_PX] + 0.5
    across = (x - (left + right) / 2) / (0.35 * (right - left))
    down = (y - (top + bottom) / 2) / (0.35 * (bottom - top))
    return picture.numpy()[across**2 + down**2 < 1]


@pytest.mark.parametrize("name", ["default", "ict"])
def test_an_open_mouth_is_dark_within(name: str):
    path = name if name == "default" else data_file("mesh/ict/ict_facekit_packed.npz")
    inside = opening(shown(load_head(path)))
    assert len(inside) > 200
    assert np.median(inside, axis=0).mean() < 0.6 * SKIN.mean()
    white = (inside.min(1) > 0.8 * SKIN.min()).mean()
    assert white < 0.25, "teeth stand across the mouth"
