"""The kernels on other processors: ARM64 code can be made of them, and AVX2 draws what AVX-512 does.

What LLVM makes of an intrinsic is looked at for processors that are not here; what can run here,
runs.
"""

# pyright: reportCallIssue=false
# (an intrinsic is called without the typing context that its definition takes)

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from avatar3d.gaussians import Gaussians
from render import rasterize
from tests.render.scenes import random_gaussians, tilted_camera

pytest.importorskip("numba", reason="the cpu backend needs numba")

ROOT = Path(__file__).resolve().parents[2]


def intermediate_code() -> str:
    """LLVM's of a function that calls every intrinsic which works on vectors."""
    from numba import njit, types

    from render.backends.cpu import blend, blend_backward, coverage

    @njit(_nrt=False, no_cpython_wrapper=True, no_cfunc_wrapper=True)
    def every_intrinsic(floats, masks, indices, slots, picture, pixels):
        coverage.covered_blocks(floats, 0, masks)
        listed = coverage.list_block(masks, 100, 3, indices)
        blend._blend_block(floats, 0, floats, indices, listed, np.float32(1), np.float32(1), floats)
        blend._store_block(floats, 0, floats, picture, floats, 0, 16)
        blend._store_block(floats, 0, floats, pixels, floats, 0, 16)
        blend_backward._load_block(floats, 0, 0, 16, floats, floats, floats, floats, 0, 16)
        blend_backward._blend_splats_backward(floats, 4, floats, masks, slots, floats, floats)
        return blend_backward._block_done(floats, 0)

    def array(kind):
        return types.Array(kind, 1, "C")

    arrays = types.float32, types.int32, types.int32, types.int64, types.float32, types.uint8
    every_intrinsic.compile(tuple(array(kind) for kind in arrays))
    (code,) = every_intrinsic.inspect_llvm().values()
    # Free of the processor that it was made for.
    code = re.sub(r'target (triple|datalayout) = ".*"', "", code)
    return re.sub(r'"(target-cpu|target-features|tune-cpu)"="[^"]*"', "", code)


@pytest.fixture(scope="module")
def code() -> str:
    return intermediate_code()


@pytest.mark.parametrize(
    ("triple", "processor", "multiply_add"),
    [
        ("aarch64-unknown-linux-gnu", "generic", "fmla"),
        ("arm64-apple-macosx", "apple-m1", "fmla"),
        ("x86_64-unknown-linux-gnu", "haswell", "vfmadd"),
        ("x86_64-unknown-linux-gnu", "znver4", "vfmadd"),
    ],
)
def test_vectors_become_this_processors_instructions(code: str, triple, processor, multiply_add):
    import llvmlite.binding as llvm

    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    machine = llvm.Target.from_triple(triple).create_target_machine(cpu=processor, opt=2)
    module = llvm.parse_assembly(f'target triple = "{triple}"\n{code}')
    module.verify()
    assembly = machine.emit_assembly(module)
    assert assembly.count(multiply_add) > 50
    # Nothing is left to a library: no call for 2^x, a rounding or a multiply-add.
    calls = re.findall(r"^\s+(?:bl|callq?)\s+(\S+)", assembly, re.MULTILINE)
    assert not [name for name in calls if re.search(r"exp|fma|rint|floor|ceil|pow", name)], calls


def picture_and_gradients() -> list[torch.Tensor]:
    gaussians = random_gaussians(300, seed=8, scale_m=0.01)
    leaves = Gaussians(*(value.requires_grad_() for value in gaussians))
    picture = rasterize(leaves, tilted_camera(70, 50), backend="cpu")
    gradients = torch.autograd.grad(picture.colors.square().sum(), leaves)
    return [picture.colors.detach(), picture.alpha.detach(), *gradients]


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() != "x86_64", reason="AVX is of x86 processors")
def test_avx2_draws_what_this_processor_draws(tmp_path: Path):
    program = (
        "import sys, torch; from tests.render.test_code_generation import picture_and_gradients; "
        "torch.save(picture_and_gradients(), sys.argv[1])"
    )
    written = tmp_path / "avx2.pt"
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "NUMBA_CACHE_DIR": str(tmp_path / "cache"),
        "NUMBA_CPU_NAME": "haswell",
        "NUMBA_CPU_FEATURES": "+avx,+avx2,+fma,+bmi,+bmi2,+lzcnt,+popcnt",
    }
    run = subprocess.run(
        [sys.executable, "-c", program, str(written)],
        env=environment, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-2000:]
    here = picture_and_gradients()
    for value, other in zip(here, torch.load(written, weights_only=True)):
        difference = (value - other).norm() / value.norm()
        assert float(difference) < 1e-5
