"""Real clips with sound as training and test material: what was heard, and what the mouth did."""

from __future__ import annotations

import hashlib
import logging
import math
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

import numpy as np
from jaxtyping import Float

from avatar3d.audio.features import RATE_HZ
from avatar3d.audio.sound import read_sound, read_sound_info
from avatar3d.files import atomic_output, cache_folder
from avatar3d.heads import HeadModel
from recon.audio.measures import mouth_measures, skull_frame
from recon.capture import hash_file, read_video, sample_indices, stable_head_crop, track_faces
from recon.clip_motion import CROP_PX, SUPPORT_FRAMES
from recon.track import track_frames, track_support
from render.ahead import ahead

logger = logging.getLogger(__name__)

# Raise it when what is below gives something else, or when the default head's shapes have changed so
# much that the targets should be tracked anew: a head that is learned a little better teaches the same.
FORMAT = 2


@dataclass(frozen=True)
class SpeakingClip:
    """A clip of one person who speaks; pictures at `times_s` from the first sample of the sound."""

    sha256: str
    sound: Float[np.ndarray, " N"]  # mono at 16 kHz
    times_s: Float[np.ndarray, " F"]  # frames in which the face was found
    coefficients: Float[np.ndarray, "F 52"]  # tracked
    head_rotation: Float[np.ndarray, "F 4"]
    measures: Float[np.ndarray, "F 7"]  # of the detector's landmarks


def speaking_clip(path: Path, head: HeadModel, longest_s: float | None = None) -> SpeakingClip:
    """Track a clip, or its first `longest_s`, or read what an earlier call left in the cache."""
    digest = hash_file(path)
    made_of = f"{FORMAT} {digest} {head.name}" + ("" if longest_s is None else f" {longest_s:g}")
    key = hashlib.sha256(made_of.encode()).hexdigest()[:16]
    file = cache_folder() / "audio" / f"clip-{key}.npz"
    if file.exists():
        try:
            with file.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
                return SpeakingClip(digest, **{name: arrays[name] for name in arrays.files})
        except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile):
            logger.warning("%s is damaged and made anew", file)
    clip = _tracked(path, digest, head, math.inf if longest_s is None else longest_s)
    file.parent.mkdir(parents=True, exist_ok=True)
    arrays = {name: value for name, value in vars(clip).items() if name != "sha256"}
    with atomic_output(file) as beside:
        np.savez_compressed(beside, **arrays)
    return clip


def _tracked(path: Path, digest: str, head: HeadModel, longest_s: float) -> SpeakingClip:
    with ahead(read_video(path)) as frames:
        track = track_faces(takewhile(lambda frame: frame.time_s < longest_s, frames))
    found = np.flatnonzero(track.found)
    crop = stable_head_crop(track.landmarks, CROP_PX)
    landmarks = crop.to_crop(track.landmarks)
    support = landmarks[found[sample_indices(len(found), SUPPORT_FRAMES)]]
    tracking = track_support(support, CROP_PX, head)
    codes = track_frames(tracking, landmarks, temporal=True)
    starts_s = read_sound_info(path).starts_s
    sound = _first(read_sound(path), longest_s - starts_s)
    times_s = track.times_s[found] - starts_s
    assert RATE_HZ == 16_000
    return SpeakingClip(
        digest,
        sound,
        times_s,
        codes.coefficients[found, :52].numpy().astype(np.float32),
        codes.head_rotation[found].numpy().astype(np.float32),
        mouth_measures(skull_frame(track.landmarks[found])).astype(np.float32),
    )


def _first(pieces: Iterable[Float[np.ndarray, "_ 1"]], longest_s: float) -> Float[np.ndarray, " N"]:
    """The first seconds of a mono sound."""
    heard, kept = 0, []
    for piece in pieces:
        kept.append(piece[:, 0])
        heard += len(piece)
        if heard >= longest_s * RATE_HZ:
            break
    return np.concatenate(kept)[: math.ceil(max(0.0, min(heard / RATE_HZ, longest_s)) * RATE_HZ)]
