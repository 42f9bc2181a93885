"""Codes from landmarks once an avatar is there: the detector is shown the avatar, too.

Where a detector puts a landmark is off by about a pixel, and by another one in every pose, look and
light, so that no table of offsets helps in a new frame. But it errs much alike on a picture of the
avatar in that frame's pose: what it says of the render, less where the avatar's landmarks are known
to be, is its error there (its echo), and comes off the frame's landmarks. Analysis by synthesis on
what the detector sees instead of on pixels; of the frame itself nothing but landmarks is used.
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
from recon.capture.measure import CLIP_COPIES, look_again
from recon.track.bust import bust_reference
from recon.track.calibrate import calibrate
from recon.track.frames import OWN, track_frames
from recon.track.tracking import Tracking
from render.rasterize import rasterize

# A picture and about where the face's landmarks lie [478, 3] -> where they are seen, or None.
Detector = Callable[
    [UInt8[np.ndarray, "S S 3"], Float[np.ndarray, "478 3"]], "Float[np.ndarray, '478 3'] | None"
]
Landmarks = Float[np.ndarray, "F 478 C"]

_BACKGROUND = 0.5  # black and white do as well


@dataclass(frozen=True)
class EchoConfig:
    """How far echoes are believed. On the few-shot benchmark's clips, 8 test frames, T = 1 and 8,
    face PSNR / SSIM, head PSNR, lips px: without 25.22 / .807, 19.36, .83 and 27.26 / .858, 20.91,
    .66; all of one echo 25.39 / .812, 19.94, .66 and 27.53 / .863, 21.62, .55; three quarters
    25.42 / .813, 19.90, .67 and 27.53 / .864, 21.55, .56; of two 25.45 / .813, 19.95, .67 and
    27.55 / .864, 21.50, .56. With one copy of each render 25.43 / .813 and 27.52 / .863; four are
    no better than two. The solver's priors and weights are as good as any beside it. Of one frame
    half of what is always heard is that frame's own: at T = 1, head 19.80 to 20.04, its SSIM .707 to
    .710.
    """

    share: float = 0.75  # of an echo, which is itself noisy
    rounds: int = 2  # each renders where the last one led; their echoes' mean counts
    copies: int = CLIP_COPIES  # of a render, measured as a clip's frames are
    known_frames: int = 8  # frames with known codes that tell what it always hears
    shrink_frames: float = 1.0  # what F frames say of that is believed F / (F + this)


def see(
    picture: UInt8[np.ndarray, "S S 3"], about: Float[np.ndarray, "478 3"]
) -> Float[np.ndarray, "478 3"] | None:
    """What the detector of clips and photos sees of a render."""
    return look_again(picture, about.astype(np.float32), copies=EchoConfig.copies)


class Echo:
    """An avatar's own person tracked with the avatar's help."""

    def __init__(
        self,
        avatar: Avatar,
        tracking: Tracking,
        config: EchoConfig | None = None,
        detector: Detector = see,
    ) -> None:
        """tracking: of the avatar's person, in the crop that landmarks will be given in. Its
        personal offsets hold what the detector always says of the frames of `tracking.codes`."""
        self._avatar, self._tracking = avatar, tracking
        self._config = config or EchoConfig()
        self._detector = detector

    def track(
        self,
        landmarks: Landmarks,
        solve: Callable[[Landmarks], ExpressionCode],
        watch: Callable[[], None] = lambda: None,
    ) -> ExpressionCode:
        """Codes [F, ...] of frames by their landmarks, px of the crop, nan where there are none.

        solve: landmarks of the frames -> their codes, as `recon.track.track_frames` does. watch:
        called after each of the frames, in each of the rounds.
        """
        landmarks = np.asarray(landmarks)
        codes = solve(landmarks)
        total = np.zeros((len(landmarks), 478, 2))
        for count in range(1, self._config.rounds + 1):
            for frame, found in enumerate(np.isfinite(landmarks).all((1, 2))):
                if found:
                    total[frame] += self._news(codes.at(frame))
                watch()
            cleaned = landmarks.copy()
            cleaned[..., :2] -= self._config.share * total / count
            codes = solve(cleaned)
        return codes

    def _news(self, code: ExpressionCode) -> Float[np.ndarray, "478 2"]:
        """The echo, less what the personal offsets hold already."""
        heard = self.heard(code)
        return np.zeros((478, 2)) if heard is None else heard - self._always

    def heard(self, code: ExpressionCode) -> Float[np.ndarray, "478 2"] | None:
        """Where the detector sees the avatar's landmarks, less where they are, px; None where it
        sees no face. code: without batch."""
        places = self._tracking.project_landmarks(ExpressionCode.stack([code]))[0]
        about = np.column_stack([places, np.zeros(478)])
        seen = self._detector(self._render(code), about)
        return None if seen is None else seen[:, :2] - places

    @cached_property
    def _always(self) -> Float[np.ndarray, "478 2"]:
        """The mean echo of the frames that made the personal offsets."""
        codes = self._tracking.codes
        heard = [self.heard(codes.at(index)) for index in _spread(codes, self._config.known_frames)]
        known = [each for each in heard if each is not None]
        if not known:
            return np.zeros((478, 2))
        return np.sum(known, axis=0) / (len(known) + self._config.shrink_frames)

    def _render(self, code: ExpressionCode) -> UInt8[np.ndarray, "S S 3"]:
        background = torch.full((3,), _BACKGROUND)
        with torch.no_grad():
            gaussians = self._avatar.gaussians(code)
            picture = rasterize(gaussians, self._tracking.camera, background=background).colors
        return (picture.clamp(0, 1).numpy() * 255).round().astype(np.uint8)


def own_tracking(
    avatar: Avatar, tracking: Tracking, landmarks: Landmarks, detector: Detector = see
) -> Tracking:
    """The tracking of an avatar's own person in a new clip, for `Echo`.

    tracking: what `track_support` made of frames of that clip, with their `landmarks` [F, 478, 2 or
    3]. Identity becomes the avatar's, and the personal offsets are where the detector sees the
    landmarks of the avatar in the same poses.
    """
    person = replace(
        tracking,
        identity=avatar.identity,
        landmark_offsets=torch.zeros_like(tracking.landmark_offsets),
    )
    codes = track_frames(person, landmarks, settings=OWN)
    person = replace(person, bust=bust_reference(person.head, person.identity, codes))
    codes = track_frames(person, landmarks, settings=OWN)
    codes = codes.at(torch.tensor(_spread(codes, EchoConfig.known_frames)))
    echo = Echo(avatar, person, detector=detector)
    heard = [echo.heard(codes.at(index)) for index in range(len(codes.coefficients))]
    seen = np.array([index for index, each in enumerate(heard) if each is not None])
    if not len(seen):
        return replace(person, codes=codes)
    codes = codes.at(torch.from_numpy(seen))
    places = person.project_landmarks(codes) + np.stack([heard[index] for index in seen])
    return calibrate(person, places, codes)


def _spread(codes: ExpressionCode, at_most: int) -> list[int]:
    """So many of the codes [F, ...], first and last among them."""
    count = len(codes.coefficients)
    return np.linspace(0, count - 1, min(count, at_most)).round().astype(int).tolist()
