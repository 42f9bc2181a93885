"""Learn where the detector sees a head's landmarks: a 3D offset each, over clips of many people.

    python -m recon.track.learn_offsets --head default CLIP...

Run it again when a head's landmarks have moved.

Alternates between tracking every clip and one ridge regression: at its final pose each frame says
in which direction of the picture every landmark is off; over poses that determines three
dimensions. The offsets are symmetric, and hold no rigid motion, which belongs to the poses.

A coefficient that most people seem to use most of the time is not an expression but a neutral face
that differs from the detector's: its usual value goes into the offsets too.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro
from jaxtyping import Float
from safetensors.numpy import save_file

from avatar3d.cli import run_script
from avatar3d.errors import UserError
from avatar3d.heads import HeadModel, load_head
from recon.capture import read_video, stable_head_crop, track_faces
from recon.capture.measure import refine_landmarks
from recon.capture.mirror import MIRROR
from recon.track.landmark_shape import (
    LANDMARK_OFFSETS,
    build_landmark_shape,
    learned_offsets,
)
from recon.track.observation import NOISE_M, frame_weights
from recon.track.rotation import skew
from recon.track.support import SupportSettings, solve_support
from recon.track.tracking import landmark_directions, prior_of_shape

OFFSET_SIGMA_M = 4e-3  # how far offsets are expected to reach
RESTING_QUANTILE = 0.2  # a clip's coefficient is at rest in at least this share of its frames


@dataclass(frozen=True)
class LearnedOffsets:
    offsets: Float[np.ndarray, "478 3"]  # metres, head frame
    residual_px: list[float]  # mean landmark distance at 512, a round


def learn_offsets(
    head: HeadModel,
    clips: Iterable[Float[np.ndarray, "F 478 2"]],
    rounds: int = 6,
    focal_px: float = 1500.0,
) -> LearnedOffsets:
    """`clips` hold landmarks of one person each, px about the centre of a 512 px crop."""
    clips = list(clips)
    settings = SupportSettings(joint_steps=6, final_steps=1)
    offsets = np.zeros((478, 3))
    residuals = []
    for _ in range(rounds):
        shape = build_landmark_shape(head, offsets)
        prior = prior_of_shape(shape, head.expression_names, settings.code)
        system = np.zeros((478, 3, 3))
        target = np.zeros((478, 3))
        lengths, rests = [], []
        for landmarks_px in clips:
            identity, focal, state = solve_support(shape, prior, landmarks_px, focal_px, settings)
            person = shape.of_person(identity)
            residual, directions = landmark_directions(person, state, landmarks_px, focal)
            weights = frame_weights(residual, landmarks_px, state.pose, person, focal)
            # How far a frame is trusted against the others; landmarks are not compared.
            weights = weights / weights.mean(0).clip(1e-12) / len(landmarks_px)
            px = focal / state.pose.translation[:, 2:3] * NOISE_M
            weighted = (weights / px**2)[..., None, None] * directions
            system += np.einsum("flij,flik->ljk", weighted, directions)
            target += np.einsum("flij,fli->lj", weighted, residual)
            lengths.append(np.linalg.norm(residual, axis=-1).mean())
            rests.append(np.quantile(state.codes, RESTING_QUANTILE, axis=0))
        resting = np.median(rests, axis=0)
        system += np.eye(3) / OFFSET_SIGMA_M**2  # every clip counts as one observation
        target -= offsets / OFFSET_SIGMA_M**2
        step = np.linalg.solve(system, target[..., None])[..., 0]
        neutral_bias = shape.points(resting[None])[0] - shape.neutral
        offsets = _symmetric(offsets + step + neutral_bias)
        offsets -= _rigid_part(offsets, shape.neutral)
        residuals.append(float(np.mean(lengths)))
    return LearnedOffsets(offsets, residuals)


def _symmetric(offsets: np.ndarray) -> np.ndarray:
    return (offsets + offsets[MIRROR] * np.array([-1.0, 1.0, 1.0])) / 2


def _rigid_part(offsets: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The translation and small turn that explain the offsets best."""
    basis = np.concatenate([np.repeat(np.eye(3)[None], 478, axis=0), -skew(points)], axis=2)
    basis = basis.reshape(-1, 6)
    return (basis @ (np.linalg.pinv(basis) @ offsets.reshape(-1))).reshape(478, 3)


def save_offsets(head_name: str, offsets: Float[np.ndarray, "478 3"], path: Path) -> None:
    """Add or replace one head's offsets in the file of all."""
    tensors = {name: value.astype(np.float32) for name, value in learned_offsets().items()}
    tensors[head_name] = offsets.astype(np.float32)
    save_file(tensors, str(path))
    learned_offsets.cache_clear()


def clip_landmarks(
    path: Path, frames: int = 8, max_frames: int = 240
) -> Float[np.ndarray, "F 478 2"]:
    """Landmarks of evenly spaced frames of a clip as `create` measures them, px about the centre of
    its 512 px crop."""
    track = track_faces(read_video(path, max_frames=max_frames))
    found = np.where(track.found)[0]
    chosen = found[np.linspace(0, len(found) - 1, frames).round().astype(int)]
    crop = stable_head_crop(track.landmarks, 512)
    rows = {int(track.indices[row]): row for row in chosen}
    measured = [
        refine_landmarks(frame.flattened(grey=127), track.landmarks[rows[frame.index]])
        for frame in read_video(path, max_frames=max_frames)
        if frame.index in rows
    ]
    return crop.to_crop(np.stack(measured)[..., :2].reshape(-1, 2)).reshape(-1, 478, 2) - 256.0


def main(
    clips: tyro.conf.Positional[tuple[Path, ...]],
    /,
    head: str = "default",
    rounds: int = 4,
) -> None:
    """Learn a head's landmark offsets over clips.

    Args:
        clips: Videos, one person each.
        head: Head model: a name or the path of its file.
        rounds: How often clips are tracked and offsets solved for.
    """
    if not clips:
        raise UserError("nothing to learn from; name one or more videos, one person each")
    model = load_head(head)
    learned = learn_offsets(model, [clip_landmarks(clip) for clip in clips], rounds)
    save_offsets(model.name, learned.offsets, LANDMARK_OFFSETS)
    errors = " ".join(f"{value:.2f}" for value in learned.residual_px)
    length_mm = 1e3 * np.sqrt((learned.offsets**2).sum(1).mean())
    print(f"{model.name}: residual px {errors}; offsets {length_mm:.1f} mm rms")


if __name__ == "__main__":
    run_script(main)
