"""Codes from landmarks once an avatar is there: the detector's bias is measured on the avatar.

Where a detector puts a landmark is off by about a pixel. Part of that is the same in every frame of
a person, and personal offsets take it off (`recon.track.calibrate`). The rest changes with pose,
look and light, but the detector errs much alike on a picture of the person's avatar in that pose:
what it says of the render, less where the avatar's landmarks are known to be, is its bias there. It
comes off the frame's landmarks, and the code is solved for again. This is render-and-compare with
landmarks instead of pixels: of the frame itself nothing but its landmarks is used.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, UInt8

from avatar3d.avatar import Avatar
from avatar3d.codes import ExpressionCode
from recon.capture.measure import CLIP_COPIES, measure_again
from recon.capture.video import sample_indices
from recon.track.bust import bust_reference
from recon.track.calibrate import calibrate
from recon.track.frames import OWN, track_frames
from recon.track.tracking import Tracking
from render.frames import frames

# A picture and about where the face's landmarks lie [478, 3] -> where they are seen, or None.
RenderDetector = Callable[
    [UInt8[np.ndarray, "S S 3"], Float[np.ndarray, "478 3"]], "Float[np.ndarray, '478 3'] | None"
]
Landmarks = Float[np.ndarray, "F 478 C"]
BiasPx = Float[np.ndarray, "478 2"]

_BACKGROUND = torch.full((3,), 0.5)  # black and white do as well


@dataclass(frozen=True)
class DetectorBiasConfig:
    """Chosen on the few-shot benchmark's clips; figures in docs/benchmarks/fewshot.md."""

    share: float = 0.75  # of a frame's bias, which is measured with noise
    # Frames with known codes give the bias that personal offsets hold already; the mean of F of them
    # is believed F / (F + shrink_frames).
    known_frames: int = 8
    shrink_frames: float = 1.0


def detect_on_render(
    picture: UInt8[np.ndarray, "S S 3"], about: Float[np.ndarray, "478 3"]
) -> Float[np.ndarray, "478 3"] | None:
    """A render measured as the frames of a clip are."""
    return measure_again(picture, about.astype(np.float32), copies=CLIP_COPIES)


class DetectorBias:
    """What the detector errs on one avatar, and codes of its own person without it."""

    def __init__(
        self,
        avatar: Avatar,
        tracking: Tracking,
        config: DetectorBiasConfig | None = None,
        detector: RenderDetector = detect_on_render,
    ) -> None:
        """tracking: of the avatar's person, in the crop that landmarks will be given in. Its
        personal offsets hold what the detector always errs on the frames of `tracking.codes`."""
        self._avatar, self._tracking = avatar, tracking
        self._config = config or DetectorBiasConfig()
        self._detector = detector

    def track(
        self,
        landmarks: Landmarks,
        solve: Callable[[Landmarks], ExpressionCode],
        watch: Callable[[], None] = lambda: None,
    ) -> ExpressionCode:
        """Codes [F, ...] of frames by their landmarks, px of the crop, nan where there are none.

        solve: landmarks of the frames -> their codes, as `recon.track.track_frames` does. watch:
        called after each frame.
        """
        codes = solve(landmarks)
        measured: dict[int, BiasPx] = {}
        for frame, found in enumerate(np.isfinite(landmarks).all((1, 2))):
            bias = self.at(codes.at(frame)) if found else None
            if bias is not None:
                measured[frame] = bias - self._mean_px
            watch()
        if not measured:
            return codes
        unbiased = landmarks.copy()
        known = np.array(list(measured))
        for frame in range(len(landmarks)):  # one that the detector missed is as the next to it
            nearest = int(known[np.abs(known - frame).argmin()])
            unbiased[frame, :, :2] -= self._config.share * measured[nearest]
        return solve(unbiased)

    def at(self, code: ExpressionCode) -> BiasPx | None:
        """Where the detector sees the avatar's landmarks, less where they are, px of the crop; None
        where it sees no face. code: without batch."""
        places = self._tracking.project_landmarks(ExpressionCode.stack([code]))[0]
        camera = self._tracking.camera
        # The crop may cut the face, which would be another error: look where the face is. By whole
        # pixels, so that a face inside it is the same picture.
        shift = np.round(camera.width / 2 - places.mean(0))
        K = camera.K.clone()
        K[:2, 2] += torch.from_numpy(shift).to(K)
        picture = next(frames(self._avatar, [code], replace(camera, K=K), background=_BACKGROUND))
        about = np.column_stack([places + shift, np.zeros(len(places))])
        seen = self._detector(picture, about)
        return None if seen is None else seen[:, :2] - about[:, :2]

    @cached_property
    def _mean_px(self) -> BiasPx:
        """Of the frames that made the personal offsets."""
        codes = self._tracking.codes
        chosen = sample_indices(len(codes.coefficients), self._config.known_frames)
        known = [self.at(codes.at(index)) for index in chosen]
        measured = [bias for bias in known if bias is not None]
        if not measured:
            return np.zeros((478, 2))
        return np.sum(measured, axis=0) / (len(measured) + self._config.shrink_frames)


def own_tracking(
    avatar: Avatar,
    tracking: Tracking,
    landmarks: Landmarks,
    detector: RenderDetector = detect_on_render,
) -> Tracking:
    """The tracking of an avatar's own person in a new clip, for `DetectorBias`.

    tracking: what `track_support` made of frames of that clip, with their `landmarks` [F, 478, 2 or
    3]. Its camera stays. Identity becomes the avatar's, and the personal offsets are where the
    detector sees the landmarks of the avatar in the same poses.
    """
    own = replace(
        tracking,
        identity=avatar.identity,
        landmark_offsets=torch.zeros_like(tracking.landmark_offsets),
    )
    codes = track_frames(own, landmarks, settings=OWN)
    own = replace(own, bust=bust_reference(own.head, own.identity, codes))
    bias_of = DetectorBias(avatar, own, detector=detector)
    chosen = sample_indices(len(codes.coefficients), DetectorBiasConfig.known_frames)
    biases = {index: bias_of.at(codes.at(index)) for index in chosen}
    seen = {index: bias for index, bias in biases.items() if bias is not None}
    if seen:
        posed = codes.at(torch.tensor(list(seen)))
        own = calibrate(own, own.project_landmarks(posed) + np.stack(list(seen.values())), posed)
    codes = track_frames(own, landmarks, settings=OWN)
    residual_px = own.residuals_px(codes, landmarks).mean(1)
    return replace(own, codes=codes, residual_px=torch.from_numpy(residual_px).float())
