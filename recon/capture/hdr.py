"""HDR video, PQ or HLG in BT.2020, as the sRGB picture that a phone shows of it.

Networks and fits expect sRGB: an HDR frame taken as it is stored is pale and grey. Reference white
(203 cd/m^2, ITU-R BT.2408) becomes white, what is brighter is rolled off, darker tones stay.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, UInt8

if TYPE_CHECKING:
    import av

PQ, HLG = 16, 18  # AVCOL_TRC_SMPTE2084, AVCOL_TRC_ARIB_STD_B67
_BT2020 = 9  # AVCOL_SPC_BT2020_NCL
REFERENCE_WHITE_NITS, _HLG_PEAK_NITS, _HLG_GAMMA = 203.0, 1000.0, 1.2
_KNEE = 0.75  # linear, of reference white: below, tones are kept
_LEVELS = 1 << 16
_BT2020_LUMA = np.array([0.2627, 0.6780, 0.0593], np.float32)
# Linear BT.2020 to linear BT.709 (ITU-R BT.2087).
_TO_BT709 = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], np.float32
)


def is_hdr(picture: av.VideoFrame) -> bool:
    return getattr(picture, "color_trc", None) in (PQ, HLG)


def sdr_picture(picture: av.VideoFrame, width: int) -> UInt8[np.ndarray, "H W 3"]:
    """An HDR frame as u8 sRGB."""
    stored = picture.reformat(
        width=width, format="rgb48le", src_colorspace=_BT2020, interpolation="BICUBIC"
    ).to_ndarray()
    light = np.take(_decoded(int(picture.color_trc)), np.asarray(stored, np.uint16))
    if picture.color_trc == HLG:  # scene light to what a display of 1000 cd/m^2 shows (BT.2100)
        luma = (light @ _BT2020_LUMA)[..., None]
        light *= (_HLG_PEAK_NITS / REFERENCE_WHITE_NITS) * luma ** (_HLG_GAMMA - 1)
    return encoded(rolled_off(np.maximum(light @ _TO_BT709.T, 0)))


@lru_cache(maxsize=2)
def _decoded(transfer: int) -> Float[np.ndarray, "65536"]:
    """Code values to light: PQ in reference whites, HLG as scene light in 0..1."""
    codes = np.linspace(0.0, 1.0, _LEVELS)
    return (pq_light(codes) if transfer == PQ else hlg_light(codes)).astype(np.float32)


def pq_light(codes: np.ndarray) -> np.ndarray:
    """SMPTE ST 2084 (PQ), in reference whites."""
    m1, m2 = 2610 / 16384, 2523 / 32
    c1, c2, c3 = 3424 / 4096, 2413 / 128, 2392 / 128
    root = codes ** (1 / m2)
    return 1e4 / REFERENCE_WHITE_NITS * (np.maximum(root - c1, 0) / (c2 - c3 * root)) ** (1 / m1)


def hlg_light(codes: np.ndarray) -> np.ndarray:
    """ARIB STD-B67 (HLG), scene light in 0..1."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return np.where(codes <= 0.5, codes**2 / 3, (np.exp((codes - c) / a) + b) / 12)


def rolled_off(light: Float[np.ndarray, "*B 3"]) -> Float[np.ndarray, "*B 3"]:
    """Linear light in 0..1: unchanged up to the knee, hues kept beyond it."""
    most = np.maximum(light.max(axis=-1, keepdims=True), 1e-9)
    above = np.maximum(most - _KNEE, 0)
    shown = np.minimum(most, _KNEE) + (1 - _KNEE) * (1 - np.exp(-above / (1 - _KNEE)))
    return light * (shown / most)


def encoded(light: Float[np.ndarray, "*B 3"]) -> UInt8[np.ndarray, "*B 3"]:
    """Linear light in 0..1 to 8-bit sRGB."""
    curved = np.where(
        light <= 0.0031308, 12.92 * light, 1.055 * np.maximum(light, 1e-9) ** (1 / 2.4) - 0.055
    )
    return (np.clip(curved, 0, 1) * 255 + 0.5).astype(np.uint8)
