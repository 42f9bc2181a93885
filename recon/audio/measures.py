"""Seven measures of a mouth, of any landmarks: the detector's, or a head's that is posed by a code.

In units of the distance between the outer corners of the eyes, in a frame that moves with the skull.
A driver from sound is judged by them, because they do not depend on how a head model was fitted.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

MEASURES = ("opening", "jaw", "width", "protrusion", "upper lip", "lower lip", "corners")

# Points that expressions hardly move: corners of the eyes, bridge of the nose, temples, forehead.
_STABLE = [33, 133, 362, 263, 168, 6, 197, 195, 5, 4, 10, 109, 338, 2, 98, 327, 127, 356, 9, 8]
_RIGHT_EYE, _LEFT_EYE, _BRIDGE, _NOSE_BASE = 33, 263, 168, 2
_INNER_LIPS = ((13, 14), (82, 87), (312, 317))  # upper, lower
_CHIN, _BROW_BRIDGE, _NOSE = [152, 148, 377], [168, 6], [2, 98, 327]
_CORNERS, _MIDDLE_LIPS = [61, 291], [0, 17, 13, 14]
_UPPER_LIP, _LOWER_LIP = [13, 82, 312, 0], [14, 87, 317, 17]


def mouth_measures(landmarks: Float[np.ndarray, "F 478 3"]) -> Float[np.ndarray, "F 7"]:
    """Measures of `skull_frame` landmarks: y down, z away from the viewer (the detector's axes)."""
    y, z = landmarks[..., 1], landmarks[..., 2]

    def height(ids: list[int]) -> np.ndarray:
        return y[:, ids].mean(1)

    def distance(first: int, second: int) -> np.ndarray:
        return np.linalg.norm(landmarks[:, first] - landmarks[:, second], axis=1)

    nose = height(_NOSE)
    return np.stack(
        [
            np.mean([distance(*pair) for pair in _INNER_LIPS], axis=0),
            height(_CHIN) - height(_BROW_BRIDGE),
            distance(*_CORNERS),
            z[:, _CORNERS].mean(1) - z[:, _MIDDLE_LIPS].mean(1),
            nose - height(_UPPER_LIP),  # up is positive
            height(_LOWER_LIP) - nose,  # down is positive
            nose - height(_CORNERS),  # up is positive
        ],
        axis=1,
    )


def skull_frame(landmarks: Float[np.ndarray, "F 478 3"]) -> Float[np.ndarray, "F 478 3"]:
    """Rotation, place and size of each frame taken out by the points that expressions leave alone.

    x runs along the eyes, y down the nose; the outer corners of the eyes are 1 apart on average.
    """
    points = landmarks.astype(np.float64)
    stable = points[:, _STABLE]
    centre = stable.mean(1, keepdims=True)
    size = np.linalg.norm(stable - centre, axis=(1, 2))[:, None, None]
    points, stable = (points - centre) / size, (stable - centre) / size
    reference = stable[len(stable) // 2]
    for _ in range(3):  # generalised Procrustes: settles in two or three rounds
        turned = stable @ _rotations(stable, reference)
        reference = turned.mean(0)
        reference /= np.linalg.norm(reference)
    points = points @ _rotations(stable, reference)
    mean = points.mean(0)
    x = _unit(mean[_LEFT_EYE] - mean[_RIGHT_EYE])
    down = mean[_NOSE_BASE] - mean[_BRIDGE]
    y = _unit(down - x * (down @ x))
    points = (points - mean[_BRIDGE]) @ np.stack([x, y, np.cross(x, y)], axis=1)
    eyes = np.linalg.norm(points[:, _RIGHT_EYE] - points[:, _LEFT_EYE], axis=1)
    return points / eyes.mean()


def _rotations(points: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """R [F, 3, 3] with points @ R nearest to the reference (Kabsch)."""
    u, _, vt = np.linalg.svd(np.einsum("fpi,pj->fij", points, reference))
    flip = np.ones((len(points), 1, 3))
    flip[:, 0, 2] = np.sign(np.linalg.det(u @ vt))
    return (u * flip) @ vt


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)
