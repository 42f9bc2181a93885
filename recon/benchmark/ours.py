"""This project in the few-shot benchmark: track the support, apply the prior, fit, follow landmarks.

`ours` is what `create` makes; `ours-linear` has a linear prior instead of the network, `ours-ff` is
the prior's answer without refinement, `ours-noprior` the refinement without prior, `ours_start`
neither; `ours-unaided` tracks test frames without the avatar's help. `ours-pixels` is `ours` with the
test frames' codes refined on their own pixels, as photometric trackers do: another column, which says
so.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from avatar3d.avatar import Avatar
from avatar3d.codes import ExpressionCode
from avatar3d.heads import HeadModel, load_head
from avatar3d.motion import Motion
from recon.benchmark.clip import EVAL_PX, PreparedClip, PreparedFrame
from recon.benchmark.method import START, Fitted, Method
from recon.capture.inputs import hash_file
from recon.capture.matting import foreground_colors
from recon.fit.detector_bias import DetectorBias, DetectorBiasConfig
from recon.fit.fitter import FitConfig, fit_avatar
from recon.fit.follow import FollowConfig, follow
from recon.fit.observation import Observation
from recon.pipeline import CreateConfig, chosen
from recon.prior.weights import LINEAR
from recon.reenact import Transfer, transfer
from recon.track.frames import OWN, track_frames
from recon.track.support import track_support
from recon.track.tracking import Tracking
from render.rasterize import rasterize, warm_up

DRIVER_FRAMES = 64
ABSOLUTE = Transfer(pose="absolute")


class Ours(Method):
    """An avatar fitted to the support frames; test codes come from landmarks alone."""

    name = "ours"
    modes = ABSOLUTE  # how another person's motion is carried over

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

    def about(self, clip_sha256: str) -> Method:
        """With the fold's weights that have not seen the clip's person, where there are folds."""
        if not Path(self._prior).is_dir():
            return self
        from recon.prior.folds import fold_for

        own = copy.copy(self)
        own._prior = str(fold_for(Path(self._prior), clip_sha256))
        return own

    def settings(self) -> dict[str, object]:
        path = Path(self._prior)
        digest = f" {hash_file(path)[:8]}" if path.is_file() else ""
        return {
            "head": self._head.name,
            "prior": path.name + digest,
            "transfer": dataclasses.asdict(self.modes),
            "fit": dataclasses.asdict(self._config) if self._config else "default for the shots",
            "detector bias": dataclasses.asdict(DetectorBiasConfig()),
        }

    def fit(self, support: Sequence[PreparedFrame], clip: PreparedClip) -> Fitted:
        landmarks = np.stack([frame.landmarks for frame in support])
        size_px = len(support[0].image)
        tracking = track_support(landmarks, size_px, self._head)
        observations = [observe(frame) for frame in support]
        fit = fit_avatar(
            tracking, observations, self._config, landmarks=landmarks, prior=chosen(self._prior)
        )
        return self._shown(fit.avatar, fit.tracking)

    def _shown(self, avatar: Avatar, tracking: Tracking) -> FittedAvatar:
        return FittedAvatar(avatar, tracking, self.modes)


class OursWithoutPrior(Ours):
    """Refinement that begins at the unprojected colours."""

    name = "ours-noprior"

    def __init__(self, head: str = "default", config: FitConfig | None = None) -> None:
        super().__init__(head, config, "none")


class OursUnaided(Ours):
    """The avatar of `ours`; its test codes are what the tracker makes of the landmarks as they are."""

    name = "ours-unaided"

    def settings(self) -> dict[str, object]:
        return {**super().settings(), "detector bias": None}

    def _shown(self, avatar: Avatar, tracking: Tracking) -> FittedAvatar:
        return UnaidedAvatar(avatar, tracking, self.modes)


class OursFeedForward(Ours):
    """The prior's answer as it is."""

    name = "ours-ff"

    def __init__(
        self, head: str = "default", config: FitConfig | None = None, prior: str | None = None
    ) -> None:
        super().__init__(head, _unrefined(config), prior)


class OursLinear(Ours):
    """With the linear prior, the cheapest there is, instead of the network."""

    name = "ours-linear"

    def __init__(
        self, head: str = "default", config: FitConfig | None = None, prior: str | None = None
    ) -> None:
        super().__init__(head, config, LINEAR if prior is None else prior)


class OursStart(Ours):
    """The avatar before prior and refinement: what both have to beat."""

    def __init__(self, head: str = "default", config: FitConfig | None = None) -> None:
        super().__init__(head, _unrefined(config), "none")
        self.name += START


class OursOnPixels(Ours):
    """The avatar of `ours`; each test frame's code is refined on that frame's pixels."""

    name = "ours-pixels"
    sees_test_pixels = True

    def settings(self) -> dict[str, object]:
        note = "ours-pixels refines the code of every test frame on that frame's own pixels."
        return {**super().settings(), "follow": dataclasses.asdict(FollowConfig()), "note": note}

    def _shown(self, avatar: Avatar, tracking: Tracking) -> FittedAvatar:
        return FollowingAvatar(avatar, tracking, self.modes)


def _unrefined(config: FitConfig | None) -> FitConfig:
    config = config or FitConfig()
    still = replace(config.refine, iterations=0, iterations_per_frame=0, max_iterations=0)
    return replace(config, refine=still)


def observe(frame: PreparedFrame) -> Observation:
    """A support frame as the fit sees it."""

    def at(size_px: int, detail: Observation | None = None) -> Observation:
        alpha = frame.alpha(size_px)
        colors = foreground_colors(frame.picture(size_px), alpha)
        return Observation(colors, alpha, frame.inside(size_px), detail)

    return at(EVAL_PX, detail=at(len(frame.image)))


def _motion_of(driver: PreparedClip, head: HeadModel) -> tuple[list[int], Motion]:
    """Another person's codes: of their test frames, and of frames all over the clip, which tell
    what they always show."""
    ok = np.flatnonzero(driver.ok)
    spread = ok[np.linspace(0, len(ok) - 1, min(len(ok), DRIVER_FRAMES)).round().astype(int)]
    frames = sorted({*driver.test, *(int(index) for index in spread)})
    support = list(driver.support[max(driver.support)])
    tracking = track_support(driver.landmarks[support], len(driver.valid), head)
    codes = track_frames(tracking, driver.landmarks[frames])
    return frames, Motion(codes, driver.fps, extra_names=head.expression_names[52:])


class FittedAvatar(Fitted):
    """An avatar and the tracker that knows its person."""

    def __init__(self, avatar: Avatar, tracking: Tracking, modes: Transfer = ABSOLUTE) -> None:
        """`modes`: how another person's motion is carried over."""
        self.avatar = avatar
        self.tracking = tracking
        self._bias = DetectorBias(avatar, tracking)
        self._transfer = modes
        self._driver: tuple[PreparedClip, list[int], Motion] | None = None

    def code(self, landmarks: np.ndarray) -> ExpressionCode:
        """The code of one frame's landmarks [478, 3], px of the crop."""
        return self._bias.track(landmarks[None], self.solve).at(0)

    def solve(self, landmarks: np.ndarray) -> ExpressionCode:
        """Codes of frames [F, 478, 3] by their landmarks as they are."""
        return track_frames(self.tracking, landmarks, settings=OWN)

    def render(self, test_index: int, clip: PreparedClip) -> np.ndarray:
        return self._picture(self.code(clip.landmarks[test_index]))

    def _picture(self, code: ExpressionCode) -> np.ndarray:
        camera = self.tracking.camera.resized(EVAL_PX, EVAL_PX)
        with torch.no_grad():
            gaussians = self.avatar.gaussians(code)
            picture = rasterize(gaussians, camera, background=torch.ones(3)).colors
        return picture.clamp(0, 1).numpy()

    def drive(self, index: int, driven: PreparedClip, driver: PreparedClip) -> np.ndarray:
        """As `reenact` does: the driver's own codes, carried over. The head turns as the driver's
        before the camera, and stays where this person's was."""
        if self._driver is None or self._driver[0] is not driver:
            self._driver = (driver, *_motion_of(driver, self.tracking.head))
        _, frames, motion = self._driver
        codes = transfer(motion, self._transfer).codes
        code = codes.at(frames.index(index))
        moved = code.head_translation - codes.head_translation.mean(0)
        home = self.tracking.codes.head_translation.mean(0)
        return self._picture(code._replace(head_translation=home + moved))

    def figures(self) -> dict[str, float]:
        return {"gaussians": float(self.avatar.count)}


class UnaidedAvatar(FittedAvatar):
    """An avatar that does not help its tracker."""

    def code(self, landmarks: np.ndarray) -> ExpressionCode:
        return self.solve(landmarks[None]).at(0)


class FollowingAvatar(FittedAvatar):
    """An avatar that looks at the frame it is to show."""

    def render(self, test_index: int, clip: PreparedClip) -> np.ndarray:
        code = self.code(clip.landmarks[test_index])
        shown = observe(clip.frame(test_index))
        return self._picture(follow(self.avatar, self.tracking.camera, code, shown))
