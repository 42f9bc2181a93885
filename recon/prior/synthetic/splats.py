"""Pieces of a synthetic person: Gaussians in the head frame at rest, each bound to an anchor."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Float, Int


@dataclass(frozen=True)
class Splats:
    """Gaussians as they stand on the person's neutral face, metres in the head frame."""

    anchor: Int[np.ndarray, " N"]  # of the scaffold: what each rides on
    points: Float[np.ndarray, "N 3"]
    axes: Float[np.ndarray, "N 3 3"]  # columns: directions of the scales
    scales: Float[np.ndarray, "N 3"]  # standard deviations
    opacity: Float[np.ndarray, " N"]
    colors: Float[np.ndarray, "N 3"]  # sRGB albedo
    normals: Float[np.ndarray, "N 3"]  # for the light
    shadow: Float[np.ndarray, " N"]  # share of the surroundings' light that arrives
    gloss: Float[np.ndarray, " N"]  # strength of the highlight
    sharpness: Float[np.ndarray, " N"]  # its exponent; negative: a strand's, along the first axis

    def __len__(self) -> int:
        return len(self.anchor)


def joined(parts: list[Splats]) -> Splats:
    return Splats(
        *(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(Splats))
    )


def upright(direction: Float[np.ndarray, "N 3"], normal: Float[np.ndarray, "N 3"]) -> np.ndarray:
    """Rotations [N, 3, 3]: the first axis along `direction`, the third near `normal`."""
    first = _unit(direction)
    second = np.cross(normal, first)
    awkward = np.linalg.norm(second, axis=1) < 1e-3  # the two are parallel
    second[awkward] = np.cross(first[awkward], first[awkward][:, [1, 2, 0]] + [0.3, 0.0, 0.0])
    second = _unit(second)
    return np.stack([first, second, np.cross(first, second)], axis=2)


def tubes(
    curves: Float[np.ndarray, "S K 3"],
    radius: Float[np.ndarray, "S K-1"],
    normals: Float[np.ndarray, "S K-1 3"],
    overlap: float = 0.42,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Curves as chains of elongated Gaussians: points, axes, scales of S * (K - 1) pieces."""
    step = curves[:, 1:] - curves[:, :-1]
    length = np.linalg.norm(step, axis=2).reshape(-1)
    points = (0.5 * (curves[:, 1:] + curves[:, :-1])).reshape(-1, 3)
    axes = upright(step.reshape(-1, 3), normals.reshape(-1, 3))
    thin = radius.reshape(-1)
    return points, axes, np.stack([np.maximum(overlap * length, thin), thin, thin], axis=1)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)
