"""Rigid stabilisation: the skull's motion taken out of a mesh sequence."""

from __future__ import annotations

import numpy as np

from avatar3d.heads.fitting.alignment import Similarity, align


def stabilise(
    sequence: np.ndarray,
    reference: np.ndarray,
    weights: np.ndarray | None = None,
    *,
    iterations: int = 30,
    scale_m: float = 1e-3,
) -> tuple[np.ndarray, list[Similarity]]:
    """Frames [T, V, 3] moved back onto `reference` [V, 3] as if the skull had stood still.

    The skull is not seen, only skin that slides over it. So each frame's rigid motion is a robust
    one: vertices that moved by more than about `scale_m` beyond the common motion count less and
    less (Geman-McClure), which leaves forehead, nose bridge and temples to decide while a mouth
    opens. `weights` [V] name the region that may decide at all. Returns the stabilised frames
    [T, V, 3] and the rigid motions that take the reference's skull to each frame.
    """
    if sequence.ndim != 3 or sequence.shape[1:] != reference.shape:
        raise ValueError(
            f"stabilise needs frames [T, V, 3] of the reference's vertices, got {sequence.shape} "
            f"for {reference.shape}"
        )
    given = np.ones(len(reference)) if weights is None else np.asarray(weights, np.float64)
    used = given > 0
    share, rest = given[used], np.asarray(reference, np.float64)[used]
    stable, motions = np.empty(sequence.shape), []
    for index, frame in enumerate(np.asarray(sequence, np.float64)):
        seen = frame[used]
        motion = align(rest, seen, share, with_scale=False)
        # From a wide basin to a narrow one, so that a bad beginning does not decide.
        for width in np.geomspace(20 * scale_m, scale_m, iterations):
            squared = ((motion(rest) - seen) ** 2).sum(1)
            trust = (width**2 / (width**2 + squared)) ** 2
            motion = align(rest, seen, share * trust, with_scale=False)
        stable[index] = motion.inverse()(frame)
        motions.append(motion)
    return stable, motions
