"""The nearest of a set of points, by SciPy's tree with arrays of one shape whatever is asked for; and
the head's other side, whose points are so often asked for; and what such a set shows finer than its
neighbourhoods."""

from __future__ import annotations

import numpy as np
from scipy.spatial import KDTree


def nearest(
    points: np.ndarray, queries: np.ndarray, count: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Distances and indices, [Q, count] each, of the points [P, D] nearest to queries [Q, D]."""
    distance, index = KDTree(points).query(queries, k=count, workers=-1)
    shape = (len(queries), count)
    return np.asarray(distance).reshape(shape), np.asarray(index).reshape(shape)


def reflected(points: np.ndarray) -> np.ndarray:
    """Where points [..., 3] of the head frame lie on its other side."""
    return points * np.array([-1, 1, 1], points.dtype)


def neighbours(points: np.ndarray, count: int) -> np.ndarray:
    """Indices [P, count] of every point's nearest others."""
    return nearest(points, points, count + 1)[1][:, 1:]


def detail(points: np.ndarray, values: np.ndarray, count: int) -> np.ndarray:
    """How values [P, C] at points differ from the mean of their nearest `count` others: what of them
    is finer than these lie apart."""
    return values - values[neighbours(points, count)].mean(1)
