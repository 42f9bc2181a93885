"""Optional packages: an absent one fails at use, with the line that installs it."""

from __future__ import annotations

import functools
import importlib
from types import ModuleType

from avatar3d.errors import UserError


def require(module: str, extra: str) -> ModuleType:
    """Import `module`, or raise a UserError that names the extra which brings it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UserError(
            f"this needs the package {module.partition('.')[0]!r}, which cannot be imported ({error}); "
            f"install it with: pip install 'avatar3d[{extra}]'"
        ) from error


@functools.cache
def numba_is_here() -> bool:
    """Whether what Numba compiles may be used; what it does has a slower path in torch."""
    try:
        require("numba", extra="recon")
    except UserError:
        return False
    return True
