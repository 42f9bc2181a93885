"""No kernel reads or writes outside its arrays, over scenes made to provoke it.

Numba checks indices only when it compiles for it, and only in kernels that are not parallel, so a
process of its own does; there, on x86, for AVX2 without AVX-512. The intrinsics work on bare
pointers, which no compiler checks: so every array that a kernel gets to write stands between two
guards that must stay as they are.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("numba", reason="the cpu backend needs numba")

ROOT = Path(__file__).resolve().parents[2]

PROGRAM = """
import platform

import numba

plain_njit = numba.njit


def checked_njit(*arguments, **options):
    options.pop("parallel", None)  # bounds are checked in plain kernels only
    options.pop("cache", None)
    return plain_njit(*arguments, **options)


numba.njit = checked_njit

import numpy as np
import torch

from avatar3d.camera import Camera
from avatar3d.gaussians import Gaussians
from render import rasterize
from render.backends.cpu import blend, blend_backward, function
from tests.render.test_cpu_against_reference import CHANGES, camera_ahead, compare, scene


@checked_njit
def beyond(values):
    return values[values.shape[0]]


try:
    beyond(np.zeros(3))
except IndexError:
    print("bounds are checked")

GUARD, PATTERN = 64, 0xA5
guarded = []


def between_guards(shape, dtype=np.float64, fill=None):
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    memory = np.full(size + 2 * GUARD, PATTERN, np.uint8)
    values = memory[GUARD : GUARD + size].view(dtype).reshape(shape)
    if fill is not None:
        values[...] = fill
    guarded.append((memory, size))
    return values


class GuardedNumpy:
    empty = staticmethod(between_guards)
    empty_like = staticmethod(lambda like: between_guards(like.shape, like.dtype))
    zeros = staticmethod(lambda shape, dtype: between_guards(shape, dtype, 0))
    zeros_like = staticmethod(lambda like: between_guards(like.shape, like.dtype, 0))

    def __getattr__(self, name):
        return getattr(np, name)


function.np = GuardedNumpy()

pictures = 0
for size in ((1, 1), (17, 33), (48, 31), (3, 100), (8192, 1)):
    for seed, changes in enumerate([(), CHANGES, *((change,) for change in CHANGES)]):
        if size == (8192, 1) and seed > 1:
            break
        for count, channels in ((0, 3), (1, 1), (60, 5), (600, 3))[-2 if seed else 0 :]:
            leaves = [
                value.requires_grad_() for value in scene(seed, count, channels, changes)
            ]
            picture = rasterize(
                Gaussians(*leaves), camera_ahead(*size), backend="cpu",
                mode="antialiased" if seed % 2 else "classic",
            )
            if picture.colors.requires_grad:
                torch.autograd.grad(picture.colors.square().sum(), leaves)
            for memory, bytes_ in guarded:
                assert (memory[:GUARD] == PATTERN).all(), "written before an array"
                assert (memory[GUARD + bytes_ :] == PATTERN).all(), "written behind an array"
            assert len(guarded) >= 5
            guarded.clear()
            pictures += 1
print(pictures, "pictures")

for seed, mode in ((1, "classic"), (2, "antialiased")):
    compare(scene(seed, 60, 3, CHANGES), camera_ahead(48, 31), mode, True, tolerance=2e-3)
print("as the reference draws")
for kernel in (blend.blend, blend_backward.blend_backward):
    (assembly,) = kernel.inspect_asm().values()
    if platform.machine() == "x86_64":
        assert "ymm" in assembly and "vfmadd" in assembly and "zmm" not in assembly
"""


@pytest.mark.slow
def test_kernels_stay_inside_their_arrays():
    environment = {**os.environ, "NUMBA_BOUNDSCHECK": "1", "PYTHONPATH": str(ROOT)}
    if platform.machine() == "x86_64":
        environment |= {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx2,+fma"}
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    said = run.stdout.splitlines()
    assert said == ["bounds are checked", "166 pictures", "as the reference draws"]
