"""The animatable GLB: what it holds, that it moves as the head does, and that others load it."""

from __future__ import annotations

import base64
import io
import json
import math
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

from avatar3d.animation import EXPRESSIONS, expression_code, idle, portrait_camera
from avatar3d.avatar import Avatar
from avatar3d.camera import Camera
from avatar3d.codes import ARKIT_INDEX, ARKIT_NAMES, ExpressionCode
from avatar3d.geometry import rotation_vector_to_quaternion
from avatar3d.heads import load_head
from avatar3d.io.gltf import idle_loop, write_glb
from avatar3d.motion import Motion
from render import rasterize
from tests.avatar3d.io.glb_meshes import MeshFile
from tests.avatar3d.io.heads import avatar_on
from tests.support.avatars import plain_avatar
from tests.support.javascript import three_page, validated

SIZE = 128


def _nod() -> Motion:
    """Half a second in which everything moves: place, turns, expressions."""
    amount = torch.linspace(0, 1, 13)[:, None]
    neutral = ExpressionCode.neutral(13)
    coefficients = neutral.coefficients.clone()
    coefficients[:, ARKIT_INDEX["jawOpen"]] = amount[:, 0] * 0.7
    coefficients[:, ARKIT_INDEX["eyeBlinkLeft"]] = amount[:, 0]
    return Motion(
        ExpressionCode(
            coefficients,
            rotation_vector_to_quaternion(amount * torch.tensor([0.4, -0.6, 0.2])),
            amount * torch.tensor([0.02, -0.01, 0.1]),
            rotation_vector_to_quaternion(amount * torch.tensor([0.3, -0.5, 0.1])),
        ),
        25.0,
    )


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("glb") / "plain.glb"
    write_glb(plain_avatar(), path, SIZE, motion=_nod())
    return path


@pytest.fixture(scope="module")
def bald(tmp_path_factory: pytest.TempPathFactory) -> tuple[Avatar, Path]:
    """An avatar that shows nothing, so that no hair displaces the mesh."""
    avatar = avatar_on(load_head("default"))
    nothing = torch.full_like(avatar.attributes.opacity_logits, -20.0)
    avatar = replace(avatar, attributes=replace(avatar.attributes, opacity_logits=nothing))
    path = tmp_path_factory.mktemp("glb") / "bald.glb"
    write_glb(avatar, path, SIZE, motion=_nod())
    return avatar, path


def test_the_validator_finds_nothing(plain: Path):
    report = validated(plain)
    assert report["issues"]["messages"] == []
    info = report["info"]
    assert (info["hasMorphTargets"], info["hasSkins"], info["hasTextures"]) == (True, True, True)
    assert info["animationCount"] == 2


def test_the_validator_would_find_something(plain: Path, tmp_path: Path):
    content = bytearray(plain.read_bytes())
    place = content.index(b'"JOINTS_0"')
    content[place : place + 10] = b'"JOINTS_7"'
    (tmp_path / "wrong.glb").write_bytes(content)
    assert validated(tmp_path / "wrong.glb")["issues"]["numErrors"] > 0


def test_what_the_file_holds(plain: Path):
    file = MeshFile(plain)
    mesh = file.mesh("avatar")
    assert mesh["extras"]["targetNames"] == list(ARKIT_NAMES)
    assert len(mesh["weights"]) == 52
    materials = [m["name"] for m in file.document["materials"]]
    assert materials[:4] == ["skin", "eyes", "teeth", "mouth"]
    assert {p["material"] for p in mesh["primitives"]} == {0, 1, 2, 3}
    joints = [file.document["nodes"][j]["name"] for j in file.document["skins"][0]["joints"]]
    assert joints == ["root", "neck", "head", "jaw", "left_eye", "right_eye"]
    assert [a["name"] for a in file.document["animations"]] == ["idle", "motion"]
    for place in (file.document, file.document["nodes"][0]):  # importers keep the node's
        assert place["extras"]["avatar3d"]["consent"] == "none needed"
    assert file.document["images"][0]["name"] == "head"
    assert "sparse" not in str(file.document)
    for name in ("NORMAL", "WEIGHTS_0"):
        values = file.attribute(name)
        size = np.linalg.norm(values, axis=-1) if name == "NORMAL" else values.sum(-1)
        np.testing.assert_allclose(size, 1, atol=1e-6)


def test_at_rest_the_mesh_is_the_head(bald: tuple[Avatar, Path]):
    avatar, path = bald
    file = MeshFile(path)
    rest = avatar.head.rig(avatar.identity).neutral.numpy()
    posed = file.posed(np.zeros(52))
    corners = avatar.head.triangles.numpy()
    assert len(file.triangles()) == len(corners)
    # Triangle for triangle, in the order of the materials.
    expected = {tuple(np.round(t, 5).ravel()) for t in rest[corners]}
    found = {tuple(np.round(t, 5).ravel()) for t in posed[file.triangles()].astype(np.float32)}
    assert len(found & expected) > 0.98 * len(expected)  # a fifth digit may round either way


def _nearest(file: MeshFile, avatar: Avatar) -> np.ndarray:
    """The head's vertex that each vertex of the file is."""
    rest = torch.from_numpy(file.posed(np.zeros(52)).astype(np.float32))
    own = avatar.head.rig(avatar.identity).neutral
    distance, index = torch.cdist(rest, own, compute_mode="donot_use_mm_for_euclid_dist").min(1)
    assert float(distance.max()) < 1e-4
    return index.numpy()


def test_each_target_moves_as_its_coefficient(bald: tuple[Avatar, Path]):
    avatar, path = bald
    file = MeshFile(path)
    index = _nearest(file, avatar)
    moving = 0
    for number, name in enumerate(ARKIT_NAMES):
        code = ExpressionCode.from_named(**{name: 1.0})
        expected = avatar.head.vertices(avatar.identity, code).numpy()[index]
        found = file.posed(np.eye(52)[number])
        np.testing.assert_allclose(found, expected, atol=2e-4 if name == "tongueOut" else 2e-5)
        moving += np.abs(expected - file.posed(np.zeros(52))).max() > 1e-3
    assert moving == 52


def test_expressions_and_turns_together_stay_close(bald: tuple[Avatar, Path]):
    """Chords instead of arcs, and sums instead of chains: millimetres at most."""
    avatar, path = bald
    file = MeshFile(path)
    index = _nearest(file, avatar)
    for name in EXPRESSIONS:
        code = expression_code(name)
        expected = avatar.head.vertices(avatar.identity, code).numpy()[index]
        error = np.linalg.norm(file.posed(code.coefficients.numpy()) - expected, axis=-1)
        assert error.max() < 2.5e-3, name
        assert np.sqrt((error**2).mean()) < 1e-3, name


def test_the_motion_is_baked(bald: tuple[Avatar, Path]):
    avatar, path = bald
    file, motion = MeshFile(path), _nod()
    index = _nearest(file, avatar)
    clip = file.clip("motion")
    np.testing.assert_allclose(clip.times, np.arange(13) / 25, atol=1e-6)
    for frame in (0, 5, 12):
        pose = {k: v[frame] for k, v in clip.values.items() if k[1] != "weights"}
        found = file.posed(clip.values["avatar", "weights"][frame], pose)
        expected = avatar.head.vertices(avatar.identity, motion.codes.at(frame)).numpy()[index]
        assert np.linalg.norm(found - expected, axis=-1).max() < 2.5e-3
        stiff = {**pose}
        if frame:
            del stiff["head", "rotation"]
            moved = file.posed(clip.values["avatar", "weights"][frame], stiff)
            assert np.linalg.norm(moved - expected, axis=-1).max() > 5e-3


def test_the_idle_clip_closes():
    motion = idle_loop()
    first, last = motion.codes.at(0), motion.codes.at(-1)
    for before, after in zip(first, last):
        torch.testing.assert_close(before, after, atol=1e-5, rtol=0)
    middle = idle(motion.duration_s, motion.frames_per_second).codes.at(100)
    torch.testing.assert_close(motion.codes.at(100), middle)
    assert float(motion.codes.coefficients.amax()) == pytest.approx(1.0, abs=0.05)  # it blinks


def test_heads_without_some_parts(tmp_path: Path):
    """A head without a jaw joint's skin, teeth and mouth leaves them out."""
    head = load_head("default")
    keep = head.triangle_part < 8  # neither teeth nor the mouth's inside
    weights = head.skin_weights.clone()
    weights[:, 2] += weights[:, 3]
    weights[:, 3] = 0
    smaller = replace(
        head,
        name="smaller",
        triangles=head.triangles[keep],
        triangle_part=head.triangle_part[keep],
        landmark_triangles=head.landmark_triangles.clamp(max=int(keep.sum()) - 1),
        skin_weights=weights,
    )
    write_glb(avatar_on(smaller, 300), tmp_path / "a.glb", 64)
    assert validated(tmp_path / "a.glb")["issues"]["messages"] == []
    file = MeshFile(tmp_path / "a.glb")
    assert {p["material"] for p in file.mesh("avatar")["primitives"]} == {0, 1}
    joints = [file.document["nodes"][j]["name"] for j in file.document["skins"][0]["joints"]]
    assert joints == ["root", "neck", "head", "left_eye", "right_eye"]


def test_trimesh_loads_it(plain: Path):
    scene: Any = trimesh.load(plain)
    total = sum(len(mesh.faces) for mesh in scene.geometry.values())
    assert total >= len(load_head("default").triangles)
    skin = max(scene.geometry.values(), key=lambda mesh: len(mesh.faces))
    assert skin.visual.material.baseColorTexture.size == (SIZE, SIZE)
    low, high = scene.bounds
    assert 0.2 < (high - low)[1] < 0.7  # metres, upright


def test_three_moves_all_52(plain: Path, chromium: Any):
    file = MeshFile(plain)
    with three_page(chromium, plain.parent) as page:
        info = page.evaluate("load('files/plain.glb')")
        heads = [mesh for mesh in info["meshes"] if mesh["targets"]]
        assert len(heads) == 4
        for mesh in heads:
            assert mesh["skinned"]
            assert [n for n, _ in sorted(mesh["targets"].items(), key=lambda item: item[1])] == (
                list(ARKIT_NAMES)
            )
        assert {c["name"]: round(c["duration"], 2) for c in info["clips"]} == {
            "idle": 13.56, "motion": 0.48
        }  # fmt: skip
        count = sum(mesh["vertices"] for mesh in heads)

        def vertices() -> np.ndarray:
            return np.array(page.evaluate("vertices()")).reshape(-1, 3)[:count]

        np.testing.assert_allclose(vertices(), file.posed(np.zeros(52)), atol=1e-5)
        moved = page.evaluate("movements()")
        assert list(moved) == list(ARKIT_NAMES)
        for number in (0, 17, 51):
            expected = file.posed(np.eye(52)[number]) - file.posed(np.zeros(52))
            largest = np.linalg.norm(expected, axis=-1).max()
            assert moved[ARKIT_NAMES[number]] == pytest.approx(largest, rel=1e-3)
        assert min(moved.values()) > 1e-3
        page.evaluate("playAt('motion', 0.4)")
        clip = file.clip("motion")
        pose = {k: v[10] for k, v in clip.values.items() if k[1] != "weights"}
        expected = file.posed(clip.values["avatar", "weights"][10], pose)
        np.testing.assert_allclose(vertices(), expected, atol=2e-5)


def test_blender_moves_it_as_the_file_says(plain: Path, tmp_path: Path):
    """To a ten thousandth of a millimetre: rest, shape keys, bones and the baked motion."""
    blender = os.environ.get("AVATAR3D_BLENDER") or shutil.which("blender")
    if blender is None:
        pytest.skip(
            "there is no Blender here; install it with: apt-get install blender python3-numpy"
        )
    script = Path(__file__).with_name("blender_poses.py")
    order = [blender, "-b", "--factory-startup", "-P", str(script), "--", str(plain)]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    done = subprocess.run(
        [*order, str(tmp_path / "poses.json")],
        env=environment, capture_output=True, text=True, timeout=180, check=False,
    )  # fmt: skip
    assert (tmp_path / "poses.json").exists(), done.stdout + done.stderr
    found = json.loads((tmp_path / "poses.json").read_text())
    assert found["keys"] == list(ARKIT_NAMES)
    assert found["bones"] == {
        "root": None, "neck": "root", "head": "neck",
        "jaw": "head", "left_eye": "head", "right_eye": "head",
    }  # fmt: skip
    assert found["materials"] == ["skin", "eyes", "teeth", "mouth"]
    assert "head" in found["images"]
    assert found["noted"], "licence and consent are lost"
    file = MeshFile(plain)
    clip = file.clip("motion")

    def check(vertices: list[list[float]], expected: np.ndarray) -> None:
        x, y, z = np.array(vertices).T  # +Z up there, and the face looks to -Y
        np.testing.assert_allclose(np.stack([x, z, -y], -1), expected, atol=1e-7)

    check(found["rest"], file.posed(np.zeros(52)))
    for name in ("jawOpen", "eyeBlinkLeft"):
        check(found[name], file.posed(np.eye(52)[ARKIT_INDEX[name]]))
    for frame, vertices in found["motion"].items():
        pose = {k: v[int(frame)] for k, v in clip.values.items() if k[1] != "weights"}
        check(vertices, file.posed(clip.values["avatar", "weights"][int(frame)], pose))


def test_a_picture_shows_the_same_head(tmp_path: Path, chromium: Any):
    """The GLB in three.js beside the Gaussians, and beside another person's."""
    avatar = avatar_on(load_head("default"), 5000)
    other = replace(
        avatar_on(load_head("default"), 5000, seed=4),
        attributes=replace(avatar.attributes, colors=avatar.attributes.colors.flip(-1)),
    )
    write_glb(avatar, tmp_path / "head.glb", 256, unlit=True)
    with three_page(chromium, tmp_path) as page:
        page.evaluate("load('files/head.glb')")
        for name, yaw in (("neutral", 0.0), ("laugh", 0.6)):
            camera = portrait_camera(avatar, 160, yaw, zoom=1.3)
            page.evaluate("setWeights", EXPRESSIONS[name])
            drawn = _drawn(page, camera)
            code = expression_code(name)
            likeness = _psnr(drawn, _rendered(avatar, code, camera))
            assert likeness > 20
            assert likeness > _psnr(drawn, _rendered(other, code, camera)) + 3


def _drawn(page: Any, camera: Camera) -> np.ndarray:
    position = camera.position()
    forward = camera.viewmat[2, :3]
    view = {
        "position": position.tolist(),
        "target": (position + forward).tolist(),
        "fovDegrees": math.degrees(2 * math.atan(camera.height / 2 / float(camera.K[1, 1]))),
        "size": camera.height,
    }
    content = base64.b64decode(page.evaluate("draw", view).partition(",")[2])
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB")) / 255


def _rendered(avatar: Avatar, code: ExpressionCode, camera: Camera) -> np.ndarray:
    with torch.no_grad():
        colors = rasterize(avatar.gaussians(code), camera, background=torch.ones(3)).colors
    return colors.clamp(0, 1).numpy()


def _psnr(a: np.ndarray, b: np.ndarray) -> float:
    return -10 * math.log10(float(((a - b) ** 2).mean()))
