"""The still formats: round trips to each format's precision, and files that mean harm."""

from __future__ import annotations

import gzip
import json
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from avatar3d.camera import Camera
from avatar3d.codes import ExpressionCode
from avatar3d.errors import UserError
from avatar3d.gaussians import Gaussians
from avatar3d.io.khr import read_khr, write_khr
from avatar3d.io.ply import read_ply, write_ply
from avatar3d.io.splats import Splats
from avatar3d.io.spz import read_spz, write_spz
from render import rasterize
from tests.avatar3d.io.still import covariances, random_splats
from tests.support.avatars import plain_avatar

FORMATS: dict[str, tuple[Callable[[Splats, Path], None], Callable[[Path], Splats]]] = {
    ".ply": (write_ply, read_ply),
    ".spz": (write_spz, read_spz),
    ".glb": (write_khr, read_khr),
}
DEGREES = (1, 4, 9, 16)


def _through(splats: Splats, suffix: str, folder: Path) -> Splats:
    write, read = FORMATS[suffix]
    write(splats, folder / f"still{suffix}")
    return read(folder / f"still{suffix}")


@pytest.mark.parametrize("coefficients", DEGREES)
def test_ply_keeps_every_bit(tmp_path: Path, coefficients: int):
    splats = random_splats(coefficients=coefficients)
    read = _through(splats, ".ply", tmp_path)
    for before, after in zip(splats[:4], read[:4]):
        np.testing.assert_array_equal(after, before)
    np.testing.assert_array_equal(read.sh[:, :coefficients], splats.sh)
    assert not read.sh[:, coefficients:].any()  # the values that importers want to be there


def test_ply_is_laid_out_as_importers_want(tmp_path: Path):
    splats = random_splats(count=3)
    write_ply(splats, tmp_path / "a.ply")
    header, _, body = (tmp_path / "a.ply").read_bytes().partition(b"end_header\n")
    lines = header.decode().splitlines()
    assert lines[:3] == ["ply", "format binary_little_endian 1.0", "element vertex 3"]
    names = [line.split()[2] for line in lines[3:]]
    assert names[:9] == ["x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2"]
    assert names[9:54] == [f"f_rest_{i}" for i in range(45)]
    assert names[54:] == ["opacity", "scale_0", "scale_1", "scale_2",
                          "rot_0", "rot_1", "rot_2", "rot_3"]  # fmt: skip
    assert len(body) == 3 * 62 * 4
    x, y, z = struct.unpack_from("<fff", body)
    np.testing.assert_array_equal([x, -y, -z], splats.positions[0])  # 3DGS looks +Y down


@pytest.mark.parametrize("coefficients", DEGREES)
def test_khr_keeps_floats(tmp_path: Path, coefficients: int):
    splats = random_splats(coefficients=coefficients)
    read = _through(splats, ".glb", tmp_path)
    np.testing.assert_array_equal(read.positions, splats.positions)
    np.testing.assert_array_equal(read.sh, splats.sh)
    # A scale and an opacity are stored as themselves: logs and logits come back to a rounding.
    np.testing.assert_allclose(read.log_scales, splats.log_scales, atol=1e-6)
    np.testing.assert_allclose(read.opacity_logits, splats.opacity_logits, atol=3e-5)
    np.testing.assert_allclose(read.quaternions, splats.quaternions, atol=1e-7)


@pytest.mark.parametrize("coefficients", DEGREES)
def test_spz_is_exact_to_half_a_step(tmp_path: Path, coefficients: int):
    splats = random_splats(count=400, coefficients=coefficients)
    read = _through(splats, ".spz", tmp_path)
    np.testing.assert_allclose(read.positions, splats.positions, atol=0.51 / 2**20)
    np.testing.assert_allclose(read.log_scales, splats.log_scales, atol=0.51 / 16)
    opacity, expected = (1 / (1 + np.exp(-s.opacity_logits)) for s in (read, splats))
    np.testing.assert_allclose(opacity, expected, atol=0.51 / 255)
    np.testing.assert_allclose(read.sh[:, 0], splats.sh[:, 0], atol=0.51 / (0.15 * 255))
    np.testing.assert_allclose(read.sh[:, 1:], splats.sh[:, 1:], atol=0.51 / 128)
    along = np.abs((read.quaternions * splats.quaternions).sum(-1)).clip(0, 1)
    assert np.degrees(2 * np.arccos(along)).max() < 0.3  # three parts of 9 bits and a sign


def test_spz_read_and_written_again_is_the_same_file(tmp_path: Path):
    write_spz(random_splats(count=300, coefficients=16), tmp_path / "a.spz")
    write_spz(read_spz(tmp_path / "a.spz"), tmp_path / "b.spz")
    a, b = (gzip.decompress((tmp_path / name).read_bytes()) for name in ("a.spz", "b.spz"))
    differing = sum(x != y for x, y in zip(a, b))
    # A quaternion whose two largest parts are equal may leave out the other one.
    assert len(a) == len(b)
    assert differing <= 4


def test_spz_gives_up_fractions_for_reach(tmp_path: Path):
    splats = random_splats()._replace(positions=np.full((50, 3), -900.0, np.float32))
    read = _through(splats, ".spz", tmp_path)
    np.testing.assert_allclose(read.positions, splats.positions, atol=1e-3)
    with pytest.raises(UserError, match=r"\.spz holds .* export it as ply"):
        write_spz(splats._replace(positions=splats.positions * 1e5), tmp_path / "far.spz")
    assert not (tmp_path / "far.spz").exists()


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_posed_avatar_renders_the_same_from_its_file(tmp_path: Path, suffix: str):
    avatar = plain_avatar(3000)
    gaussians = avatar.gaussians(ExpressionCode.from_named(jawOpen=0.5, mouthSmileLeft=1))
    read = _through(Splats.from_gaussians(gaussians), suffix, tmp_path).to_gaussians()
    camera = Camera.frontal(focal_length_px=150, size_px=64, distance_m=0.8, yaw=0.4)
    before, after = (rasterize(g, camera).colors for g in (gaussians, read))
    assert float((before - after).square().mean()) < (1e-4 if suffix == ".spz" else 1e-9)


@pytest.mark.parametrize("coefficients", DEGREES)
def test_a_half_turn_looks_the_same_to_a_camera_turned_alike(coefficients: int):
    splats = random_splats(count=40, coefficients=coefficients)
    degree = round(coefficients**0.5) - 1
    camera = Camera.frontal(focal_length_px=80, size_px=32, distance_m=0.8, yaw=0.7, pitch=0.3)
    flip = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0]))
    turned = Camera(camera.viewmat @ flip, camera.K, 32, 32)

    def picture(s: Splats, view: Camera) -> torch.Tensor:
        plain = s.to_gaussians()
        gaussians = Gaussians(*plain[:4], torch.from_numpy(s.sh))
        return rasterize(gaussians, view, sh_degree=degree, backend="reference").colors

    torch.testing.assert_close(
        picture(splats.half_turned(), turned), picture(splats, camera), rtol=1e-4, atol=1e-5
    )
    for before, after in zip(splats, splats.half_turned().half_turned()):
        np.testing.assert_array_equal(before, after)


def test_ply_without_higher_degrees_in_any_order_and_with_more_columns(tmp_path: Path):
    splats = random_splats(count=5).half_turned()
    columns = {
        "opacity": splats.opacity_logits,
        **{f"rot_{i}": splats.quaternions[:, i] for i in range(4)},
        "confidence": np.arange(5, dtype=np.float32),
        **{f"scale_{i}": splats.log_scales[:, i] for i in range(3)},
        **{axis: splats.positions[:, i] for i, axis in enumerate("xyz")},
        **{f"f_dc_{i}": splats.sh[:, 0, i] for i in range(3)},
    }
    record = np.dtype(
        [(name, "<f8" if name == "opacity" else "<f4") for name in columns] + [("label", "u1")]
    )
    data = np.zeros(5, record)
    for name, values in columns.items():
        data[name] = values
    kinds = {"<f8": "double", "<f4": "float", "|u1": "uchar"}
    header = ["ply", "format binary_little_endian 1.0", "comment by hand", "element vertex 5"]
    header += [f"property {kinds[record[name].str]} {name}" for name in record.names or ()]
    header += ["element face 0", "property list uchar int vertex_indices", "end_header", ""]
    (tmp_path / "a.ply").write_bytes("\n".join(header).encode() + data.tobytes())
    read = read_ply(tmp_path / "a.ply")
    for before, after in zip(splats.half_turned(), read):
        np.testing.assert_array_equal(after, before)


def _with_header(change: Callable[[str], str]) -> Callable[[bytes], bytes]:
    def damage(content: bytes) -> bytes:
        header, mark, body = content.partition(b"end_header\n")
        return change(header.decode()).encode() + mark + body

    return damage


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda c: c[:-1], "truncated: expected"),
        (lambda c: b"", "no header"),
        (lambda c: b"ply\n" + bytes(1 << 17), "no header"),
        (_with_header(lambda h: h.replace("binary_little_endian", "ascii")), "not a binary little"),
        (_with_header(lambda h: h.replace("vertex 50", "vertex 99999999999")), "claims 99,999,9"),
        (_with_header(lambda h: h.replace("vertex 50", "vertex -1")), "claims -1"),
        (_with_header(lambda h: h.replace("vertex 50", "vertex x")), "cannot be understood"),
        (_with_header(lambda h: h.replace("vertex 50", "chunk 50")), "compressed .ply"),
        (_with_header(lambda h: h.replace("float nx", "list uchar int nx")), "cannot be under"),
        (_with_header(lambda h: h.replace("float nx", "float ny")), "cannot be understood"),
        (_with_header(lambda h: h.replace("float rot_3", "float rot_x")), "without rot_3"),
        (_with_header(lambda h: h.replace("f_rest_44", "f_rest_x")), "44 values f_rest"),
    ],
)
def test_what_is_wrong_with_a_ply_is_said(tmp_path: Path, damage, message: str):
    path = tmp_path / "a.ply"
    write_ply(random_splats(), path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match=message):
        read_ply(path)


@pytest.mark.parametrize(
    ("splats", "message"),
    [
        (lambda s: s._replace(positions=s.positions * np.nan), "NaN or infinite positions"),
        (lambda s: s._replace(positions=s.positions + 1e6), "expected -10000 to 10000"),
        (lambda s: s._replace(quaternions=s.quaternions * 0), "rotations of length zero"),
        (lambda s: s._replace(log_scales=s.log_scales + 30), "log scales from"),
    ],
)
def test_numbers_that_no_gaussian_has_are_refused(tmp_path: Path, splats, message: str):
    write_ply(splats(random_splats()), tmp_path / "a.ply")
    with pytest.raises(UserError, match=message):
        read_ply(tmp_path / "a.ply")


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ((0x5053474E, 3, 4_000_000_000, 0, 12, 0, 0), "claims 4,000,000,000 Gaussians"),
        ((0x5053474E, 3, 9_000_000, 3, 12, 0, 0), "truncated: expected"),
        ((0x5053474E, 4, 1, 0, 12, 0, 0), "got version 4"),
        ((0x12345678, 3, 1, 0, 12, 0, 0), "no .spz"),
        ((0x5053474E, 3, 1, 9, 12, 0, 0), "impossible values"),
        ((0x5053474E, 3, 1, 0, 99, 0, 0), "impossible values"),
    ],
)
def test_spz_headers_are_not_believed(tmp_path: Path, header: tuple[int, ...], message: str):
    path = tmp_path / "a.spz"
    path.write_bytes(gzip.compress(struct.pack("<IIIBBBB", *header) + bytes(40)))
    with pytest.raises(UserError, match=message):
        read_spz(path)


def test_a_gzip_bomb_is_not_unpacked(tmp_path: Path):
    bomb = struct.pack("<IIIBBBB", 0x5053474E, 3, 10, 0, 12, 0, 0) + bytes(1 << 26)
    (tmp_path / "a.spz").write_bytes(gzip.compress(bomb, 1))
    splats = read_spz(tmp_path / "a.spz")  # reads what ten Gaussians need and no more
    assert len(splats.positions) == 10


def _glb(document: object, binary: bytes) -> bytes:
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<II", len(text), 0x4E4F534A) + text
    chunks += struct.pack("<II", len(binary), 0x004E4942) + binary
    return struct.pack("<III", 0x46546C67, 2, 12 + len(chunks)) + chunks


def _opened(path: Path) -> tuple[dict, bytes]:
    content = path.read_bytes()
    length = struct.unpack_from("<I", content, 12)[0]
    return json.loads(content[20 : 20 + length]), content[28 + length :]


def _set(*keys: str | int, value: object) -> Callable[[dict], None]:
    def change(document: dict) -> None:
        place = document
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = value

    return change


_FIRST = ("meshes", 0, "primitives", 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_set("accessors", 0, "count", value=10**12), "it has the count 1000000000000"),
        (_set("accessors", 0, "count", value=51), "differ in length|beyond the file's end"),
        (_set("accessors", 0, "count", value=True), "it has the count True"),
        (_set("accessors", 0, "bufferView", value=99), "number 99 of its"),
        (_set("accessors", 0, "bufferView", value=-1), "number -1 of its"),
        (_set("accessors", 0, "sparse", value={}), "sparse accessors"),
        (_set("accessors", 0, "type", value="MAT4"), "expected VEC3"),
        (_set("bufferViews", 0, "byteOffset", value=1 << 30), "beyond the file's end"),
        (_set("bufferViews", 0, "byteStride", value=1), "no sound buffer"),
        (_set("bufferViews", 0, "byteStride", value=-12), "the byteStride -12"),
        (_set("accessors", value="many"), "accessors are no list"),
        (_set("meshes", value=[]), "0 meshes of KHR_gaussian_splatting"),
        (_set(*_FIRST, "extensions", value=[]), "0 meshes"),
        (_set(*_FIRST, "attributes", value={}), "refers to number None"),
        (_set(*_FIRST, "extensions", "KHR_gaussian_splatting", "colorSpace", value="lin"), "'lin'"),
        (_set("nodes", 0, "translation", value=[1, 0, 0]), "by a transform"),
    ],
)
def test_what_is_wrong_with_a_khr_file_is_said(tmp_path: Path, change, message: str):
    path = tmp_path / "a.glb"
    write_khr(random_splats(), path)
    document, binary = _opened(path)
    change(document)
    path.write_bytes(_glb(document, binary))
    with pytest.raises(UserError, match=message):
        read_khr(path)


@pytest.mark.parametrize("suffix", FORMATS)
@settings(max_examples=150)
@given(data=st.data())
def test_damage_never_crashes_a_reader(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, data: st.DataObject
):
    """Flipped bits, cuts and foreign bytes: Gaussians, or a sentence."""
    write, read = FORMATS[suffix]
    sound = tmp_path_factory.getbasetemp() / f"sound{suffix}"
    if not sound.exists():
        write(random_splats(), sound)
    content = bytearray(sound.read_bytes())
    inside = suffix == ".spz" and data.draw(st.booleans())
    if inside:  # damage below the checksum's layer, where gzip would hide it
        content = bytearray(gzip.decompress(bytes(content)))
    for _ in range(data.draw(st.integers(1, 4))):
        end = data.draw(st.sampled_from([24, 600, len(content)]))
        position = data.draw(st.integers(0, max(0, min(end, len(content)) - 1)))
        kind = data.draw(st.sampled_from(["flip", "cut", "bytes"]))
        if kind == "flip" and content:
            content[position] ^= 1 << data.draw(st.integers(0, 7))
        elif kind == "cut":
            del content[position:]
        else:
            content[position : position + 4] = data.draw(st.binary(max_size=8))
    path = tmp_path_factory.getbasetemp() / f"damaged{suffix}"
    path.write_bytes(gzip.compress(bytes(content)) if inside else bytes(content))
    with suppress(UserError):
        splats = read(path)
        assert all(np.isfinite(value).all() for value in splats)
        assert np.isfinite(covariances(splats)).all()
