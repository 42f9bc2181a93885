"""Long clips: what is kept of a frame is its code."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterable
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from avatar3d.heads import load_head
from recon import clip_motion
from recon.capture.frames import Frame
from recon.capture.landmarks import FaceTrack
from recon.clip_motion import track_clip
from tests.recon.track.synthetic import SIZE_PX, make_scene

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
