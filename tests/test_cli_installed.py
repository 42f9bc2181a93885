"""The wheel in a fresh environment: what a user has after `pip install`, without a checkout."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from avatar3d import __version__
from tests.support.avatars import write_portrait

ROOT = Path(__file__).parents[1]
COMMANDS = [
    "benchmark",
    "create",
    "demo",
    "export",
    "heads",
    "import",
    "inspect",
    "motion",
    "reenact",
    "render",
    "speak",
    "track",
    "view",
    "voice",
]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the environment's programs. Dependencies are those of this environment,
    found by a path file, so that nothing is downloaded; its own avatar3d is shadowed."""
    folder = tmp_path_factory.mktemp("installed")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    _run(build, cwd=ROOT)
    (wheel,) = folder.glob("avatar3d-*.whl")
    environment = folder / "environment"
    venv.create(environment, with_pip=False, symlinks=True)
    scheme = {"base": str(environment), "platbase": str(environment)}
    site = Path(sysconfig.get_path("purelib", "venv", vars=scheme))
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    programs = Path(sysconfig.get_path("scripts", "venv", vars=scheme))
    pip = [str(programs / "python"), "-m", "pip", "install", "--quiet", "--no-deps", "--no-index",
           "--ignore-installed", "--disable-pip-version-check", str(wheel)]  # fmt: skip
    _run(pip, cwd=folder)
    return programs


def _run(command: list[str], cwd: Path, status: int = 0) -> subprocess.CompletedProcess[str]:
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
    }
    done = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done


@pytest.mark.slow
def test_the_installed_package_is_the_wheel(installed: Path, tmp_path: Path):
    where = "import avatar3d, recon, render; print(avatar3d.__file__, recon.__file__)"
    paths = _run([str(installed / "python"), "-c", where], tmp_path).stdout.split()
    assert all(str(installed.parent) in path for path in paths)
    names = (
        "from avatar3d.config import preset_names; print(*preset_names('create'));"
        "from avatar3d.cli import find_commands; print(*find_commands())"
    )
    presets, commands = _run([str(installed / "python"), "-c", names], tmp_path).stdout.splitlines()
    assert presets.split() == ["best", "default", "draft"]
    assert commands.split() == COMMANDS


@pytest.mark.slow
def test_a_user_makes_and_renders_an_avatar(installed: Path, tmp_path: Path):
    avatar3d = str(installed / "avatar3d")
    photo = write_portrait(tmp_path)
    assert _run([avatar3d, "--version"], tmp_path).stdout == f"avatar3d {__version__}\n"
    assert "create" in _run([avatar3d, "--help"], tmp_path).stdout

    quick = ["--preset", "draft", "--config.fit.gaussian-count", "2000",
             "--config.fit.refine.iterations", "5"]  # fmt: skip
    made = _run([avatar3d, "create", photo.name, "-o", "me.avatar", *quick], tmp_path)
    assert made.stdout.startswith("wrote me.avatar (2,000 Gaussians")
    # Nothing but its progress, where compiling the kernels takes long.
    assert re.fullmatch(r"(\w+: \d+ %, \d+ s left\n)*", made.stderr), made.stderr
    assert "astronaut.png" in _run([avatar3d, "inspect", "me.avatar"], tmp_path).stdout
    drawn = _run([avatar3d, "render", "me.avatar", "-o", "me.png", "--size", "64"], tmp_path)
    assert drawn.stdout.startswith("wrote me.png (64x64)")
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"astronaut.png", "me.avatar", "me.preview.jpg", "me.png"}

    wrong = _run([avatar3d, "inspect", photo.name], tmp_path, status=1)
    assert wrong.stderr.startswith("error: astronaut.png claims a header")
    assert _run([avatar3d, "create", "--sise", "3"], tmp_path, status=2).stdout == ""
