"""Photos or a clip to an avatar: the whole story."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from avatar3d import __version__
from avatar3d.avatar import Avatar
from avatar3d.heads import load_head
from recon.capture import (
    Inputs,
    PreparedFrame,
    check_same_person,
    collect_inputs,
    hash_inputs,
)
from recon.capture.quality import say_what_is_missing, say_which_are_blurred
from recon.fit.fitter import Fit, FitConfig, fit_avatar
from recon.fit.observation import Observation
from recon.prior.linear import LinearPrior
from recon.prior.prior import Prior
from recon.prior.weights import load_any
from recon.spoilers import say_what_spoils, views
from recon.support_frames import Watch, frames_of_clip, frames_of_photos
from recon.track import Tracking, track_support

CROP_PX = 512  # the head's crop that landmarks, mattes and the tracking's camera are in
Progress = Callable[[str, int, int], None]  # stage, done, total


@dataclass(frozen=True)
class CreateConfig:
    """How an avatar is made; `configs/create/*.yaml` are its presets."""

    max_frames: int = 32  # support frames: of a clip, evenly spread; of many photos likewise
    fit_size_px: int = 256  # the head crop's side in the pictures that the fit compares with
    # What other people taught: clean, research, linear, the path of a prior's file, or none.
    prior: str = "clean"
    fit: FitConfig = field(default_factory=FitConfig)


@dataclass(frozen=True)
class CreateResult:
    """An avatar and how it came about."""

    avatar: Avatar
    frames: list[PreparedFrame]  # the support frames, cut out
    tracking: Tracking
    fit: Fit
    seconds: dict[str, float]  # of each stage
    warnings: list[str]  # what the user should know


def create(
    paths: str | Path | Sequence[str | Path],
    config: CreateConfig | None = None,
    head: str | Path = "default",
    *,
    face_index: int | None = None,
    licence: str | None = None,
    consent: str | None = None,
    progress: Progress | None = None,
) -> CreateResult:
    """Make an avatar from photos, a folder of photos, or one video.

    head: name of a head model on this machine, or the path of its file.
    face_index: which face where there are several, 0 is the largest.
    licence, consent: texts that the avatar carries with it.
    """
    config = config or CreateConfig()
    story = _Story(progress)
    with story.noting_warnings():
        inputs = collect_inputs([paths] if isinstance(paths, (str, Path)) else paths)
        with story.stage("head"):
            model = load_head(head)
        with story.stage("frames") as watch:
            frames = support_frames(inputs, config.max_frames, face_index, watch)
        if inputs.photos:
            frames = check_same_person(frames)
            say_which_are_blurred(frames)
        with story.stage("track"):
            landmarks = np.stack([frame.landmarks for frame in frames])
            tracking = track_support(landmarks, CROP_PX, model)
        say_what_is_missing(views(frames, tracking.codes))
        with story.stage("fit") as watch:
            observations = [observe(frame, config.fit_size_px) for frame in frames]
            fit = fit_avatar(tracking, observations, config.fit, watch, prior=chosen(config.prior))
        if inputs.photos:
            say_what_spoils(frames, observations, fit)
        provenance = _provenance(inputs, frames, tracking, config, licence, consent)
        avatar = replace(fit.avatar, provenance=provenance)
    return CreateResult(avatar, frames, tracking, fit, story.seconds, story.warnings)


def support_frames(
    inputs: Inputs, max_frames: int, face_index: int | None = None, watch: Watch | None = None
) -> list[PreparedFrame]:
    """The frames that show the face, cut out with matte and landmarks."""
    if inputs.video is not None:
        return frames_of_clip(inputs.video, CROP_PX, max_frames, face_index, watch)
    return frames_of_photos(inputs.photos, CROP_PX, max_frames, face_index, watch)


def observe(frame: PreparedFrame, size_px: int) -> Observation:
    """A support frame at the size of the fit, with its detail."""
    from recon.capture.opencv import cv2

    def resized(values: np.ndarray) -> np.ndarray:
        small = cv2.resize(
            np.ascontiguousarray(values, np.float32),
            (size_px, size_px),
            interpolation=cv2.INTER_AREA,
        )
        return np.clip(small, 0.0, 1.0)

    return Observation(
        colors=resized(frame.foreground),
        matte=resized(frame.matte),
        valid=resized(frame.valid) > 0.5,
        detail=Observation(frame.foreground, frame.matte, frame.valid),
    )


def chosen(prior: str) -> Prior | LinearPrior | None:
    """The prior of that name or file; None for "none"."""
    return None if prior == "none" else load_any(prior)


def _provenance(
    inputs: Inputs,
    frames: Iterable[PreparedFrame],
    tracking: Tracking,
    config: CreateConfig,
    licence: str | None,
    consent: str | None,
) -> dict[str, Any]:
    """What the avatar says of itself; plain values that JSON can hold."""
    return {
        "tool": f"avatar3d {__version__}",
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "inputs": [{"name": name, "sha256": digest} for name, digest in hash_inputs(inputs.files)],
        "frames": [
            {"source": frame.source, "index": frame.index, "time_s": round(frame.time_s, 3)}
            for frame in frames
        ],
        "settings": dataclasses.asdict(config),
        "licence": licence,
        "consent": consent,
        "view": {
            "size_px": CROP_PX,
            "focal_length_px": round(tracking.focal_px, 2),
            "distance_m": round(float(tracking.camera.viewmat[2, 3]), 4),
        },
    }


class _Story(logging.Handler):
    """Seconds of the stages, their progress, and the warnings met on the way."""

    def __init__(self, progress: Progress | None) -> None:
        super().__init__(logging.WARNING)
        self.seconds: dict[str, float] = {}
        self.warnings: list[str] = []
        self._progress = progress

    @contextmanager
    def stage(self, name: str) -> Iterator[Watch]:
        started = time.perf_counter()
        yield lambda done, total: self._progress(name, done, total) if self._progress else None
        self.seconds[name] = time.perf_counter() - started

    @contextmanager
    def noting_warnings(self) -> Iterator[None]:
        logger = logging.getLogger("recon")
        logger.addHandler(self)
        try:
            yield
        finally:
            logger.removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        self.warnings.append(record.getMessage())
