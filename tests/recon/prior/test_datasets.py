"""Clips of many people, as datasets lay them out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from avatar3d.errors import UserError
from recon.prior.datasets import LAYOUTS, read_layout
from recon.prior.make_episodes import supports
from tests.recon.benchmark.synthetic import make_clip

FILES = {
    "people": {"ada/one.mp4": "ada", "ada/two.MOV": "ada", "bob-2/x.mp4": "bob_2"},
    "voxceleb2": {
        "dev/mp4/id00012/21Uxsk56VDQ/00001.mp4": "id00012",
        "test/mp4/id00017/01dfn2spqyE/00001.mp4": "id00017",
    },
    "nersemble": {"017/sequences/EXP-1-head/images/cam_222200037.mp4": "nersemble_017"},
}


@pytest.mark.parametrize("layout", sorted(FILES))
def test_a_layout_tells_who_is_seen_in_which_file(layout: str, tmp_path: Path) -> None:
    for name in [*FILES[layout], "notes.txt", "ada/portrait.jpg"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = read_layout(layout, tmp_path)
    assert {str(clip.path.relative_to(tmp_path)): clip.person for clip in found} == FILES[layout]


def test_a_manifest_names_people(tmp_path: Path) -> None:
    entries = [
        {"kind": "clip", "identity": "ada", "file": "clips/a.mp4"},
        {"kind": "photo", "identity": "bob", "file": "photos/b.jpg"},
    ]
    (tmp_path / "manifest.json").write_text(json.dumps(entries))
    (found,) = read_layout("manifest", tmp_path)
    assert (found.person, found.path) == ("ada", tmp_path / "clips/a.mp4")


@pytest.mark.parametrize("text", ["", "{}", "[1]", '[{"kind": "clip"}]', "null"])
def test_a_bad_manifest_is_refused_in_words(text: str, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(UserError, match="manifest"):
        read_layout("manifest", tmp_path)


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
def test_an_empty_folder_is_refused_in_words(layout: str, tmp_path: Path) -> None:
    with pytest.raises(UserError):
        read_layout(layout, tmp_path)


def test_episodes_learn_from_the_first_half_only() -> None:
    clip = make_clip()
    sets = supports(clip, seed=3)
    assert [len(support) for support in sets] == [1, 1, 3, 8]
    assert sets == supports(clip, seed=3)
    assert max(max(support) for support in sets) < min(clip.test)
