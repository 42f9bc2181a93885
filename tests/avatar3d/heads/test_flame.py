"""FLAME's files: read without running them, posed as smplx poses them, refused where they are wrong."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from avatar3d.codes import ARKIT_INDEX, ARKIT_NAMES, ExpressionCode
from avatar3d.errors import UserError
from avatar3d.heads import HeadModel
from avatar3d.heads.flame import (
    check_flame_arrays,
    read_flame,
    read_flame_arrays,
    recognise_release,
)
from avatar3d.heads.flame_map import from_own, to_own
from avatar3d.heads.flame_parameters import FlameParameters, to_codes
from avatar3d.heads.model import PART_INDEX
from avatar3d.heads.storage import read_facts, read_head, write_head
from tests.support.data import data_file
from tests.support.flame import flame_arrays, template, write_flame_pkl

MM = 1e-3


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    template()  # skips where the data are absent
    return write_flame_pkl(tmp_path_factory.mktemp("flame") / "flame2020.pkl")


@pytest.fixture(scope="module")
def built(file: Path):
    return read_flame(file)


@pytest.fixture(scope="module")
def head(built) -> HeadModel:
    return built[0]


def random_parameters(frames: int, seed: int, size: float = 1.0) -> FlameParameters:
    random = torch.Generator().manual_seed(seed)

    def normal(*shape: int, scale: float = 1.0) -> Tensor:
        return size * scale * torch.randn(*shape, generator=random)

    return FlameParameters(
        shape=normal(300),
        expression=normal(frames, 100),
        rotation=normal(frames, 3, scale=0.7),
        neck=normal(frames, 3, scale=0.3),
        jaw=normal(frames, 3, scale=0.2),
        eyes=normal(frames, 6, scale=0.3),
        eyelids=torch.zeros(frames, 2),
        translation=normal(frames, 3, scale=0.2),
    )


def readable_flame(parameters: FlameParameters) -> np.ndarray:
    """FLAME as its papers write it, joint by joint in float64 (also flame-pytorch's arithmetic)."""
    a = flame_arrays()
    frames = []
    for t in range(len(parameters.expression)):
        betas = np.concatenate([parameters.shape.numpy(), parameters.expression[t].numpy()])
        shaped = a["v_template"] + a["shapedirs"] @ betas.astype(np.float64)
        joints = a["J_regressor"] @ shaped
        turns = [parameters.rotation[t], parameters.neck[t], parameters.jaw[t],
                 parameters.eyes[t, :3], parameters.eyes[t, 3:]]  # fmt: skip
        rotations = [rodrigues(turn.double().numpy()) for turn in turns]
        features = np.concatenate([(r - np.eye(3)).reshape(-1) for r in rotations[1:]])
        posed = shaped + a["posedirs"] @ features
        world: list[np.ndarray] = []
        for joint, parent in enumerate((-1, 0, 1, 1, 1)):
            local = np.eye(4)
            local[:3, :3] = rotations[joint]
            local[:3, 3] = joints[joint] - (joints[parent] if parent >= 0 else 0)
            world.append(local if parent < 0 else world[parent] @ local)
        vertices = np.zeros_like(posed)
        for joint in range(5):
            matrix = world[joint]
            moved = (posed - joints[joint]) @ matrix[:3, :3].T + matrix[:3, 3]
            vertices += a["weights"][:, joint : joint + 1] * moved
        frames.append(vertices + parameters.translation[t].double().numpy())
    return np.array(frames)


def rodrigues(vector: np.ndarray) -> np.ndarray:
    angle = np.linalg.norm(vector)
    x, y, z = vector / angle if angle > 0 else vector
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def test_it_poses_as_the_papers_write(head: HeadModel):
    parameters = random_parameters(4, seed=1)
    codes = to_codes(head, parameters)
    ours = head.vertices(parameters.shape, codes).double().numpy()
    assert np.abs(ours - readable_flame(parameters)).max() < 2e-6


def test_it_poses_as_smplx_does(head: HeadModel, tmp_path: Path):
    smplx = pytest.importorskip("smplx", reason="smplx, whose licence forbids some uses, is absent")
    arrays = dict(flame_arrays())
    (tmp_path / "FLAME_NEUTRAL.pkl").write_bytes(pickle.dumps(arrays))
    embedding = {"lmk_face_idx": np.zeros(51, np.int64), "lmk_b_coords": np.full((51, 3), 1 / 3)}
    (tmp_path / "flame_static_embedding.pkl").write_bytes(pickle.dumps(embedding))
    model = smplx.FLAME(str(tmp_path), num_betas=300, num_expression_coeffs=100)
    parameters = random_parameters(6, seed=2)
    with torch.no_grad():
        theirs = model(
            betas=parameters.shape.expand(6, -1),
            expression=parameters.expression,
            global_orient=parameters.rotation,
            neck_pose=parameters.neck,
            jaw_pose=parameters.jaw,
            leye_pose=parameters.eyes[:, :3],
            reye_pose=parameters.eyes[:, 3:],
            transl=parameters.translation,
        ).vertices
    ours = head.vertices(parameters.shape, to_codes(head, parameters))
    assert (ours - theirs).abs().max() < 1e-5


def test_gradients_reach_everything(head: HeadModel):
    """The expression acts through shapes, joints and correctives alike."""
    index = torch.arange(0, len(head.neutral), 97)
    rig = head.rig(torch.zeros(300), index)
    double = type(rig)(**{k: v.double() for k, v in vars(rig).items() if v is not None})

    def posed(coefficients: Tensor, neck: Tensor) -> Tensor:
        code = ExpressionCode.neutral()
        rest = [value.double() for value in code]
        turned = torch.nn.functional.normalize(neck, dim=-1)
        return double.pose(ExpressionCode(coefficients, rest[1], rest[2], turned))

    random = torch.Generator().manual_seed(3)
    coefficients = 0.3 * torch.rand(head.expression_count, generator=random, dtype=torch.float64)
    neck = torch.tensor([0.95, 0.2, 0.1, -0.1], dtype=torch.float64)
    directions = [torch.randn(v.shape, generator=random, dtype=torch.float64) for v in
                  (coefficients, neck)]  # fmt: skip
    step = 1e-6
    inputs = [coefficients.requires_grad_(), neck.requires_grad_()]
    weights = torch.randn(len(index), 3, generator=random, dtype=torch.float64)
    gradients = torch.autograd.grad((posed(*inputs) * weights).sum(), inputs)
    for k in (0, 1):
        ahead, behind = list(inputs), list(inputs)
        ahead[k], behind[k] = inputs[k] + step * directions[k], inputs[k] - step * directions[k]
        slope = ((posed(*ahead) - posed(*behind)) * weights).sum() / (2 * step)
        assert torch.isclose((gradients[k] * directions[k]).sum(), slope, rtol=1e-6, atol=1e-9)


def test_masks_and_landmarks_are_derived_where_they_are_absent(head: HeadModel):
    triangles, points = head.triangles.numpy(), head.neutral.numpy()
    embedding = np.load(data_file("mesh/flame/mediapipe_landmark_embedding.npz"))
    truth = points[triangles[embedding["lmk_face_idx"].astype(np.int64)]]
    truth = np.einsum("lk,lkc->lc", embedding["lmk_b_coords"], truth)
    corners = points[triangles[head.landmark_triangles.numpy()]]
    ours = np.einsum("lk,lkc->lc", head.landmark_barycentrics.numpy(), corners)
    error = np.linalg.norm(ours[embedding["landmark_indices"]] - truth, axis=1)
    assert error.mean() < 3.5 * MM
    assert {"face", "scalp", "ears", "neck", "left_eyeball", "right_eyeball", "eyelids"} <= {
        name for name, index in PART_INDEX.items() if (head.triangle_part == index).any()
    }
    left = head.triangles[head.triangle_part == PART_INDEX["left_eyeball"]].unique()
    assert len(left) == 546
    assert head.neutral[left, 0].min() > 0


def test_the_52_move_flame_as_they_move_the_default_head(head: HeadModel):
    neutral = head.vertices(None, ExpressionCode.neutral())
    opened = head.vertices(None, ExpressionCode.from_named(jawOpen=1.0)) - neutral
    chin = head.landmark_triangles[152]
    assert opened[head.triangles[chin]].mean(0)[1] < -10 * MM
    looking = head.vertices(None, ExpressionCode.from_named(eyeLookOutLeft=1.0)) - neutral
    right = head.triangles[head.triangle_part == PART_INDEX["right_eyeball"]].unique()
    left = head.triangles[head.triangle_part == PART_INDEX["left_eyeball"]].unique()
    assert looking[right].norm(dim=1).mean() < 0.1 * looking[left].norm(dim=1).mean()
    blink = head.vertices(None, ExpressionCode.from_named(eyeBlinkLeft=1.0)) - neutral
    assert blink[head.neutral[:, 0] < -0.02].norm(dim=1).max() < 1 * MM
    assert blink.norm(dim=1).max() > 3 * MM


def test_round_trip_of_the_52(head: HeadModel):
    """52 -> FLAME -> 52: the motion comes back, and on one shape at a time the coefficient too."""
    possible = [i for i, name in enumerate(ARKIT_NAMES) if name != "tongueOut"]
    codes = torch.zeros(len(possible), 52)
    codes[range(len(possible)), possible] = 0.8
    again = from_own(head, to_own(head, codes))
    kept = again[range(len(possible)), possible]
    assert (kept - 0.8).abs().mean() < 0.08
    index = ARKIT_INDEX["tongueOut"]
    assert not again[:, index].any()
    assert again.min() >= 0
    assert again.max() <= 1
    moved = head.vertices(None, code_of(again)) - head.vertices(None, code_of(codes))
    assert moved.norm(dim=-1).mean() < 0.1 * MM


def code_of(coefficients: Tensor) -> ExpressionCode:
    return ExpressionCode.neutral(len(coefficients))._replace(coefficients=coefficients)


def test_files_of_every_kind_are_the_same_head(head: HeadModel, file: Path, tmp_path: Path):
    from safetensors.numpy import save_file

    arrays = dict(flame_arrays())
    truth = read_flame_arrays(file)
    np.savez(tmp_path / "a.npz", **arrays)
    numbers = {k: np.ascontiguousarray(v) for k, v in arrays.items()}
    save_file(numbers, str(tmp_path / "a.safetensors"))
    import scipy.sparse

    objects = arrays | {"J_regressor": scipy.sparse.csc_matrix(arrays["J_regressor"])}
    np.savez(tmp_path / "objects.npz", **objects)  # pyright: ignore[reportArgumentType]
    old = write_flame_pkl(tmp_path / "old.pkl", protocol=0)
    new = write_flame_pkl(tmp_path / "new.pkl", protocol=5)
    plain = tmp_path / "plain.pkl"  # arrays as they are, as tools that strip chumpy write them
    plain.write_bytes(pickle.dumps(arrays, protocol=4))
    for path in (
        plain,
        tmp_path / "a.npz",
        tmp_path / "a.safetensors",
        tmp_path / "objects.npz",
        old,
        new,
    ):
        read = read_flame_arrays(path)
        for name, value in vars(truth).items():
            assert np.array_equal(getattr(read, name), value), (path.name, name)


def test_it_is_kept_with_what_there_is_to_say(built, tmp_path: Path):
    head, facts = built
    path = tmp_path / "flame.safetensors"
    write_head(head, path, exact=True, facts=facts)
    assert read_head(path).content_hash() == head.content_hash()
    said = read_facts(path)
    assert said == facts
    assert said.release == "FLAME 2020"
    assert "non-commercial" in said.licence


@pytest.mark.parametrize(
    ("folder", "name", "given", "release"),
    [
        ("x", "generic_model.pkl", None, ""),
        ("x", "generic_model.pkl", "2020", "2020"),
        ("FLAME2019", "generic_model.pkl", None, "2019"),
        ("FLAME2020", "generic_model.pkl", None, "2020"),
        ("x", "flame2023.pkl", None, "2023"),
        ("x", "flame2023_no_jaw.pkl", None, "2023"),
        ("FLAME2023", "flame2023_Open.pkl", None, "2023 Open"),
        ("x", "FLAME2023Open.npz", None, "2023 Open"),
    ],
)
def test_releases_are_recognised(tmp_path: Path, folder: str, name: str, given, release: str):
    assert recognise_release(tmp_path / folder / name, given) == release


@pytest.mark.parametrize(
    ("folder", "name", "given"),
    [
        ("x", "flame2023.pkl", "2020"),
        ("FLAME2020", "flame2023.pkl", None),
        ("FLAME2020", "generic_model.pkl", "2019"),
        ("FLAME2020", "flame2023_Open.pkl", None),
    ],
)
def test_mixed_up_releases_are_refused(tmp_path: Path, folder: str, name: str, given):
    with pytest.raises(UserError, match="mixed-up release"):
        recognise_release(tmp_path / folder / name, given)


def test_an_unknown_release_is_refused(tmp_path: Path):
    with pytest.raises(UserError, match="no FLAME release '2021'"):
        recognise_release(tmp_path / "generic_model.pkl", "2021")


def nan_in(array: np.ndarray) -> np.ndarray:
    spoilt = array.copy()
    spoilt.reshape(-1)[7] = np.nan
    return spoilt


def wrong_files():
    a = flame_arrays
    return {
        "of another topology": lambda: {"v_template": np.zeros((5000, 3))},
        "looks like SMPL-X": lambda: {"v_template": np.zeros((10475, 3))},
        "NaN or infinite values in 'shapedirs'": lambda: {"shapedirs": nan_in(a()["shapedirs"])},
        "cut to 150 modes": lambda: {"shapedirs": a()["shapedirs"][..., :150]},
        "'posedirs' has shape": lambda: {"posedirs": a()["posedirs"][..., :9]},
        "points outside": lambda: {"f": a()["f"] + 40},
        "not its surface": lambda: {"f": np.sort(a()["f"] % 1000)},
        "do not sum to 1": lambda: {"weights": a()["weights"] * 2},
        "parents": lambda: {"kintree_table": np.array([[-1, 0, 0, 0, 0], range(5)])},
        "human size in metres": lambda: {"v_template": a()["v_template"] * 1000},
        "'v_template' cannot be read": lambda: {"v_template": {"no": "array"}},
    }


@pytest.mark.parametrize("what", list(wrong_files()))
def test_wrong_files_are_refused(file: Path, what: str):
    values = {**flame_arrays(), **wrong_files()[what]()}
    with pytest.raises(UserError, match=what) as refused:
        check_flame_arrays(values, file)
    assert "\n" not in str(refused.value)


def test_other_things_are_refused(tmp_path: Path):
    masks = tmp_path / "FLAME_masks.pkl"
    masks.write_bytes(pickle.dumps({"face": np.arange(5)}))
    with pytest.raises(UserError, match="lacks 'v_template'"):
        read_flame_arrays(masks)
    with pytest.raises(UserError, match=r"expected \.pkl"):
        read_flame_arrays(tmp_path / "flame.obj")
    with pytest.raises(UserError, match="there is no file"):
        read_flame_arrays(tmp_path / "absent.pkl")


@settings(max_examples=6)
@given(share=st.floats(0, 0.9999))
def test_truncated_files_are_refused(file: Path, tmp_path_factory, share: float):
    content = file.read_bytes()
    path = tmp_path_factory.mktemp("cut") / "flame2020.pkl"
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(UserError, match=r"truncated|damaged"):
        read_flame_arrays(path)
    path.unlink()


def test_optional_files_that_do_not_fit_are_refused(file: Path, tmp_path: Path):
    from avatar3d.heads.flame import _read_eyelids, read_masks

    (tmp_path / "FLAME_masks.pkl").write_bytes(pickle.dumps({"face": np.array([9999])}))
    with pytest.raises(UserError, match="does not fit FLAME's 5,023 vertices"):
        read_masks(tmp_path / "FLAME_masks.pkl")
    assert read_masks(tmp_path / "nothing.pkl") is None
    assert _read_eyelids(tmp_path) is None
    for side in "lr":
        np.save(tmp_path / f"{side}_eyelid.npy", np.zeros((3, 3)))
    with pytest.raises(UserError, match=r"l_eyelid.npy has shape \[3, 3\]"):
        _read_eyelids(tmp_path)
