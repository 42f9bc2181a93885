"""Clips of many people, as datasets lay them out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from avatar3d.errors import UserError
from recon.benchmark.prepare import frame_rate, frames_of, hash_clip
from recon.prior.datasets import LAYOUTS, read_layout
from recon.prior.make_episodes import supports
from tests.recon.benchmark.synthetic import make_clip

FILES = {
    "people": {"ada/one.mp4": "ada", "ada/two.MOV": "ada", "bob-2/x.mp4": "bob_2"},
    "voxceleb2": {
        "dev/mp4/id00012/21Uxsk56VDQ/00001.mp4": "id00012",
        "test/mp4/id00017/01dfn2spqyE/00001.mp4": "id00017",
    },
    "vfhq": {
        "test/Clip+a-b+c+P0+C1+F1-200.mp4": "vfhq_a_b+c_P0",
        "Clip+xyz+P1+C0+F5-90/00000.png": "vfhq_xyz_P1",
    },
    "insta": {"marcel/images/00000.png": "insta_marcel", "bala/images/0.jpg": "insta_bala"},
    "nersemble": {"017/sequences/EXP-1-head/images/cam_222200037.mp4": "nersemble_017"},
}


@pytest.mark.parametrize("layout", sorted(FILES))
def test_a_layout_tells_who_is_seen_in_which_file(layout: str, tmp_path: Path) -> None:
    for name in [*FILES[layout], "notes.txt", "ada/portrait.jpg"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    for name in FILES["insta"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).parent.with_name("transforms_train.json").touch()
    (tmp_path / "nobody" / "images").mkdir(parents=True)
    found = read_layout(layout, tmp_path)
    wanted = {  # frames stand for their folder
        name if Path(name).suffix.lower() in (".mp4", ".mov") else str(Path(name).parent): person
        for name, person in FILES[layout].items()
    }
    assert {str(clip.path.relative_to(tmp_path)): clip.person for clip in found} == wanted


def test_a_folder_of_frames_is_a_clip(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image", reason="needs the extra recon")
    for index in (0, 9, 10, 2):
        image.new("RGB", (8, 6), (index, 0, 0)).save(tmp_path / f"{index}.png")
    (tmp_path / "notes.txt").touch()
    assert [int(frame[0, 0, 0]) for frame in frames_of(tmp_path, 3)] == [0, 2, 9]
    assert frame_rate(tmp_path) == 25
    before = hash_clip(tmp_path)
    (tmp_path / "notes.txt").write_text("not of the clip")
    assert hash_clip(tmp_path) == before
    image.new("RGB", (9, 6)).save(tmp_path / "10.png")
    assert hash_clip(tmp_path) != before
    with pytest.raises(UserError, match=r"10\.png must be as large"):
        list(frames_of(tmp_path, 9))


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
