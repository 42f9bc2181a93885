"""Let landmark-only tracking land where the pixels said: a personal offset for every landmark.

The fit refines poses and codes of the support frames on their pixels. What then remains between
model and detector is how the detector sees this person (a moustache, a heavy lid), not motion.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from avatar3d.codes import ExpressionCode
from recon.track.landmark_shape import landmark_shape
from recon.track.observation import NOISE_M
from recon.track.tracking import Tracking, landmark_directions, observe

SHRINK_FRAMES = 0.2  # the mean residual of F frames is believed F / (F + this)
OFFSET_SIGMA_M = 2e-3  # how far a personal offset may well reach; decides unseen directions


def calibrate(
    tracking: Tracking,
    landmarks: Float[np.ndarray, "F 478 C"] | Tensor,
    codes_refined: ExpressionCode,
) -> Tracking:
    """The tracking with `codes_refined` [F, ...] as its codes and the personal offsets they imply.

    `landmarks` are those of the same frames, px of the crop. Each offset is the ridge solution of
    the frames' residuals, times F / (F + SHRINK_FRAMES). The bust's reference stays, so that
    codes made before remain valid.
    """
    observation = observe(landmarks, tracking.camera.width)
    state = tracking.to_state(codes_refined).at(observation.found)
    seen = observation.at(observation.found)
    # Offsets start from the head's own, so that calibrating twice does not add up.
    person = landmark_shape(tracking.head).of_person(tracking.identity.double().numpy())
    residual_px, by_offset = landmark_directions(
        person, state, seen.landmarks_px, tracking.focal_px
    )
    noise_px = NOISE_M * tracking.focal_px / state.pose.translation[:, 2]
    scaled = by_offset / noise_px[:, None, None, None]
    system = np.einsum("flij,flik->ljk", scaled, scaled) + np.eye(3) / OFFSET_SIGMA_M**2
    target = np.einsum("flij,fli->lj", scaled, residual_px / noise_px[:, None, None])
    frames = len(residual_px)
    offsets = np.linalg.solve(system, target[..., None])[..., 0] * frames / (frames + SHRINK_FRAMES)

    calibrated = replace(
        tracking, codes=codes_refined, landmark_offsets=torch.from_numpy(offsets).float()
    )
    residual = calibrated.residuals_px(codes_refined, np.asarray(landmarks)).mean(1)
    return replace(calibrated, residual_px=torch.from_numpy(residual).float())
