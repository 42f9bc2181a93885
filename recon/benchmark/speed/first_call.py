"""How long the first picture of a process takes, on a new machine and later."""

from __future__ import annotations

import os
import subprocess
import sys

from avatar3d.errors import UserError
from avatar3d.files import temporary_folder

# Torch's own import is no part of it; Numba's is, since the first picture brings it.
_PROGRAM = """
import time
import render
from recon.benchmark.speed.scene import synthetic_head
scene = synthetic_head(1000).resized(64)
gaussians = type(scene.gaussians)(*(value.requires_grad_() for value in scene.gaussians))
started = time.perf_counter()
render.rasterize(gaussians, scene.camera, backend="cpu").colors.sum().backward()
print(time.perf_counter() - started)
"""


def first_call_seconds() -> tuple[float, float]:
    """Forward and backward, in a process of their own: nothing compiled yet, all compiled."""
    with temporary_folder() as cache:
        environment = {
            **os.environ,
            "NUMBA_CACHE_DIR": str(cache),
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        }
        cold, warm = (_seconds(environment) for _ in range(2))
    return cold, warm


def _seconds(environment: dict[str, str]) -> float:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise UserError(f"the first picture could not be timed in a process: {done.stderr[-500:]}")
    return float(done.stdout)
