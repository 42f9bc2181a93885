"""A picture as every later step sees it: upright, 8-bit sRGB, with what is known of its origin."""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from avatar3d.errors import UserError
from avatar3d.optional import require

if TYPE_CHECKING:
    from PIL import Image

logger = logging.getLogger(__name__)

# A picture decodes to 3-4 bytes a pixel and is held twice while it is converted: 100 megapixels
# stay below 1 GiB, and are more than any head needs.
MAX_PIXELS = 100_000_000


@dataclass(frozen=True)
class Frame:
    """One picture of the input.

    `image` is upright sRGB u8 [H, W, 3]; `alpha` is f32 [H, W] in 0..1 where the file had a
    transparency that hides something, else None (colours are not multiplied by it).
    `time_s` is the time since the first frame of a video, 0 for photos; `index` counts the frames
    of the source.
    """

    image: NDArray[np.uint8]
    alpha: NDArray[np.float32] | None = None
    time_s: float = 0.0
    source: str = "picture"
    index: int = 0

    @property
    def name(self) -> str:
        """What messages call this picture: `me.jpg`, or `clip.mp4 at 1.2 s`."""
        if self.index == 0 and self.time_s == 0.0:
            return self.source
        return f"{self.source} at {self.time_s:.2f} s"

    def flattened(self, grey: int = 255) -> NDArray[np.uint8]:
        """The image over a plain grey [H, W, 3]: what is transparent may hide any colour."""
        if self.alpha is None:
            return self.image
        alpha = self.alpha[..., None]
        return np.rint(self.image * alpha + grey * (1.0 - alpha)).astype(np.uint8)


def check_size(width: int, height: int, name: str) -> None:
    """Refuse a picture too large to decode safely; call it before decoding."""
    if width * height > MAX_PIXELS:
        raise UserError(
            f"{name} has {width} x {height} = {width * height / 1e6:.0f} megapixels, but at most "
            f"{MAX_PIXELS / 1e6:.0f} are read; scale it down first"
        )


def read_photo(path: str | Path) -> Frame:
    """Read a photo upright, as 8-bit sRGB with its transparency.

    Orientation follows EXIF; an embedded ICC profile is converted to sRGB; palettes, greys,
    16-bit and CMYK pictures are converted. Of a file with several pictures the first is taken.
    """
    path = Path(path)
    image_module = require("PIL.Image", extra="recon")
    try:
        with warnings.catch_warnings():
            # Pillow warns about large pictures and broken EXIF; the size is checked below.
            warnings.simplefilter("ignore")
            with image_module.open(path) as opened:
                check_size(*opened.size, name=path.name)
                _say_what_is_left(opened, path.name)
                opened.load()
                image, alpha = _to_srgb(_upright(opened))
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; check the name of the picture") from None
    except IsADirectoryError:
        raise UserError(f"{path} is a folder, but a picture was expected") from None
    except PermissionError:
        raise UserError(f"{path} may not be read; check its permissions") from None
    except image_module.DecompressionBombError:
        raise UserError(
            f"{path.name} has far more than {MAX_PIXELS / 1e6:.0f} megapixels; scale it down first"
        ) from None
    except image_module.UnidentifiedImageError:
        raise UserError(
            f"{path.name} is not a picture that can be read; give a JPEG, PNG, WebP, TIFF or BMP"
        ) from None
    except Exception as error:  # noqa: BLE001 - decoders raise OSError, SyntaxError, struct.error...
        raise UserError(
            f"{path.name} is damaged and cannot be decoded ({error}); give an intact copy"
        ) from None
    return Frame(image, alpha, source=path.name)


def _say_what_is_left(opened: Image.Image, name: str) -> None:
    """Warn of pictures that are not looked at; phones add small ones (MPO) that nobody misses."""
    count = getattr(opened, "n_frames", 1)
    if count > 1 and opened.format != "MPO":
        logger.warning("%s holds %d pictures; the first is taken", name, count)


def _upright(image: Image.Image) -> Image.Image:
    """Turn the picture as its EXIF orientation says; unreadable EXIF counts as none."""
    operations = require("PIL.ImageOps", extra="recon")
    try:
        return operations.exif_transpose(image)
    except Exception:
        logger.debug("unreadable EXIF ignored", exc_info=True)
        return image


def _to_srgb(image: Image.Image) -> tuple[NDArray[np.uint8], NDArray[np.float32] | None]:
    """Any Pillow mode -> (u8 [H, W, 3] sRGB, alpha f32 [H, W] or None)."""
    if image.mode == "P":
        image = image.convert("RGBA" if "transparency" in image.info else "RGB")
    elif image.mode in ("PA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")

    alpha = None
    if "A" in image.getbands():
        alpha = _useful_alpha(np.asarray(image.getchannel("A"), np.float32) / 255.0)
    if image.mode in ("LA", "RGBA"):
        image = _without_alpha(image)
    if image.mode in ("I;16", "I;16B", "I;16L", "I;16N", "I", "F"):
        image = _grey_8_bit(image)
    return np.asarray(_apply_profile(image), np.uint8).copy(), alpha


def _without_alpha(image: Image.Image) -> Image.Image:
    return image.convert("L" if image.mode == "LA" else "RGB")


def _useful_alpha(alpha: NDArray[np.float32]) -> NDArray[np.float32] | None:
    """None when the channel hides nothing, or hides everything (written by mistake)."""
    if alpha.min() > 0.98 or alpha.max() < 0.02:
        return None
    return alpha


def _grey_8_bit(image: Image.Image) -> Image.Image:
    """16-bit, 32-bit and floating greys to 8 bits, by the range that their values fill."""
    values = np.nan_to_num(np.asarray(image).astype(np.float32), posinf=0.0, neginf=0.0)
    peak = float(values.max(initial=0.0))
    full_scale = next((full for full in (1.0, 255.0, 65535.0) if peak <= full), peak)
    if image.mode.startswith("I;16"):
        full_scale = 65535.0
    grey = np.clip(values / full_scale * 255.0, 0.0, 255.0)
    return require("PIL.Image", extra="recon").fromarray(np.rint(grey).astype(np.uint8))


def _apply_profile(image: Image.Image) -> Image.Image:
    """Convert to sRGB by the embedded ICC profile; without a usable one, by mode alone."""
    profile = image.info.get("icc_profile")
    if profile and image.mode in ("RGB", "L", "CMYK", "LAB"):
        colours = require("PIL.ImageCms", extra="recon")
        try:
            source = colours.ImageCmsProfile(BytesIO(profile))
            converted = colours.profileToProfile(
                image, source, colours.createProfile("sRGB"), outputMode="RGB"
            )
            if converted is not None:
                return converted
        except Exception:
            logger.debug("unusable colour profile ignored", exc_info=True)
    return image.convert("RGB")
