"""The live solver's model as one small file, and vectors to test ports of it with.

    python -m recon.track.live_export model.json --vectors vectors.json

JSON, lengths rounded to a hundredth of a micrometre (a solver ends its steps by a threshold, and must
cross it in the same frames); every array is a flat list in C order beside its shape. The
page in the browser loads it and computes the same codes (docs/live_tracking.md).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro

from avatar3d.animation.smoothing import (
    PLACE_CUTOFF,
    SPEED_CUTOFF_HZ,
    TURN_CUTOFF,
    coefficient_cutoffs,
)
from avatar3d.cli import run_script
from avatar3d.codes import ARKIT_INDEX, ExpressionCode
from avatar3d.files import atomic_output
from avatar3d.heads import HeadModel, load_head
from avatar3d.heads.skinning import HEAD, NECK
from recon.track import bust, live, live_solver, neutral, observation
from recon.track.learn_response import DISTANCE_M, FOCAL_PX, SIZE_PX, random_codes
from recon.track.linear_face import SQUARED, linear_face
from recon.track.live import LiveSettings, LiveSolver, live_prior

FORMAT = 1
VECTOR_FRAMES = 90


def live_model(head: HeadModel, settings: LiveSettings | None = None) -> dict[str, Any]:
    """Everything that `LiveSolver` computes with but the landmarks."""
    settings = settings or LiveSettings()
    face = linear_face(head)
    prior = live_prior(face, head.expression_names, settings.prior)
    joints = head.joints.numpy()
    return {
        "format": FORMAT,
        "head": head.name,
        "names": list(head.expression_names),
        "squared": list(SQUARED),
        "landmarks": face.landmarks.tolist(),
        "rigid_rows": face.rigid_rows,
        "gaps": face.gaps.tolist(),
        "iris_rows": [list(rows) for rows in face.iris_rows],
        "iris_centres": list(observation.IRIS_CENTRES),
        "neutral": _flat(face.neutral),
        "identity": _flat(face.identity),
        "expression": _flat(face.expression),
        "squares": _flat(face.squares),
        "turns": _flat(face.turns),
        "normals": _flat(face.normals),
        "weights": _flat(face.weights),
        "prior": {
            "l1": _flat(prior.l1),
            "epsilon": prior.epsilon,
            "quadratic": _flat(prior.quadratic),
            "exclusion": _flat(prior.exclusion),
            "lips": prior.lips,
            "close": prior.close,
            "jaw": prior.jaw,
        },
        "near": {
            "code": settings.near.code,
            "rotation": settings.near.rotation,
            "translation": list(settings.near.translation),
        },
        "smoothing": {
            "coefficients": _flat(coefficient_cutoffs(head.expression_names)),
            "turn": list(TURN_CUTOFF),
            "place": list(PLACE_CUTOFF),
            "speed_hz": SPEED_CUTOFF_HZ,
        },
        "joints": {"neck": _rounded(joints[NECK]), "head": _rounded(joints[HEAD])},
        "constants": {
            **{name: getattr(observation, name) for name in _OBSERVATION},
            "damping": live_solver.DAMPING,
            "pivot_rounds": live_solver.PIVOT_ROUNDS,
            "max_turn": live_solver.MAX_TURN,
            "steps": settings.steps,
            "settled": live_solver.SETTLED,
            "calibration_s": settings.calibration_s,
            "calibration_frames": live.CALIBRATION_FRAMES,
            "calibration_turn_rad": live.CALIBRATION_TURN_RAD,
            "calibration_stir": live.CALIBRATION_STIR,
            "calibration_rounds": neutral.ROUNDS,
            "identity_weight": neutral.IDENTITY_WEIGHT,
            "offset_sigma_m": neutral.OFFSET_SIGMA_M,
            "shrink_frames": neutral.SHRINK_FRAMES,
            "pupils_m": live.PUPILS_M,
            "assumed_distance_m": live.ASSUMED_DISTANCE_M,
            "focal_range": list(live.FOCAL_RANGE),
            "broken": live.BROKEN,
            "blink_from": live.BLINK_FROM,
            "blink_shut": live.BLINK_SHUT,
            "side_from_rad": settings.side_from_rad,
            "side_to_rad": settings.side_to_rad,
            "hold_s": settings.hold_s,
            "fade_s": settings.fade_s,
            "blend_s": settings.blend_s,
            "longest_step_s": live.LONGEST_STEP_S,
            "waist_below_neck_m": bust.WAIST_BELOW_NECK_M,
            "reference_yaw_share": bust.REFERENCE_YAW_SHARE,
        },
    }


_OBSERVATION = (
    "NOISE_M", "OUTLIER_M", "TURN_NOISE", "FACING", "AVERTED", "HIDDEN_WEIGHT", "IRIS_HIDDEN_M",
    "IRIS_SEEN_M", "GAP_NOISE_M", "GAP_NOISE_SHARE", "INDEPENDENT_GAPS",
)  # fmt: skip


def port_vectors(head: HeadModel, frames: int = VECTOR_FRAMES, seed: int = 5) -> dict[str, Any]:
    """Landmarks of a posed head, one a 30th of a second, and the codes that come of them.

    The landmarks are the model's own with noise; no picture and no person is behind them. Frame 40
    to 44 have no face. `state` is the solver's, before smoothing; `code` what is shown.
    """
    codes = random_codes(head, frames, seed)
    rng = np.random.default_rng(seed)
    identity = torch.from_numpy(rng.normal(0, 0.7, head.identity_count)).float()
    resting = min(30, frames)
    codes.coefficients[:resting] = 0.0
    codes.coefficients[4:9, ARKIT_INDEX["jawOpen"]] = 0.6  # said something before all was learned
    rest = ExpressionCode.neutral(resting)
    codes.head_rotation[:resting] = rest.head_rotation
    seen = head.landmarks(identity, codes).double().numpy()
    at = seen * [1.0, -1.0, -1.0] + [0.0, 0.0, DISTANCE_M]
    px = FOCAL_PX * at[..., :2] / at[..., 2:] + SIZE_PX / 2 + rng.normal(0, 0.2, at[..., :2].shape)
    px = px.round(2)
    solver = LiveSolver(head, LiveSettings(calibration_s=0.5))
    rows = []
    for index in range(frames):
        missing = 40 <= index < 45
        found = None if missing else px[index]
        shown = solver(found, (SIZE_PX, SIZE_PX), index / 30)
        state = solver.state
        row: dict[str, Any] = {
            "time_s": round(index / 30, 6),
            "landmarks_px": None if missing else _flat(px[index], 2)["values"],
            "status": shown.status,
            "coefficients": _rounded(shown.code.coefficients.numpy()),
            "head_rotation": _rounded(shown.code.head_rotation.numpy()),
            "head_translation": _rounded(shown.code.head_translation.numpy()),
            "neck_rotation": _rounded(shown.code.neck_rotation.numpy()),
        }
        if not missing and state is not None:
            row["state"] = {
                "rotation": _rounded(state.rotation.ravel()),
                "translation": _rounded(state.translation),
                "code": _rounded(state.code),
            }
        rows.append(row)
    return {
        "format": FORMAT,
        "head": head.name,
        "size_px": [SIZE_PX, SIZE_PX],
        "calibration_s": 0.5,
        "frames": rows,
    }


def _flat(array: np.ndarray, digits: int = 8) -> dict[str, Any]:
    return {"shape": list(array.shape), "values": _rounded(array.ravel(), digits)}


def _rounded(values: np.ndarray, digits: int = 6) -> list[float]:
    return [float(value) for value in np.round(np.asarray(values, np.float64), digits)]


def main(
    model: tyro.conf.Positional[Path],
    /,
    vectors: Path | None = None,
    head: str = "default",
) -> None:
    """Write the live solver's model as JSON.

    Args:
        model: The file to write.
        vectors: Also write test vectors here.
        head: Head model: default, ict, or the path of its file.
    """
    found = load_head(head)
    files = {model: live_model(found)}
    if vectors is not None:
        files[vectors] = port_vectors(found)
    for path, content in files.items():
        with atomic_output(path) as temporary:
            temporary.write_text(json.dumps(content, separators=(",", ":")), encoding="utf-8")
        print(f"wrote {path} ({path.stat().st_size / 1e6:.2f} MB)")


if __name__ == "__main__":
    run_script(main)
