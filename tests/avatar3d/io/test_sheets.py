"""UV sheets: nothing painted changes nothing; what is painted is what is seen."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from avatar3d.avatar import Avatar
from avatar3d.errors import UserError
from avatar3d.heads import load_head
from avatar3d.io.bake import at_rest
from avatar3d.io.exr import read_exr, write_exr
from avatar3d.io.maps import bake_surface
from avatar3d.io.sheets import read_sheets, write_sheets
from avatar3d.io.surface import head_surface
from tests.avatar3d.io.heads import avatar_on

SIZE = 96


@pytest.fixture(scope="module")
def avatar() -> Avatar:
    return avatar_on(load_head("default"), 1500)


@pytest.fixture(scope="module")
def written(avatar: Avatar, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sheets") / "png"
    write_sheets(avatar, folder, SIZE)
    return folder


@pytest.fixture
def folder(written: Path, tmp_path: Path) -> Path:
    """A copy to paint on."""
    copy = tmp_path / "sheets"
    copy.mkdir()
    for path in written.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    return copy


def _same(a: Avatar, b: Avatar) -> bool:
    return all(torch.equal(x, y) for x, y in zip(vars(a.attributes).values(),
                                                 vars(b.attributes).values()))  # fmt: skip


def test_the_folder_says_what_it_is(folder: Path):
    names = {path.name for path in folder.iterdir()}
    assert names == {"albedo.png", "opacity.png", "offset.exr", "sheet_albedo.png",
                     "sheet_opacity.png", "maps.json"}  # fmt: skip
    assert json.loads((folder / "maps.json").read_text())["texture_size"] == SIZE
    with Image.open(folder / "albedo.png") as image:
        assert (image.size, image.mode) == ((SIZE, SIZE), "RGB")


@pytest.mark.parametrize("images", ["png", "exr"])
def test_unpainted_sheets_change_no_bit(avatar: Avatar, tmp_path: Path, images):
    write_sheets(avatar, tmp_path / "sheets", 64, images)
    read, edited = read_sheets(tmp_path / "sheets", avatar)
    assert edited == []
    assert _same(read, avatar)


def _paint(path: Path, row: slice, column: slice, value) -> None:
    with Image.open(path) as image:
        pixels = np.asarray(image).copy()
    pixels[row, column] = value
    Image.fromarray(pixels).save(path)


def _shown(avatar: Avatar) -> np.ndarray:
    maps = bake_surface(at_rest(avatar), head_surface(avatar), SIZE)
    return maps.filled_picture(maps.baked.colors)


def test_paint_is_seen_where_it_was_laid(avatar: Avatar, folder: Path):
    row, column = slice(48, 60), slice(34, 46)  # across nose and cheeks
    _paint(folder / "albedo.png", row, column, (250, 10, 10))
    read, edited = read_sheets(folder, avatar)
    assert edited == ["albedo.png"]
    before, after = _shown(avatar), _shown(read)
    inner = slice(51, 57), slice(37, 43)
    painted = np.array([250, 10, 10]) / 255
    assert np.abs(after[inner] - painted).mean() < 0.3 * np.abs(before[inner] - painted).mean()
    # Far from it nothing moves: not the texture, and no Gaussian's place or opacity anywhere.
    assert np.abs(after[:30] - before[:30]).max() < 1e-6
    assert torch.equal(read.attributes.offsets, avatar.attributes.offsets)
    assert torch.equal(read.attributes.opacity_logits, avatar.attributes.opacity_logits)
    changed = ((read.attributes.colors - avatar.attributes.colors).abs() > 0.01).any(-1)
    assert 0 < int(changed.sum()) < 0.4 * avatar.count


def test_what_is_painted_black_in_opacity_disappears(avatar: Avatar, folder: Path):
    _paint(folder / "opacity.png", slice(None), slice(0, SIZE // 2), 0)
    read, edited = read_sheets(folder, avatar)
    assert edited == ["opacity.png"]
    maps = bake_surface(at_rest(read), head_surface(read), SIZE)
    cover = maps.picture(maps.baked.cover[:, None])[..., 0]
    assert cover[:, : SIZE // 2 - 20].mean() < 0.1
    original = bake_surface(at_rest(avatar), head_surface(avatar), SIZE)
    assert original.picture(original.baked.cover[:, None])[:, : SIZE // 2 - 20].mean() > 0.3
    assert torch.equal(read.attributes.colors, avatar.attributes.colors)


def test_painted_offsets_move_gaussians(avatar: Avatar, folder: Path):
    offset = read_exr(folder / "offset.exr", ("R", "G", "B"))
    write_exr(offset + [0, 0, 0.004], ("R", "G", "B"), folder / "offset.exr")
    read, edited = read_sheets(folder, avatar)
    assert edited == ["offset.exr"]
    moved = read.attributes.offsets - avatar.attributes.offsets
    on_head = at_rest(avatar).cloud.group < 4
    seen = moved[torch.from_numpy(on_head)].abs().amax(-1) > 0
    assert seen.float().mean() > 0.5
    raised = (moved[torch.from_numpy(on_head)][seen][:, 2] - 0.004).abs() < 5e-4
    assert raised.float().mean() > 0.99  # some show in texels that others fill


def test_missing_pictures_are_unpainted(avatar: Avatar, folder: Path):
    for name in ("opacity.png", "offset.exr", "sheet_albedo.png", "sheet_opacity.png"):
        (folder / name).unlink()
    read, edited = read_sheets(folder, avatar)
    assert edited == []
    assert _same(read, avatar)
    (folder / "albedo.png").unlink()
    with pytest.raises(UserError, match="none of its pictures"):
        read_sheets(folder, avatar)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: {**m, "format_version": 2}, "format version 2, expected 1"),
        (lambda m: {**m, "texture_size": 10**9}, "no sound texture_size"),
        (lambda m: {**m, "images": "bmp"}, "no sound texture_size and images"),
        (lambda m: {**m, "avatar": "0"}, "made from another avatar"),
        (lambda m: [], "format version None"),
    ],
)
def test_the_manifest_is_checked(avatar: Avatar, folder: Path, change, message: str):
    path = folder / "maps.json"
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    with pytest.raises(UserError, match=message):
        read_sheets(folder, avatar)


def test_wrong_pictures_are_refused(avatar: Avatar, folder: Path):
    sound = (folder / "albedo.png").read_bytes()
    Image.new("RGB", (8, 8)).save(folder / "albedo.png")
    with pytest.raises(UserError, match=f"8x8 texels, expected {SIZE}x{SIZE}"):
        read_sheets(folder, avatar)
    for damaged in (sound[:200], b"", b"GIF89a" + sound, sound[:-40] + bytes(40)):
        (folder / "albedo.png").write_bytes(damaged)
        with pytest.raises(UserError, match="damaged or not a PNG"):
            read_sheets(folder, avatar)
    (folder / "albedo.png").write_bytes(sound)
    (folder / "maps.json").write_text("{")
    with pytest.raises(UserError, match="not JSON"):
        read_sheets(folder, avatar)
    with pytest.raises(UserError, match="there is no file"):
        read_sheets(folder / "nowhere", avatar)
    far = np.full((SIZE, SIZE, 3), 2.0)
    (folder / "maps.json").write_bytes((folder / "maps.json").read_bytes())
    write_exr(far, ("R", "G", "B"), folder / "offset.exr")
