"""The webcam's face: landmarks that a page has found in its camera's picture, to codes.

The picture stays in the browser; only where the 478 points are comes here, and the live tracker
(`recon.track.live`) makes of them what it would of its own.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from avatar3d.errors import UserError
from viewer.messages import Landmarks, Tracked

POINTS = 478
MAX_SIDE_PX = 16_384
_REST = (0.0,) * 52, (1.0, 0.0, 0.0, 0.0), (0.0, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0)


class FaceOfPage:
    """One page's tracker, made when its first landmarks come."""

    def __init__(self, head: str) -> None:
        self._head = head
        self._solver = None
        self._time_s = -np.inf
        self._origin_m: Tensor | None = None

    def solve(self, seen: Landmarks) -> Tracked:
        """The code of what the page sees now; a sentence where there can be none."""
        try:
            return self._solve(seen)
        except UserError as error:
            return Tracked(*_REST, status="lost", problem=str(error))

    def _solve(self, seen: Landmarks) -> Tracked:
        points = np.asarray(seen.points, np.float64)
        sides = (seen.width, seen.height)
        if len(points) not in (0, 2 * POINTS) or not all(
            16 <= side <= MAX_SIDE_PX for side in sides
        ):
            raise UserError(f"Expected {POINTS} landmarks in a picture of at least 16 pixels.")
        if np.abs(points).max(initial=0.0) > 4 * MAX_SIDE_PX:
            raise UserError("The landmarks lie far outside the picture.")
        if self._solver is None:
            from avatar3d.heads import load_head
            from recon.track.live import LiveSolver

            self._solver = LiveSolver(load_head(self._head))
        elif seen.begin or seen.time_s < self._time_s:
            self._solver.recalibrate()
            self._origin_m = None
        self._time_s = seen.time_s
        found = points.reshape(POINTS, 2) if len(points) else None
        frame = self._solver(found, sides, seen.time_s)
        code = frame.code
        # However the user sits before the camera, the avatar begins where it stands.
        if self._origin_m is None and frame.status == "tracked":
            self._origin_m = code.head_translation
        moved = torch.zeros(3) if self._origin_m is None else code.head_translation - self._origin_m
        values = (code.coefficients, code.head_rotation, moved, code.neck_rotation)
        parts = (tuple(round(x, 5) for x in value.tolist()) for value in values)
        return Tracked(*parts, status=frame.status, problem=None)
