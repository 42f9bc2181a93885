"""Photos or video to an avatar: capture, tracking, fitting, the learned prior, benchmarks."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from recon.pipeline import CreateConfig, CreateResult, create

__all__ = ["CreateConfig", "CreateResult", "create"]


def __getattr__(name: str) -> Any:
    """Names load on first use: importing a part of `recon` shall not load all of it."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module("recon.pipeline"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
