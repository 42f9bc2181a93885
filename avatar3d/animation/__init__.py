"""Movement without a driver: named expressions, a head that idles, cameras around it."""

from avatar3d.animation.expressions import EXPRESSIONS, expression_code
from avatar3d.animation.idle import expression_tour, idle
from avatar3d.animation.view import portrait_camera, turntable

__all__ = [
    "EXPRESSIONS",
    "expression_code",
    "expression_tour",
    "idle",
    "portrait_camera",
    "turntable",
]
