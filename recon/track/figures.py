"""Figures that say how well a tracking explains its landmarks, and whether its codes mean something."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float

from avatar3d.codes import ARKIT_NAMES, ExpressionCode
from recon.capture.mesh_points import EYES, LIPS, OVAL
from recon.track.code_prior import ANTAGONISTS
from recon.track.observation import IRIS_CENTRES
from recon.track.tracking import Tracking

ACTIVE = 0.05  # below this nobody sees a coefficient
_REGIONS = {"lips": LIPS, "eyes": EYES, "oval": OVAL, "iris": IRIS_CENTRES}


def tracking_figures(
    tracking: Tracking, codes: ExpressionCode, landmarks: Float[np.ndarray, "F 478 C"]
) -> dict[str, float]:
    """Figures of `codes` [F, ...] on the landmarks of the same frames (px of the crop).

    residual_px (at a crop of 512) overall and by region, residual_percent of the eye distance;
    active (coefficients above ACTIVE a frame), antagonists (sum over pairs of the smaller one's
    value), asymmetry (mean |left - right| of the paired shapes but gaze). For consecutive frames:
    jitter_px of model and detector (median length of the second difference) and jitter_code.
    """
    scale = 512 / tracking.camera.width
    distance = tracking.residuals_px(codes, landmarks) * scale
    eyes = landmarks[:, IRIS_CENTRES[0], :2] - landmarks[:, IRIS_CENTRES[1], :2]
    eye_distance = np.median(np.linalg.norm(eyes, axis=1)) * scale
    values = codes.coefficients[:, : len(ARKIT_NAMES)]
    figures = {"residual_px": float(distance.mean())}
    figures |= {
        f"residual_{name}_px": float(distance[:, list(ids)].mean())
        for name, ids in _REGIONS.items()
    }
    figures["residual_percent"] = 100 * figures["residual_px"] / float(eye_distance)
    figures["active"] = float((values > ACTIVE).float().sum(1).mean())
    figures["antagonists"] = float(_smaller_of(values, _antagonist_pairs()).sum(1).mean())
    left, right = zip(*_sides())
    figures["asymmetry"] = float((values[:, left] - values[:, right]).abs().mean())
    if len(values) > 2:
        figures["jitter_px"] = _jitter(tracking.project_landmarks(codes)) * scale
        figures["jitter_detector_px"] = _jitter(landmarks[..., :2]) * scale
        second = values[2:] - 2 * values[1:-1] + values[:-2]
        figures["jitter_code"] = float(second.abs().max(dim=1).values.median())
    return figures


def _smaller_of(values: torch.Tensor, pairs: list[tuple[int, int]]) -> torch.Tensor:
    first, second = zip(*pairs)
    return torch.minimum(values[:, first], values[:, second])


def _antagonist_pairs() -> list[tuple[int, int]]:
    index = {name: number for number, name in enumerate(ARKIT_NAMES)}
    named = [(a + side, b + side) for a, b in ANTAGONISTS for side in ("", "Left", "Right")]
    return [(index[a], index[b]) for a, b in named if a in index and b in index]


def _sides() -> list[tuple[int, int]]:
    return [
        (number, ARKIT_NAMES.index(name.removesuffix("Left") + "Right"))
        for number, name in enumerate(ARKIT_NAMES)
        if name.endswith("Left") and not name.startswith(("eyeLook", "jawLeft", "mouthLeft"))
    ]


def _jitter(points: Float[np.ndarray, "F L 2"]) -> float:
    second = points[2:] - 2 * points[1:-1] + points[:-2]
    return float(np.median(np.linalg.norm(second, axis=-1)))
