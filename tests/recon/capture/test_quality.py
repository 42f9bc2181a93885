"""What a user is told of their pictures: side views, closed eyes, blur, and the odd one out."""

from __future__ import annotations

import logging
from dataclasses import replace

import cv2
import numpy as np
import pytest

from avatar3d.codes import ExpressionCode
from recon import spoilers
from recon.capture import HeadCrop, PreparedFrame
from recon.capture.quality import (
    LEAST_DETAIL,
    View,
    detail,
    lost_to_blur,
    say_what_is_missing,
    say_which_are_blurred,
)


def photo(name: str = "me.jpg", seed: int = 0) -> PreparedFrame:
    """Grain as fine as pixels, with landmarks over the middle."""
    rng = np.random.default_rng(seed)
    image = rng.random((256, 256, 3), np.float32)
    landmarks = rng.uniform(64, 192, (478, 3)).astype(np.float32)
    landmarks[10, :2], landmarks[152, :2] = (128, 64), (128, 192)
    ones = np.ones((256, 256), np.float32)
    return PreparedFrame(
        image, ones, image, ones > 0, landmarks, HeadCrop(0, 0, 1, 256), source=name
    )


def blurred(frame: PreparedFrame, sigma_px: float) -> PreparedFrame:
    return replace(frame, image=cv2.GaussianBlur(frame.image, (0, 0), sigma_px))


@pytest.mark.parametrize(
    ("yaw", "shut", "said"),
    [
        ((5.0, 60.0), (0.9, 0.1), ""),
        ((50.0, 60.0), (0.1, 0.1), "shows the face from the side only (50 degrees"),
        ((5.0, 5.0), (0.9, 0.8), "shows the eyes closed"),
    ],
)
def test_what_no_picture_shows_is_said(
    yaw: tuple, shut: tuple, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        say_what_is_missing([View(photo(), *pair) for pair in zip(yaw, shut)])
        say_what_is_missing([])
    assert (f"me.jpg {said}" in caplog.text) if said else not caplog.text


def test_several_files_are_not_named_as_one(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        say_what_is_missing([View(photo("a.jpg"), 70, 0), View(photo("b.jpg"), 60, 0)])
    assert "every picture shows the face from the side" in caplog.text


def test_blur_is_told_whatever_the_contrast() -> None:
    sharp = photo()
    values = [detail(sharp), *(detail(blurred(sharp, sigma)) for sigma in (1, 2, 4, 8))]
    assert values == sorted(values, reverse=True)
    assert values[0] > LEAST_DETAIL > values[-1]
    dull = replace(sharp, image=0.4 + 0.1 * blurred(sharp, 2).image)
    assert detail(dull) == pytest.approx(detail(blurred(sharp, 2)), abs=1e-3)
    assert lost_to_blur(np.zeros((8, 8), np.uint8)) == 0


def test_blurred_photos_are_named_once(caplog: pytest.LogCaptureFixture) -> None:
    soft = blurred(photo("soft.jpg"), 8)
    with caplog.at_level(logging.WARNING):
        say_which_are_blurred([photo(), soft, soft])
    assert "soft.jpg is blurred" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        say_which_are_blurred([soft, replace(soft, source="too.jpg")])
    assert "soft.jpg and too.jpg are blurred" in caplog.text


def test_views_are_read_from_codes() -> None:
    codes = ExpressionCode.stack([
        ExpressionCode.from_named(eyeBlinkLeft=1.0, eyeBlinkRight=0.6),
        ExpressionCode.from_named()._replace(
            head_rotation=ExpressionCode.from_named().head_rotation.new_tensor(
                [np.cos(np.pi / 6), 0, np.sin(np.pi / 6), 0]
            )
        ),
    ])  # fmt: skip
    front, side = spoilers.views([photo(), photo()], codes)
    assert (front.yaw_degrees, front.shut) == pytest.approx((0, 0.8))
    assert (side.yaw_degrees, side.shut) == pytest.approx((60, 0), abs=1e-3)


@pytest.mark.parametrize(
    ("errors", "said"),
    [
        ((0.04, 0.05, 0.12, 0.05), "c.jpg fits the other photos badly"),
        ((0.04, 0.05, 0.06, 0.05), ""),
        ((0.004, 0.005, 0.02, 0.005), ""),
        ((0.04, 0.05, 0.12, 0.05, 0.11), ""),
        ((0.04, 0.3), ""),
    ],
)
def test_the_photo_that_the_avatar_explains_worst_is_named(
    errors: tuple, said: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(spoilers, "face_errors", lambda *_: np.array(errors))
    photos = [photo(f"{name}.jpg") for name in "abcd"[: len(errors)]]
    with caplog.at_level(logging.WARNING):
        spoilers.say_what_spoils(photos, [], None)  # type: ignore[arg-type]
    assert (said in caplog.text) if said else not caplog.text
