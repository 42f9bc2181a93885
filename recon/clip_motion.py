"""A clip to the motion of the face in it: one identity and focal length, a code for every frame."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

import numpy as np
import torch

from avatar3d.animation.smoothing import Smoothing, half_way, smooth_clip
from avatar3d.avatar import Avatar
from avatar3d.code_interpolation import interpolate_codes
from avatar3d.codes import ExpressionCode
from avatar3d.errors import UserError
from avatar3d.heads import HeadModel
from avatar3d.motion import MAX_FRAMES_PER_SECOND, Motion
from recon.capture import (
    Face,
    Frame,
    HeadCrop,
    read_audio,
    read_video,
    read_video_info,
    sample_indices,
    stable_head_crop,
    track_faces,
)
from recon.capture.video import VideoInfo
from recon.fit.detector_bias import DetectorBias, own_tracking
from recon.track import OWN, FrameSettings, Tracking, track_frames, track_support
from recon.track.people import Choice, CutFinder, nearest_to
from render.ahead import ahead

logger = logging.getLogger(__name__)

CROP_PX = 512
SUPPORT_FRAMES = 16  # enough to tell identity and focal length
CHUNK_FRAMES = 1500  # of a shot held at once: 9 MB of landmarks
LONGEST_SOUND_S = 1800
_STEADY_S = 0.002  # timestamps off an even grid by less are a fixed rate

Watch = Callable[[int, int], None]  # done, total


@dataclass(frozen=True)
class Shot:
    """Frames `first` to before `stop` of a clip, tracked apart; `problem` where that failed."""

    first: int
    stop: int
    problem: str | None = None


@dataclass(frozen=True)
class ClipMotion:
    """The motion of a clip, with what is needed to lay it over the clip's pictures."""

    motion: Motion
    tracking: Tracking  # of the first shot with the face
    crop: HeadCrop  # the square that the tracking's camera sees
    times_s: np.ndarray  # [F] of the clip's own frames
    found: np.ndarray  # [F] bool: the face was seen
    shots: tuple[Shot, ...]  # between the clip's cuts; long ones in parts


@dataclass(frozen=True)
class _Piece:
    """A shot, or CHUNK_FRAMES of a long one, tracked."""

    tracking: Tracking
    crop: HeadCrop
    codes: ExpressionCode
    found: np.ndarray
    last: Face
    bias: DetectorBias | None  # of the clip's own avatar


def track_clip(
    path: str | Path,
    head: HeadModel,
    choice: Choice | None = None,
    *,
    frames_per_second: float | None = None,
    watch: Watch | None = None,
    own: Avatar | None = None,
) -> ClipMotion:
    """Codes of every frame of a clip at a fixed rate (the clip's own, if none is given), with its
    sound. Frames without the face hold the code of the one before.

    own: the avatar of the clip's person, on the same head model. It helps to track
    (`recon.fit.detector_bias`), and codes follow the landmarks closely, which serves this avatar;
    for other avatars they mean less (`recon.track.code_prior.CLOSE`).

    Shots between cuts are tracked apart, each with an identity of its own (or all with that of
    `own`), forward and backward in time. Memory grows by 300 bytes a frame only; the sound of clips
    longer than LONGEST_SOUND_S is left out.
    """
    if own is not None and own.head is not head:
        raise ValueError(f"`own` is on the head {own.head.name!r}; give that head: avatar.head")
    path = Path(path)
    choice = choice or Choice()
    info = read_video_info(path)
    times: list[float] = []
    shots: list[Shot] = []
    pieces: list[_Piece | None] = []
    before: _Piece | None = None
    count = _Count(watch, info.frame_count * (1 if own is None else 2))
    with ahead(read_video(path)) as frames:
        numbered = _in_shots(_counted(frames, count))
        for (_, chunk), group in groupby(numbered, key=lambda pair: pair[0]):
            first = len(times)
            unread = _noting_times(group, times)
            last = before if chunk else None
            piece, problem = _track_piece(unread, head, choice, last, own, count)
            for _ in unread:  # what a failure left
                pass
            if piece is None and own is not None:
                for _ in times[first:]:
                    count()
            before = piece or (before if chunk else None)
            pieces.append(piece)
            shots.append(Shot(first, len(times), problem))
    tracked = [piece for piece in pieces if piece is not None]
    if not tracked:
        raise UserError(
            shots[0].problem
            if len(shots) == 1 and shots[0].problem
            else f"no face was found in any frame of {path.name}; give a clip that shows one face "
            "from the front, upright and well lit"
        )
    rate = _rate(np.array(times), info)
    codes = _joined(pieces, shots, rate, head.expression_names, Smoothing())
    found = np.concatenate(
        [
            np.zeros(shot.stop - shot.first, bool) if piece is None else piece.found
            for shot, piece in zip(shots, pieces)
        ]
    )
    motion = _timed(path, info, codes, np.array(times), rate, head)
    if frames_per_second is not None:
        motion = motion.resample(frames_per_second)
    return ClipMotion(
        motion, tracked[0].tracking, tracked[0].crop, np.array(times), found, tuple(shots)
    )


def _noting_times(
    group: Iterator[tuple[tuple[int, int], Frame]], times: list[float]
) -> Iterator[Frame]:
    for _, frame in group:
        times.append(frame.time_s)
        yield frame


def _in_shots(frames: Iterable[Frame]) -> Iterator[tuple[tuple[int, int], Frame]]:
    """Frames with the number of their shot, and of its part where it is long."""
    cuts = CutFinder()
    shot, begun = 0, 0
    for index, frame in enumerate(frames):
        if cuts(frame.image):
            shot, begun = shot + 1, index
        yield (shot, (index - begun) // CHUNK_FRAMES), frame


def _track_piece(
    frames: Iterator[Frame],
    head: HeadModel,
    choice: Choice,
    before: _Piece | None,
    own: Avatar | None,
    count: Callable[[], None],
) -> tuple[_Piece | None, str | None]:
    """A shot, or the next part of one with the identity of the part before; or why it failed."""
    choose = choice if before is None else nearest_to(before.last)
    try:
        track = track_faces(frames, choose=choose, precise=True)
    except UserError as error:
        return None, str(error)
    found = np.flatnonzero(track.found)
    if not len(found):
        return None, "no face was found in the shot"
    crop = stable_head_crop(track.landmarks, CROP_PX) if before is None else before.crop
    landmarks = crop.to_crop(track.landmarks)
    if before is None:
        support = landmarks[found[sample_indices(len(found), SUPPORT_FRAMES)]]
        tracking, bias = track_support(support, CROP_PX, head), None
        if own is not None:
            tracking = own_tracking(own, tracking, support)
            bias = DetectorBias(own, tracking)
        start = None
    else:
        tracking, bias = before.tracking, before.bias
        start = before.codes.at(len(before.codes.coefficients) - 1)

    settings = FrameSettings() if bias is None else OWN

    def follow(px: np.ndarray, previous: ExpressionCode | None) -> ExpressionCode:
        return track_frames(tracking, px, temporal=True, previous=previous, settings=settings)

    def there_and_back(px: np.ndarray) -> ExpressionCode:
        forward = follow(px, start)
        backward = follow(px[::-1].copy(), forward.at(len(px) - 1))
        return half_way(forward, backward.at(torch.arange(len(px) - 1, -1, -1)))

    if bias is None:
        codes = there_and_back(landmarks)
    else:
        codes = bias.track(landmarks, there_and_back, count)
    last = track.face(int(found[-1]))
    assert last is not None
    # A copy: a row of the track would keep all of its landmarks, 6 kB a frame.
    last = replace(last, landmarks=last.landmarks.copy())
    return _Piece(tracking, crop, codes, track.found, last, bias), None


def _joined(
    pieces: Sequence[_Piece | None],
    shots: Sequence[Shot],
    rate: float,
    names: tuple[str, ...],
    smoothing: Smoothing,
) -> ExpressionCode:
    """All codes, each shot smoothed by itself; a shot without the face is at rest."""
    parts: list[ExpressionCode] = []
    for shot, piece in zip(shots, pieces):
        if piece is None:
            rest = ExpressionCode.neutral(shot.stop - shot.first, coefficient_count=len(names))
            parts.append(rest)
        else:
            parts.append(smooth_clip(piece.codes, rate, names, smoothing))
    return ExpressionCode(*(torch.cat(values) for values in zip(*parts)))


def _timed(
    path: Path,
    info: VideoInfo,
    codes: ExpressionCode,
    times_s: np.ndarray,
    rate: float,
    head: HeadModel,
) -> Motion:
    """The codes at a fixed rate, with the clip's sound."""
    if len(times_s) > 1 and not np.allclose(
        times_s, np.arange(len(times_s)) / rate, atol=_STEADY_S + 0.25 / rate
    ):
        grid_s = np.arange(max(1, round(times_s[-1] * rate) + 1)) / rate
        positions = np.interp(grid_s, times_s, np.arange(len(times_s)))
        codes = interpolate_codes(codes, torch.from_numpy(positions))
    sound = None
    if info.has_audio and times_s[-1] > LONGEST_SOUND_S:
        logger.warning(
            "%s is longer than %d minutes, so its sound is left out of the motion",
            path.name,
            LONGEST_SOUND_S // 60,
        )
    elif info.has_audio:
        sound = read_audio(path)
    return Motion(
        codes,
        rate,
        extra_names=head.expression_names[52:],
        audio=None if sound is None else torch.from_numpy(sound[0]),
        audio_rate=None if sound is None else sound[1],
    )


def crops_at(clip: Path, crop: HeadCrop, times_s: Iterable[float]) -> Iterator[np.ndarray]:
    """The clip's picture in `crop` at each time, u8 [S, S, 3]: the last frame shown by then."""
    frames = read_video(clip)
    shown: Frame = next(frames)
    following: Frame | None = next(frames, None)
    picture = crop.warp(shown.image)
    for time_s in times_s:
        moved = False
        while following is not None and following.time_s <= time_s + 1e-3:
            shown, following, moved = following, next(frames, None), True
        if moved:
            picture = crop.warp(shown.image)
        yield picture


class _Count:
    """Tells of the progress, one step after the other."""

    def __init__(self, watch: Watch | None, total: int) -> None:
        self._watch, self._done, self._total = watch, 0, total

    def __call__(self) -> None:
        self._done += 1
        if self._watch:
            self._watch(self._done, max(self._done, self._total))


def _counted(frames: Iterable[Frame], count: Callable[[], None]) -> Iterator[Frame]:
    for frame in frames:
        yield frame
        count()


def _rate(times_s: np.ndarray, info: VideoInfo) -> float:
    """Frames a second: the header's, or what the timestamps say where it is silent or absurd."""
    if 1.0 <= info.frames_per_second <= 240.0:
        return info.frames_per_second
    steps = np.diff(times_s)
    steps = steps[steps > 0]
    return float(np.clip(1 / np.median(steps), 1.0, MAX_FRAMES_PER_SECOND)) if len(steps) else 25.0
