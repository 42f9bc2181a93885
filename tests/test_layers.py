"""Imports run one way, and the light things stay light."""

from __future__ import annotations

import subprocess
import sys

import pytest


def test_packages_import_only_what_stands_to_their_left():
    run = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports; lint_imports()"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import avatar3d", ["torch", "numpy", "rich", "tyro"]),
        ("import avatar3d.cli", ["torch", "numpy", "rich", "tyro"]),
        ("import avatar3d.container", ["torch"]),
        ("import avatar3d.config", ["torch", "numpy"]),
        ("from avatar3d import Motion, Camera", ["numba", "cv2", "mediapipe", "scipy", "trimesh"]),
    ],
)
def test_light_imports_do_not_load(statement: str, absent: list[str]):
    code = f"{statement}\nimport sys\nprint(*(set({absent}) & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == []
