"""Real pictures and clips: everyone is found, mattes hold the head and leave the wall out."""

from __future__ import annotations

import numpy as np
import pytest

from recon.capture import (
    check_same_person,
    detect_one,
    prepare,
    read_photo,
    read_video,
    read_video_info,
    sample_indices,
    stable_head_crop,
    track_faces,
)
from tests.support.data import data_file_by_hash

pytest.importorskip("mediapipe", reason="MediaPipe is not installed (extra recon)")


@pytest.mark.parametrize(
    "digest",
    [
        pytest.param("7205b65401e6", id="studio"),
        pytest.param("18ebc0c683a4", id="photo"),
        pytest.param("04b306d14ea4", id="painting"),
        pytest.param("f0ebcc6ec11b", id="statue"),
        pytest.param("882157394608", id="grimace"),
        pytest.param("b8d68771b387", id="portrait"),
        pytest.param("be0e00f77643", id="glasses"),
        pytest.param("36029289c888", id="small"),
    ],
)
def test_photos_of_many_kinds(digest: str) -> None:
    (frame,) = prepare([read_photo(data_file_by_hash(digest))], size=256)
    inside = frame.landmarks[:468, :2].astype(int).clip(0, 255)
    assert frame.matte[inside[:, 1], inside[:, 0]].mean() > 0.95
    assert 0.2 < float(frame.matte.mean()) < 0.9


def test_studio_background_is_removed() -> None:
    """A blue wall behind brown hair: what is opaque holds no blue, what is blue is not opaque."""
    (frame,) = prepare([read_photo(data_file_by_hash("7205b65401e6"))], size=256)
    red, blue = frame.image[..., 0], frame.image[..., 2]
    wall = (blue - red > 0.3) & frame.valid
    assert frame.matte[wall].mean() < 0.03
    colours = frame.foreground[(frame.matte > 0.1) & (frame.matte < 0.9)]
    assert float(np.maximum(colours[:, 2] - colours[:, 0], 0).mean()) < 0.06


def test_clip_from_file_to_frames() -> None:
    path = data_file_by_hash("7d5c918a975c")
    assert read_video_info(path).frame_count == 400
    track = track_faces(read_video(path, max_frames=60))
    assert track.found.all()
    crop = stable_head_crop(track.landmarks, size=256)
    chosen = sample_indices(60, 3)
    frames = prepare(
        read_video(path, indices=chosen), faces=track.faces_at(chosen), crop=crop, size=256
    )
    assert [frame.index for frame in frames] == chosen
    for frame in frames:
        assert frame.matte[:25, :25].max() < 0.1
        nose = frame.landmarks[1, :2].astype(int)
        assert frame.matte[nose[1], nose[0]] == 1


def test_clip_with_oblong_pixels_shows_a_square_picture() -> None:
    frame = next(read_video(data_file_by_hash("9a414aa1d547")))
    assert frame.image.shape == (480, 480, 3)


def test_phone_frame_is_upright() -> None:
    frame = next(read_video(data_file_by_hash("d03e39c28323")))
    face = detect_one(frame)
    assert face.landmarks[152, 1] > face.landmarks[10, 1] + 100


def test_photos_of_one_person_pass() -> None:
    digests = ("c4410cd7631b", "7b25dfaa3a91", "0e41747b4fc1")
    photos = [read_photo(data_file_by_hash(digest)) for digest in digests]
    check_same_person(prepare(photos, size=256))
