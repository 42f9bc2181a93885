"""FLAME's parameters of other projects become motion, and what is wrong with them is said."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from avatar3d.codes import ARKIT_NAMES, ExpressionCode
from avatar3d.errors import UserError
from avatar3d.geometry import quaternion_to_matrix, rotation_vector_to_quaternion
from avatar3d.heads import HeadModel
from avatar3d.heads.flame import FLAME_NAMES, read_flame
from avatar3d.heads.flame_parameters import (
    FlameParameters,
    from_codes,
    read_flame_parameters,
    to_codes,
    to_motion,
)
from avatar3d.heads.storage import HeadFacts, write_head
from avatar3d.motion import Motion
from tests.support.flame import template, write_flame_pkl


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> HeadModel:
    template()
    return read_flame(write_flame_pkl(tmp_path_factory.mktemp("flame") / "flame2023.pkl"))[0]


def vhap(frames: int = 5) -> dict[str, np.ndarray]:
    random = np.random.default_rng(5)

    def normal(*shape: int, scale: float = 1.0) -> np.ndarray:
        return (scale * random.normal(size=shape)).astype(np.float32)

    return {
        "shape": normal(300),
        "expr": normal(frames, 100, scale=0.5),
        "rotation": normal(frames, 3, scale=0.4),
        "neck_pose": normal(frames, 3, scale=0.2),
        "jaw_pose": normal(frames, 3, scale=0.1),
        "eyes_pose": normal(frames, 6, scale=0.2),
        "translation": normal(frames, 3, scale=0.1),
        "static_offset": np.zeros((1, 5143, 3), np.float32),
    }


def test_vhap_becomes_motion(head: HeadModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "flame_param.npz"
    arrays = vhap()
    np.savez(path, **arrays)
    read = read_flame_parameters(path)
    assert np.array_equal(read.expression.numpy(), arrays["expr"])
    assert np.array_equal(read.shape.numpy(), arrays["shape"])

    monkeypatch.setenv("AVATAR3D_HEADS", str(tmp_path))
    with pytest.raises(UserError, match=r"no head model named 'flame'.*heads add flame FILE"):
        Motion.load(path)
    write_head(head, tmp_path / "flame.safetensors", exact=True, facts=HeadFacts())
    motion = Motion.load(path, frames_per_second=30)
    assert (len(motion), motion.frames_per_second, motion.extra_names) == (5, 30, ())
    assert motion.codes.coefficients.min() >= 0
    assert motion.codes.coefficients.max() <= 1
    exact = to_motion(head, read, 30, exact=True)
    assert exact.names == ARKIT_NAMES + FLAME_NAMES
    exact.save(tmp_path / "exact.npz")
    again = Motion.load(tmp_path / "exact.npz")
    assert torch.equal(again.codes.coefficients, exact.codes.coefficients)


def test_a_folder_of_frames_is_one_motion(tmp_path: Path):
    arrays = vhap(3)
    for index in range(3):
        frame = {k: v[index : index + 1] for k, v in arrays.items() if k != "shape"}
        np.savez(tmp_path / f"{index:05d}.npz", shape=arrays["shape"], **frame)
    read = read_flame_parameters(tmp_path)
    assert np.array_equal(read.jaw.numpy(), arrays["jaw_pose"])
    np.savez(tmp_path / "00009.npz", **vhap(1) | {"shape": arrays["shape"] + 2})
    with pytest.raises(UserError, match="more than one person"):
        read_flame_parameters(tmp_path)


def test_codes_and_parameters_are_each_others_inverse(head: HeadModel, tmp_path: Path):
    np.savez(tmp_path / "a.npz", **vhap())
    first = read_flame_parameters(tmp_path / "a.npz")
    again = from_codes(head, first.shape, to_codes(head, first))
    for name, value in vars(first).items():
        torch.testing.assert_close(getattr(again, name), value, atol=2e-6, rtol=0, msg=name)


def metrical(turn: torch.Tensor, shift: torch.Tensor) -> dict[str, object]:
    """A checkpoint as metrical-tracker saves it: the first two rows of rotations."""
    matrix = quaternion_to_matrix(rotation_vector_to_quaternion(turn))
    six = matrix[:2].reshape(1, 6).numpy()
    still = np.array([[1, 0, 0, 0, 1, 0]], np.float32)
    return {
        "flame": {
            "exp": np.full((1, 100), 0.1, np.float32), "shape": np.zeros((1, 300), np.float32),
            "eyes": np.concatenate([still, still], axis=1), "jaw": six,
            "eyelids": np.array([[0.3, 0.4]], np.float32),
        },
        "camera": {"R": six, "t": shift[None].numpy(), "fl": np.ones((1, 1)), "pp": np.zeros((1, 2))},
        "img_size": np.array([512, 512]), "frame_id": 1,
    }  # fmt: skip


def test_metrical_tracker(tmp_path: Path):
    turn, shift = torch.tensor([0.2, -0.1, 0.05]), torch.tensor([0.01, 0.02, 0.9])
    torch.save(metrical(turn, shift), tmp_path / "00001.frame")
    read = read_flame_parameters(tmp_path)
    torch.testing.assert_close(read.jaw[0], turn, atol=1e-6, rtol=0)
    torch.testing.assert_close(read.eyelids, torch.tensor([[0.3, 0.4]]))
    assert not read.eyes.any()
    # A point of the head seen by PyTorch3D's camera, and in our world turned to look along -Z.
    point = torch.tensor([0.02, -0.05, 0.07])
    camera = quaternion_to_matrix(rotation_vector_to_quaternion(turn))
    theirs = point @ camera + shift
    ours = quaternion_to_matrix(rotation_vector_to_quaternion(read.rotation[0])) @ point
    flipped = theirs * torch.tensor([-1.0, 1.0, -1.0])
    torch.testing.assert_close(ours + read.translation[0], flipped, atol=1e-6, rtol=0)


class Attack:
    def __reduce__(self):
        return os.system, ("touch /tmp/avatar3d-checkpoint-ran",)


def test_a_checkpoint_that_is_a_program_does_not_run(tmp_path: Path):
    torch.save({"flame": Attack()}, tmp_path / "a.frame")
    with pytest.raises(UserError, match="nothing in it was executed"):
        read_flame_parameters(tmp_path / "a.frame")
    assert not Path("/tmp/avatar3d-checkpoint-ran").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"expr": np.full((5, 100), np.nan, np.float32)},
            "NaN, infinite or absurd values in 'expr'",
        ),
        ({"expr": np.full((5, 100), 1e9, np.float32)}, "absurd"),
        ({"expr": np.zeros((5, 101), np.float32)}, r"'expr' has shape \[5, 101\]"),
        ({"jaw_pose": np.zeros((4, 3), np.float32)}, r"'jaw_pose' has shape \[4, 3\]"),
        ({"shape": np.zeros(400, np.float32)}, "FLAME has 300"),
        ({"neck_pose": np.array(["a"])}, "holds no numbers"),
    ],
)
def test_wrong_parameters_are_refused(tmp_path: Path, change: dict[str, np.ndarray], said: str):
    path = tmp_path / "flame_param.npz"
    np.savez(path, **vhap() | change)
    with pytest.raises(UserError, match=said):
        read_flame_parameters(path)


def test_other_files_are_refused(tmp_path: Path):
    np.savez(tmp_path / "a.npz", x=np.zeros(3))
    torch.save({"weights": torch.zeros(3)}, tmp_path / "a.pt")
    (tmp_path / "b.pt").write_bytes(b"not a checkpoint")
    (tmp_path / "empty").mkdir()
    for name, said in (
        ("a.npz", "no FLAME parameters"), ("a.pt", "no checkpoint of metrical-tracker"),
        ("b.pt", "no checkpoint of plain numbers"), ("empty", "holds no FLAME parameters"),
        ("absent.npz", "there is no file"), ("a.txt", "no file of FLAME parameters"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=said):
            read_flame_parameters(tmp_path / name)


def test_an_identity_of_fewer_modes(head: HeadModel):
    few = FlameParameters(torch.ones(10), *(torch.zeros(2, n) for n in (100, 3, 3, 3, 6, 2, 3)))
    codes = to_codes(head, few, exact=False)
    assert isinstance(codes, ExpressionCode)
    assert codes.coefficients.shape == (2, 52)
