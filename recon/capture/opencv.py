"""OpenCV, imported at its first use: it belongs to an extra and takes a tenth of a second."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from avatar3d.optional import require

if TYPE_CHECKING:
    import cv2
else:

    class _Lazy:
        def __getattr__(self, name: str) -> Any:
            return getattr(require("cv2", extra="recon"), name)

    cv2 = _Lazy()

__all__ = ["cv2"]
