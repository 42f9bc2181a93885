"""Frames with their times: from a camera, or from a clip at the speed of life."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from avatar3d.errors import UserError
from recon.capture import read_video
from recon.capture.opencv import cv2
from recon.capture.quiet import no_native_stderr

CAMERA_WIDTH, CAMERA_HEIGHT = 640, 480
SILENCE_S = 2.0  # a camera that gives no picture for so long is gone


class TimedImage(NamedTuple):
    image: NDArray[np.uint8]  # [H, W, 3] sRGB
    time_s: float  # since the first


def is_camera(driver: str) -> bool:
    return driver == "camera" or driver.startswith("camera:")


@contextmanager
def open_source(driver: str, *, paced: bool) -> Iterator[Iterator[TimedImage]]:
    """`camera`, `camera:1` (the second one), or a clip; `paced` plays a clip as fast as it was shot."""
    if is_camera(driver):
        with _camera(driver) as images:
            yield images
    else:
        yield _clip(Path(driver), paced)


@contextmanager
def _camera(driver: str) -> Iterator[Iterator[TimedImage]]:
    _, _, number = driver.partition(":")
    if number and not number.isdigit():
        raise UserError(f"the driver must be camera, camera:1 and so on, or a file, got {driver!r}")
    with no_native_stderr():
        camera = cv2.VideoCapture(int(number or 0))
    try:
        if not camera.isOpened():
            raise UserError(
                f"there is no camera {int(number or 0)} that can be opened; connect one, close the "
                "programs that use it, or give a clip with --driver clip.mp4"
            )
        camera.set(cv2.CAP_PROP_FRAME_WIDTH, CAMERA_WIDTH)
        camera.set(cv2.CAP_PROP_FRAME_HEIGHT, CAMERA_HEIGHT)
        yield _pictures(camera)
    finally:
        camera.release()


def _pictures(camera: cv2.VideoCapture) -> Iterator[TimedImage]:
    started = last = time.monotonic()
    while True:
        ok, picture = camera.read()
        now = time.monotonic()
        if ok and picture is not None:
            last = now
            yield TimedImage(np.ascontiguousarray(picture[..., ::-1], np.uint8), now - started)
        elif now - last > SILENCE_S:
            raise UserError(
                f"the camera has given no picture for {SILENCE_S:g} s; see whether it is still "
                "connected, and start again"
            )
        else:
            time.sleep(0.01)


def _clip(path: Path, paced: bool) -> Iterator[TimedImage]:
    started = time.monotonic()
    for frame in read_video(path):
        if paced:
            time.sleep(max(0.0, started + frame.time_s - time.monotonic()))
        yield TimedImage(frame.image, frame.time_s)
