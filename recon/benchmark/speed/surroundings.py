"""What a figure in milliseconds depends on besides the machine."""

from __future__ import annotations

import os
from typing import Any

import torch

from render.backends.cuda import CudaBackend


def surroundings() -> dict[str, Any]:
    """Torch's threads (Numba's follow them), and what else runs here."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    threads = torch.get_num_threads()
    if load is None:
        said = f"{threads} threads; how busy the machine was is not known."
    else:
        said = f"{threads} threads; when the run began the load was {load:.1f}, so the machine was "
        said += "quiet." if load < 0.3 else "busy: read ratios and minima."
    return {"threads": threads, "load_average": load, "load": said}


def accelerator() -> str | None:
    """The GPU's name if the cuda backend can run here."""
    if CudaBackend().why_unavailable() is not None:
        return None
    return torch.cuda.get_device_name()
