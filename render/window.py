"""A window that shows pictures as they are made."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from dataclasses import dataclass

import numpy as np

from avatar3d.errors import UserError
from avatar3d.optional import require

_ESCAPE = 27


@dataclass
class Window:
    """Takes u8 [H, W, 3] sRGB; false when the user has closed it (Esc, q, the cross)."""

    name: str
    instead: str  # what to do where no window can be opened

    def __enter__(self) -> Window:
        cv2 = require("cv2", extra="recon")
        if not has_display():
            raise UserError(
                "no window can be opened on this machine (it has no display, or an OpenCV without "
                f"windows); {self.instead}"
            )
        cv2.namedWindow(self.name, cv2.WINDOW_AUTOSIZE | cv2.WINDOW_GUI_NORMAL)  # no tool bar
        return self

    def __exit__(self, *error: object) -> None:
        cv2 = require("cv2", extra="recon")
        with contextlib.suppress(cv2.error):
            cv2.destroyWindow(self.name)

    def __call__(self, picture: np.ndarray) -> bool:
        cv2 = require("cv2", extra="recon")
        cv2.imshow(self.name, picture[..., ::-1])
        if cv2.waitKey(1) & 0xFF in (ord("q"), _ESCAPE):
            return False
        return cv2.getWindowProperty(self.name, cv2.WND_PROP_VISIBLE) >= 1


def has_display() -> bool:
    """Tried in another process: without a display, Qt below OpenCV does not raise, it aborts."""
    if sys.platform.startswith("linux") and not (
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    ):
        return False
    command = [sys.executable, "-c", "import cv2; cv2.namedWindow('probe')"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0
