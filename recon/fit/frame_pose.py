"""One frame's pose and code, refined step by step on its pixels."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from avatar3d.binding import Binding, Frames
from avatar3d.codes import ExpressionCode
from avatar3d.fused.anchors import FusedAnchors
from avatar3d.fused.gradient import shading
from avatar3d.geometry import quaternion_multiply, rotation_vector_to_quaternion
from recon.fit.config import PoseRates

_ORIENTATION_EVERY = 6


class Light(NamedTuple):
    """What falls on an avatar's anchors."""

    coefficients: Tensor | None  # [9, 3]
    lit: Tensor  # [N] bool


class FramePose:
    """One frame's code, refined as small steps from where the tracker put it."""

    def __init__(self, code: ExpressionCode, light: Light, rates: PoseRates) -> None:
        self._tracked, self._light = code, light
        self._rotation, self._translation, self._neck = (
            code.coefficients.new_zeros(3, requires_grad=True) for _ in range(3)
        )
        self._coefficients = code.coefficients.clone().requires_grad_()
        groups = [
            (self._rotation, rates.rotation),
            (self._translation, rates.translation),
            (self._coefficients, rates.coefficients),
            (self._neck, rates.neck),
        ]
        self._rates = [rate for _, rate in groups]
        self._optimizer = torch.optim.Adam(
            [{"params": [value], "lr": rate} for value, rate in groups], betas=(0.8, 0.95)
        )
        self._cached: tuple[Frames, Tensor] | None = None
        self._visits = 0  # with gradient

    def frames(
        self, anchors: Binding | FusedAnchors, with_gradient: bool
    ) -> tuple[Frames, ExpressionCode, Tensor]:
        """The posed anchors, the code, and the light [N, 3] that falls on them; with gradient, the
        positions carry it to the code.

        A refined code turns its anchors by a degree or two over all steps, so their orientation
        is taken from the cache and renewed now and then.
        """
        old = with_gradient and self._visits > 0 and self._visits % _ORIENTATION_EVERY == 0
        if self._cached is None or old:
            with torch.no_grad():
                frames = anchors.frames(self._current())
                self._cached = frames, shading(frames, *self._light)
        frames, shade = self._cached
        if not with_gradient:
            with torch.no_grad():
                return frames, self._current(), shade
        self._visits += 1
        code = self._current()
        return frames._replace(positions=anchors.positions(code)), code, shade

    def _current(self) -> ExpressionCode:
        turn = rotation_vector_to_quaternion
        return ExpressionCode(
            self._coefficients,
            quaternion_multiply(turn(self._rotation), self._tracked.head_rotation),
            self._tracked.head_translation + self._translation,
            quaternion_multiply(turn(self._neck), self._tracked.neck_rotation),
        )

    def moves(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """How far it is from the tracker's code: rotation vector, metres, neck's rotation vector,
        coefficients; with gradient."""
        from_tracked = self._coefficients - self._tracked.coefficients
        return self._rotation, self._translation, self._neck, from_tracked

    @torch.no_grad()
    def step(self, decay: float) -> None:
        for group, rate in zip(self._optimizer.param_groups, self._rates):
            group["lr"] = rate * decay
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self._coefficients.clamp_(0.0, 1.0)

    @torch.no_grad()
    def code(self) -> ExpressionCode:
        return ExpressionCode(*(value.detach().clone() for value in self._current()))
