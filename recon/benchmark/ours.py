"""This project in the few-shot benchmark: track the support, apply the prior, fit, follow landmarks.

`ours` is what `create` makes. `ours-ff` is the prior's answer without refinement, `ours-noprior` the
refinement without prior, `ours_start` neither.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from avatar3d.avatar import Avatar
from avatar3d.codes import ExpressionCode
from avatar3d.heads import load_head
from recon.benchmark.clip import EVAL_PX, PreparedClip, PreparedFrame
from recon.benchmark.method import START, Fitted, Method
from recon.capture.matting import foreground_colors
from recon.fit.fitter import FitConfig, fit_avatar
from recon.fit.observation import Observation
from recon.pipeline import CreateConfig, chosen
from recon.track.frames import track_frames
from recon.track.support import track_support
from recon.track.tracking import Tracking
from render.rasterize import rasterize, warm_up


class Ours(Method):
    """An avatar fitted to the support frames; test codes come from landmarks alone."""

    name = "ours"

    def __init__(
        self,
        head: str = "default",
        config: FitConfig | None = None,
        prior: str | None = None,
    ) -> None:
        """`prior` is one of `recon.prior.SHIPPED` or a file's path, `none`, or create's own."""
        self._head = load_head(head)
        self._config = config
        self._prior = CreateConfig().prior if prior is None else prior
        if self._head.name != "default":
            self.name = f"{self.name}_{self._head.name}"
        warm_up()

    def settings(self) -> dict[str, object]:
        return {
            "head": self._head.name,
            "prior": Path(self._prior).name,
            "fit": dataclasses.asdict(self._config) if self._config else "default for the shots",
        }

    def fit(self, support: Sequence[PreparedFrame], clip: PreparedClip) -> Fitted:
        landmarks = np.stack([frame.landmarks for frame in support])
        size_px = len(support[0].image)
        tracking = track_support(landmarks, size_px, self._head)
        observations = [observe(frame) for frame in support]
        fit = fit_avatar(
            tracking, observations, self._config, landmarks=landmarks, prior=chosen(self._prior)
        )
        return FittedAvatar(fit.avatar, fit.tracking)


class OursWithoutPrior(Ours):
    """Refinement that begins at the unprojected colours."""

    name = "ours-noprior"

    def __init__(self, head: str = "default", config: FitConfig | None = None) -> None:
        super().__init__(head, config, "none")


class OursFeedForward(Ours):
    """The prior's answer as it is."""

    name = "ours-ff"

    def __init__(
        self, head: str = "default", config: FitConfig | None = None, prior: str | None = None
    ) -> None:
        super().__init__(head, _unrefined(config), prior)


class OursStart(Ours):
    """The avatar before prior and refinement: what both have to beat."""

    def __init__(self, head: str = "default", config: FitConfig | None = None) -> None:
        super().__init__(head, _unrefined(config), "none")
        self.name += START


def _unrefined(config: FitConfig | None) -> FitConfig:
    config = config or FitConfig()
    still = replace(config.refine, iterations=0, iterations_per_frame=0, max_iterations=0)
    return replace(config, refine=still)


def observe(frame: PreparedFrame) -> Observation:
    """A support frame as the fit sees it."""
    alpha = frame.alpha()
    return Observation(foreground_colors(frame.picture(), alpha), alpha, frame.inside())


class FittedAvatar(Fitted):
    """An avatar and the tracker that knows its person."""

    def __init__(self, avatar: Avatar, tracking: Tracking) -> None:
        self.avatar = avatar
        self.tracking = tracking

    def code(self, landmarks: np.ndarray) -> ExpressionCode:
        """The code of one frame's landmarks [478, 3], px of the crop."""
        return track_frames(self.tracking, landmarks[None]).at(0)

    def render(self, test_index: int, clip: PreparedClip) -> np.ndarray:
        camera = self.tracking.camera.resized(EVAL_PX, EVAL_PX)
        with torch.no_grad():
            gaussians = self.avatar.gaussians(self.code(clip.landmarks[test_index]))
            picture = rasterize(gaussians, camera, background=torch.ones(3)).colors
        return picture.clamp(0, 1).numpy()

    def figures(self) -> dict[str, float]:
        return {"gaussians": float(self.avatar.count)}
