"""Prepared clips: what is compared, who sees what, and that the cache gives back what it took."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from avatar3d.errors import UserError
from recon.benchmark import cache
from recon.benchmark.protocol import Protocol
from recon.benchmark.regions import regions_of
from tests.recon.benchmark.synthetic import face_landmarks, make_clip

CLIP = make_clip(frames=20, protocol=Protocol(shots=(1, 3), test_frames=4))


def assert_same(first, second):
    for field in dataclasses.fields(first):
        np.testing.assert_equal(getattr(first, field.name), getattr(second, field.name))


def test_pictures_are_white_behind_the_matte_and_outside_the_camera_s_picture():
    frame = CLIP.frame(CLIP.test[0])
    picture = frame.on_white()
    assert picture.shape == (256, 256, 3)
    assert picture.dtype == np.float32
    assert (picture[frame.alpha() == 0] == 1).all()
    assert (picture[:, :8] == 1).all()
    opaque = (frame.alpha() == 1) & frame.inside()
    np.testing.assert_allclose(picture[opaque], frame.picture()[opaque], atol=1e-6)


def test_half_size_pictures_are_means_of_four_pixels():
    frame = CLIP.frame(CLIP.test[0])
    blocks = frame.image.reshape(256, 2, 256, 2, 3).mean((1, 3)) / 255
    np.testing.assert_allclose(frame.picture(), blocks, atol=1e-5)


def test_a_view_hides_pixels_and_the_future():
    support, now = CLIP.support[3], CLIP.test[1]
    seen = CLIP.seen_by(support, until=now)
    assert set(seen.images) == set(seen.mattes) == set(support)
    assert np.isnan(seen.landmarks[now + 1 :]).all()
    assert not seen.ok[now + 1 :].any()
    np.testing.assert_array_equal(seen.landmarks[: now + 1], CLIP.landmarks[: now + 1])
    assert np.isfinite(CLIP.landmarks).all(), "the clip itself must stay as it was"


def test_regions():
    frame = CLIP.frame(CLIP.test[0])
    found = face_landmarks()[:, :2] / 2
    regions = regions_of(frame, found)
    np.testing.assert_array_equal(regions.crop, frame.inside())
    # The chin stands at 128 + 60 px (at 256) plus the frame's shift, the face is 120 px high.
    chin_line = int(frame.landmarks[152, 1] / 2 + 0.06 * 120)
    assert regions.head[chin_line - 1].any()
    assert not regions.head[chin_line:].any()
    assert (frame.alpha()[regions.head] > 0.5).all()
    # pi a b of the ellipse with half axes of 45 and 60 px.
    assert regions.face.sum() == pytest.approx(np.pi * 45 * 60, rel=0.02)
    assert not regions_of(frame, None).face.any()


def test_the_cache_gives_back_what_it_took(tmp_path):
    file = tmp_path / "made" / "clip.npz"
    cache.save_clip(CLIP, file)
    assert_same(cache.load_clip(file), CLIP)
    assert [path.name for path in file.parent.iterdir()] == ["clip.npz"]


def test_a_clip_is_prepared_once_and_again_when_its_file_is_damaged(tmp_path, monkeypatch):
    calls = []

    def prepare(path, protocol):
        calls.append(path)
        return CLIP

    monkeypatch.setenv("AVATAR3D_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "prepare_clip", prepare)
    video = tmp_path / "video.mp4"
    video.write_bytes(b"pretend")
    for _ in range(2):
        assert_same(cache.cached_clip(video, Protocol()), CLIP)
    assert len(calls) == 1

    (file,) = (tmp_path / "cache").rglob("*.npz")
    whole = file.read_bytes()
    for damaged in (b"", whole[: len(whole) // 2], b"PK\3\4" + bytes(100), b"\x80pickle"):
        file.write_bytes(damaged)
        assert_same(cache.cached_clip(video, Protocol()), CLIP)
    assert len(calls) == 5

    cache.cached_clip(video, Protocol(shots=(1, 8, 16, 32)))
    video.write_bytes(b"another")
    cache.cached_clip(video, Protocol())
    assert len(calls) == 7, "another protocol and another content are other clips"


def test_a_missing_video_is_said():
    with pytest.raises(UserError, match="there is no file"):
        cache.cached_clip(Path("nowhere.mp4"), Protocol())
