"""Long clips: what is kept of a frame is its code; and clips of an avatar's own person."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from avatar3d.errors import UserError
from avatar3d.heads import load_head
from recon import clip_motion
from recon.capture.frames import Frame
from recon.capture.landmarks import FaceTrack
from recon.clip_motion import track_clip
from recon.fit import detector_bias
from tests.recon.track.synthetic import SIZE_PX, make_scene
from tests.support.avatars import plain_avatar

HEAD = load_head("default")
CHUNK = 15
LANDMARK_BYTES = 478 * 3 * 4  # of a frame


def _grey_clip(path: Path, frames: int) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width = stream.height = 64
        for _ in range(frames):
            picture = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 90, np.uint8), "rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return path


def _known_faces(frames: Iterable[Frame]) -> FaceTrack:
    """Instead of the detector: the landmarks of a head that opens its mouth and shuts it again."""
    shown = list(frames)
    coefficients = torch.zeros(len(shown), HEAD.expression_count)
    coefficients[:, 17] = torch.linspace(0, np.pi, len(shown)).sin() * 0.5
    scene = make_scene(HEAD, 1, len(shown), turn=0.02, coefficients=coefficients)
    landmarks = np.zeros((len(shown), 478, 3), np.float32)
    landmarks[..., :2] = scene.landmarks
    times_s = np.array([frame.time_s for frame in shown])
    indices = np.array([frame.index for frame in shown])
    no_others = (np.zeros((0, 4), np.float32),) * len(shown)
    return FaceTrack(landmarks, times_s, indices, SIZE_PX, SIZE_PX, "known", no_others)


def test_memory_grows_by_codes_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A 3-hour clip has 270,000 frames: their landmarks would take 1.5 GB."""
    held: list[int] = []  # before each chunk, bytes

    def faces(frames: Iterable[Frame], choose: object = None, precise: bool = False) -> FaceTrack:
        assert precise  # whole clips have the time
        held.append(tracemalloc.get_traced_memory()[0])
        return _known_faces(frames)

    monkeypatch.setattr(clip_motion, "track_faces", faces)
    monkeypatch.setattr(clip_motion, "CHUNK_FRAMES", CHUNK)
    chunks = 6
    clip = _grey_clip(tmp_path / "long.mp4", chunks * CHUNK)
    tracemalloc.start()
    tracked = track_clip(clip, HEAD)
    tracemalloc.stop()
    assert len(tracked.motion) == chunks * CHUNK
    assert tracked.found.all()
    assert len(held) == chunks
    # From the third chunk on: what is made once has been made.
    assert (held[-1] - held[2]) / ((chunks - 3) * CHUNK) < 0.3 * LANDMARK_BYTES


def test_an_avatar_is_looked_at_once_for_each_frame_of_its_own_person(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In every part of a long shot, with one tracking and one mean bias, to the end of the bar."""
    looks: list[np.ndarray] = []

    def sees_well(picture: np.ndarray, about: np.ndarray, *, copies: int) -> np.ndarray:
        looks.append(picture)
        return about

    def faces(frames: Iterable[Frame], choose: object = None, precise: bool = False) -> FaceTrack:
        return _known_faces(frames)

    monkeypatch.setattr(detector_bias, "measure_again", sees_well)
    monkeypatch.setattr(clip_motion, "track_faces", faces)
    monkeypatch.setattr(clip_motion, "CHUNK_FRAMES", CHUNK)
    clip = _grey_clip(tmp_path / "own.mp4", 2 * CHUNK)
    avatar = plain_avatar(500)
    told: list[tuple[int, int]] = []
    own = track_clip(clip, HEAD, own=avatar, watch=lambda *at: told.append(at))
    assert len(looks) == 8 + 8 + 2 * CHUNK  # for the offsets, for the mean, for the frames
    assert told[-1] == (4 * CHUNK, 4 * CHUNK)
    torch.testing.assert_close(own.tracking.identity, avatar.identity)
    opening = own.motion.codes.coefficients[:, 17]
    assert opening[[0, CHUNK - 1]].max() < 0.25 < opening[CHUNK // 2]
    with pytest.raises(ValueError, match="head"):
        track_clip(clip, replace(HEAD), own=avatar)


def test_the_bar_ends_where_a_shot_shows_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody(frames: Iterable[Frame], choose: object = None, precise: bool = False) -> FaceTrack:
        raise UserError(f"no face in {len(list(frames))} frames")

    monkeypatch.setattr(clip_motion, "track_faces", nobody)
    told: list[tuple[int, int]] = []
    with pytest.raises(UserError, match="no face in 4 frames"):
        track_clip(
            _grey_clip(tmp_path / "nobody.mp4", 4),
            HEAD, own=plain_avatar(500), watch=lambda *at: told.append(at),
        )  # fmt: skip
    assert told[-1] == (8, 8)
