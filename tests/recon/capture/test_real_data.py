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
from tests.support.data import data_file

pytest.importorskip("mediapipe", reason="MediaPipe is not installed (extra recon)")


@pytest.mark.parametrize(
    "name",
    ["set_J_24.jpg", "deca_1.jpg", "paint_lp_s9.jpg", "statue_anitalker.jpg", "a2f_exp4.png",
     "sh_100.jpg", "lp_s11.jpg", "celeba_000050.jpg"],
)  # fmt: skip
def test_photos_of_many_kinds(name: str) -> None:
    (frame,) = prepare([read_photo(data_file(f"photos/{name}"))], size=256)
    inside = frame.landmarks[:468, :2].astype(int).clip(0, 255)
    assert frame.matte[inside[:, 1], inside[:, 0]].mean() > 0.95
    assert 0.2 < float(frame.matte.mean()) < 0.9


def test_studio_background_is_removed() -> None:
    """A blue wall behind brown hair: what is opaque holds no blue, what is blue is not opaque."""
    (frame,) = prepare([read_photo(data_file("photos/set_J_24.jpg"))], size=256)
    red, blue = frame.image[..., 0], frame.image[..., 2]
    wall = (blue - red > 0.3) & frame.valid
    assert frame.matte[wall].mean() < 0.03
    colours = frame.foreground[(frame.matte > 0.1) & (frame.matte < 0.9)]
    assert float(np.maximum(colours[:, 2] - colours[:, 0], 0).mean()) < 0.06


def test_clip_from_file_to_frames() -> None:
    path = data_file("clips/mt_wojtek.mp4")
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
    frame = next(read_video(data_file("clips/lp_d9.mp4")))
    assert frame.image.shape == (480, 480, 3)


def test_phone_frame_is_upright() -> None:
    frame = next(read_video(data_file("clips/lp_d13.mp4")))
    face = detect_one(frame)
    assert face.landmarks[152, 1] > face.landmarks[10, 1] + 100


@pytest.mark.parametrize("numbers", [(38, 39, 41)])
def test_photos_of_one_person_pass(numbers: tuple[int, ...]) -> None:
    photos = [read_photo(data_file(f"photos/set_D_{number}.jpg")) for number in numbers]
    check_same_person(prepare(photos, size=256))
