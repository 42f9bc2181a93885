"""Gaussians and cameras to pixels.

Importing this is as light as torch; kernels are compiled, or loaded from Numba's cache, at first
use (`warm_up` does it ahead).
"""

from render.rasterize import Rendering, rasterize, rasterize_8_bit, warm_up

__all__ = ["Rendering", "rasterize", "rasterize_8_bit", "warm_up"]
