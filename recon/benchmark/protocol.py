"""The few-shot protocol: which frames of a clip are shown, and which are asked for.

After Zakharov et al. 2019, "Few-Shot Adversarial Learning of Realistic Neural Talking Head
Models": T support frames from the first half of a clip, test frames from the second half, so that
no test frame has a support frame as its neighbour in time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from avatar3d.errors import UserError

Indices = tuple[int, ...]

# MediaPipe's landmarks: the nose's tip and the two ends of the face's outline at the ears' height.
NOSE_TIP, CHEEK_RIGHT, CHEEK_LEFT = 1, 234, 454


@dataclass(frozen=True)
class Protocol:
    """What decides which frames are used; part of the key of the cache of prepared clips."""

    shots: Indices = (1, 8, 32)  # numbers of support frames, T
    test_frames: int = 32
    max_frames: int = 600  # a longer clip is cut here
    crop_px: int = 512  # side of the stored crops


def evenly_spaced(first: int, last: int, count: int, ok: np.ndarray) -> Indices:
    """Up to `count` frames from `first` to `last` (both included), without those where `ok` [F]
    is false and without repeats. A frame that is dropped is not replaced: its neighbour would
    come too close to the next one.
    """
    wanted = np.unique(np.linspace(first, last, count).round().astype(int))
    return tuple(int(index) for index in wanted if ok[index])


def most_frontal(landmarks: np.ndarray, ok: np.ndarray, last: int) -> int:
    """The frame in 0..last whose nose is nearest to the middle between the cheeks (picture x).

    landmarks [F, 478, 3] in px; the first such frame where several tie.
    """
    found = np.flatnonzero(ok[: last + 1])
    nose, right, left = (landmarks[found, k, 0] for k in (NOSE_TIP, CHEEK_RIGHT, CHEEK_LEFT))
    # A profile can have both ends at one x; it is the least frontal view, not an error.
    width = np.maximum(np.abs(left - right), 1e-6)
    asymmetry = np.abs((nose - right) - (left - nose)) / width
    return int(found[np.argmin(asymmetry)])


def support_indices(landmarks: np.ndarray, ok: np.ndarray, shots: int) -> Indices:
    """T = `shots` frames of the first half: evenly spaced, or the most frontal one for T = 1."""
    half = len(ok) // 2
    if shots == 1 and ok[:half].any():
        return (most_frontal(landmarks, ok, half - 1),)
    chosen = evenly_spaced(0, half - 1, shots, ok)
    if not chosen:
        raise UserError(
            f"the first half of the clip must show a face to learn from, but none was found in the "
            f"frames looked at, of {half}; use a clip in which the face is seen from the start"
        )
    return chosen


def test_indices(ok: np.ndarray, count: int) -> Indices:
    """`count` frames of the second half, evenly spaced, the last frame among them."""
    chosen = evenly_spaced(len(ok) // 2, len(ok) - 1, count, ok)
    if not chosen:
        raise UserError(
            f"the second half of the clip must show a face to be tested on, but none was found in "
            f"the {count} frames looked at; use a clip in which the face stays in view"
        )
    return chosen


test_indices.__test__ = False  # type: ignore[attr-defined]  # a function of the protocol, not a pytest case


def thinned(indices: Indices, count: int) -> Indices:
    """`count` of the `indices`, evenly spaced, ends included: the quick run's test frames."""
    if count >= len(indices):
        return indices
    picked = np.unique(np.linspace(0, len(indices) - 1, count).round().astype(int))
    return tuple(indices[k] for k in picked)
