"""What a 3D Gaussian head avatar is and how it moves; no pixels here.

Names load on first use, so that `import avatar3d` costs nothing and the command line answers
`--help` without torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from avatar3d.avatar import Avatar
    from avatar3d.camera import Camera
    from avatar3d.codes import ARKIT_NAMES, ExpressionCode
    from avatar3d.errors import UserError
    from avatar3d.gaussians import Gaussians
    from avatar3d.heads.model import HeadModel
    from avatar3d.heads.registry import load_head
    from avatar3d.motion import Motion

__version__ = "0.1.0"

__all__ = [
    "ARKIT_NAMES",
    "Avatar",
    "Camera",
    "ExpressionCode",
    "Gaussians",
    "HeadModel",
    "Motion",
    "UserError",
    "__version__",
    "load_head",
]

_HOME = {
    "ARKIT_NAMES": "avatar3d.codes",
    "Avatar": "avatar3d.avatar",
    "Camera": "avatar3d.camera",
    "ExpressionCode": "avatar3d.codes",
    "Gaussians": "avatar3d.gaussians",
    "HeadModel": "avatar3d.heads.model",
    "Motion": "avatar3d.motion",
    "UserError": "avatar3d.errors",
    "load_head": "avatar3d.heads.registry",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
