from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage.data import astronaut

from avatar3d import Avatar, UserError
from recon import CreateConfig, create
from recon.fit.config import RefineConfig
from recon.fit.fitter import FitConfig
from recon.reenact import transfer
from recon.support_frames import frames_of_clip, frames_of_photos
from tests.recon.capture.synthetic import write_video
from tests.support.avatars import draft_of_portrait, write_portrait

TINY = CreateConfig(
    fit_size_px=96, fit=FitConfig(gaussian_count=1000, refine=RefineConfig(iterations=3))
)


def _moving_portrait(blank: tuple[int, ...] = ()) -> list[np.ndarray]:
    """Eight frames in which the portrait slides sideways; those in `blank` are grey."""
    picture = astronaut()[:320, :384]
    return [
        np.full_like(picture, 127) if index in blank else np.roll(picture, 2 * index, axis=1)
        for index in range(8)
    ]


def test_a_photo_becomes_an_avatar(tmp_path: Path):
    stages: list[tuple[str, int, int]] = []
    result = create(
        write_portrait(tmp_path),
        TINY,
        licence="CC0",
        consent="given",
        progress=lambda *at: stages.append(at),
    )
    avatar = result.avatar
    assert avatar.count == 1000
    assert len(result.frames) == 1
    assert set(result.seconds) == {"head", "frames", "track", "fit"}
    assert stages[0] == ("frames", 1, 1)
    assert stages[-1] == ("fit", 3, 3)
    provenance = avatar.provenance
    assert provenance["inputs"][0]["name"] == "astronaut.png"
    assert len(provenance["inputs"][0]["sha256"]) == 64
    assert provenance["settings"]["fit"]["gaussian_count"] == 1000
    assert (provenance["licence"], provenance["consent"]) == ("CC0", "given")
    assert 0.3 < provenance["view"]["distance_m"] < 2.0
    avatar.save(tmp_path / "me.avatar")
    assert Avatar.load(tmp_path / "me.avatar").count == 1000


def test_the_portrait_is_recognised():
    """The demo's draft: its render matches the photo, and the neutral face's eyes are open."""
    result = draft_of_portrait()
    assert not result.warnings
    assert result.fit.losses[-1] < 0.6 * result.fit.losses[0]


def test_frames_without_the_face_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    clip = write_video(tmp_path / "clip.mp4", _moving_portrait(blank=(0, 3)))
    done: list[tuple[int, int]] = []
    frames = frames_of_clip(clip, 128, 8, watch=lambda *at: done.append(at))
    assert [frame.index for frame in frames] == [1, 2, 4, 5, 6, 7]
    assert len({frame.crop for frame in frames}) == 1
    assert "no face in 2 of the 8 frames" in caplog.text
    fractions = [a / b for a, b in done]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0


def test_frames_are_spread_over_a_clip(tmp_path: Path):
    clip = write_video(tmp_path / "clip.mp4", _moving_portrait())
    assert [frame.index for frame in frames_of_clip(clip, 128, 3)] == [0, 4, 7]


def test_a_clip_held_in_memory_and_one_read_twice_give_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    clip = write_video(tmp_path / "clip.mp4", _moving_portrait(blank=(1,)))
    held = frames_of_clip(clip, 128, 4)
    monkeypatch.setattr("recon.support_frames.HELD_BYTES", 0)
    again = frames_of_clip(clip, 128, 4)
    assert [frame.index for frame in held] == [frame.index for frame in again]
    assert all(np.array_equal(a.image, b.image) for a, b in zip(held, again))


def test_a_clip_without_a_face_is_refused(tmp_path: Path):
    clip = write_video(tmp_path / "clip.mp4", _moving_portrait(blank=tuple(range(8))))
    with pytest.raises(UserError, match=r"no face was found in 8 frames of clip\.mp4"):
        frames_of_clip(clip, 128, 8)


def test_of_many_photos_some_are_used(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    photo = write_portrait(tmp_path)
    frames = frames_of_photos([photo] * 5, 128, 2)
    assert len(frames) == 2
    assert "5 photos were given, 2 of them are used" in caplog.text


def test_the_face_can_be_chosen(tmp_path: Path):
    face = astronaut()[:256, 96:352]
    small = np.asarray(Image.fromarray(face).resize((160, 160)))
    both = np.full((256, 480, 3), 127, np.uint8)
    both[:, :256] = face
    both[40:200, 300:460] = small
    Image.fromarray(both).save(tmp_path / "two.png")
    (largest,) = frames_of_photos([tmp_path / "two.png"], 128, 1, face_index=0)
    (other,) = frames_of_photos([tmp_path / "two.png"], 128, 1, face_index=1)
    assert largest.crop.x0 < 100
    assert other.crop.x0 > 200


def test_a_transfer_faces_the_camera():
    import torch

    from avatar3d.animation import idle
    from avatar3d.geometry import quaternion_multiply, rotation_vector_to_quaternion

    motion = idle(4.0)
    turned = rotation_vector_to_quaternion(torch.tensor([0.1, 0.5, 0.0]))
    codes = motion.codes._replace(
        head_rotation=quaternion_multiply(
            turned.expand(len(motion), 4), motion.codes.head_rotation
        ),
        head_translation=motion.codes.head_translation + 0.3,
    )
    moved = transfer(type(motion)(codes, motion.frames_per_second))
    same = transfer(motion)
    torch.testing.assert_close(moved.codes.head_translation.mean(0), torch.zeros(3))
    for a, b in (
        (moved.codes.head_rotation, same.codes.head_rotation),
        (moved.codes.neck_rotation, same.codes.neck_rotation),
    ):
        torch.testing.assert_close(
            (a * b).sum(-1).abs(), torch.ones(len(motion)), atol=1e-3, rtol=0
        )
    assert moved.codes.head_rotation[:, 0].abs().mean() > 0.99
