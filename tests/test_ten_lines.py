"""The example in the README is the one that runs."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest
import torch

import recon
from tests.support.avatars import draft_of_portrait

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "ten_lines.py"


def test_the_readme_shows_the_example():
    assert EXAMPLE.read_text() in (ROOT / "README.md").read_text()


def test_it_is_ten_lines():
    lines = [line for line in EXAMPLE.read_text().splitlines() if line.strip()]
    assert len(lines) <= 10


def test_the_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """With the avatar that other tests have made already: the path itself is tested there."""
    made = draft_of_portrait()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["ten_lines.py", "photo.jpg"])
    monkeypatch.setattr(recon, "create", lambda paths: made)
    names = runpy.run_path(str(EXAMPLE))
    picture = names["picture"]
    assert picture.shape == (512, 512, 3)
    assert 0.2 < float(picture.mean()) < 0.95
    assert torch.isfinite(picture).all()
    assert (tmp_path / "me.avatar").is_file()
