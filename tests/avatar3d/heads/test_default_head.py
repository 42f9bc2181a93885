"""The embedded head: its file, its mesh, and what must not pass through what."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from avatar3d.codes import ARKIT_NAMES, ExpressionCode
from avatar3d.geometry import rotation_vector_to_quaternion
from avatar3d.heads.build import anthropometry as body
from avatar3d.heads.build import landmarks as lm
from avatar3d.heads.build.__main__ import DEFAULT_PATH, build
from avatar3d.heads.build.eyes import LEFT_EYE
from avatar3d.heads.model import PART_INDEX, HeadModel
from avatar3d.heads.storage import read_head

MM = 1e-3
INNER_UPPER, INNER_LOWER = lm.LIP_INNER[:5], lm.LIP_INNER[:5:-1]


@pytest.fixture(scope="module")
def head() -> HeadModel:
    return read_head(DEFAULT_PATH)


def posed(head: HeadModel, **coefficients: float) -> np.ndarray:
    return head.vertices(None, ExpressionCode.from_named(**coefficients)).numpy()


def landmarks(head: HeadModel, vertices: np.ndarray) -> np.ndarray:
    """The surface points under the 478 landmarks, without the detector's bias."""
    corners = vertices[head.triangles[head.landmark_triangles].numpy()]
    return np.einsum("lk,lkc->lc", head.landmark_barycentrics.numpy(), corners)


def lip_gap(head: HeadModel, **coefficients: float) -> np.ndarray:
    """Upper minus lower inner lip border [5, 3]."""
    points = landmarks(head, posed(head, **coefficients))
    return points[INNER_UPPER] - points[INNER_LOWER]


def test_file_is_small():
    assert DEFAULT_PATH.stat().st_size <= 3_000_000


def test_shapes_and_names(head: HeadModel):
    count = len(head.neutral)
    assert 6_000 <= count <= 12_000
    assert head.expression_names == ARKIT_NAMES
    assert head.expression_basis.shape == (52, count, 3)
    assert head.identity_count >= 50
    assert head.identity_basis.shape[1:] == (count, 3)
    assert head.joint_identity.shape == (head.identity_count, 6, 3)
    assert head.joint_drive.shape == (52, 6, 3)
    assert head.landmark_triangles.shape == (478,)
    assert head.ibug_triangles.shape == (68,)
    assert set(head.triangle_part.tolist()) == set(PART_INDEX.values())
    assert head.uv.min() >= 0.0
    assert head.uv.max() <= 1.0
    assert head.triangles.min() == 0
    assert head.triangles.max() == count - 1


def test_both_sides_are_mirror_images(head: HeadModel):
    flip = torch.tensor([-1.0, 1.0, 1.0])
    assert torch.equal(head.mirror[head.mirror], torch.arange(len(head.mirror)))
    torch.testing.assert_close(head.neutral[head.mirror] * flip, head.neutral, atol=1e-7, rtol=0)
    swapped = head.skin_weights[head.mirror][:, [0, 1, 2, 3, 5, 4]]
    torch.testing.assert_close(swapped, head.skin_weights, atol=1.5 / 255, rtol=0)
    for index, name in enumerate(ARKIT_NAMES):
        if name.endswith("Left"):
            right = head.expression_basis[ARKIT_NAMES.index(name[:-4] + "Right")]
            mirrored = head.expression_basis[index][head.mirror] * flip
            torch.testing.assert_close(mirrored, right, atol=1e-6, rtol=0, msg=name)


def test_triangles_are_not_degenerate(head: HeadModel):
    corners = head.neutral[head.triangles]
    normals = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    assert 0.5 * normals.norm(dim=1).min() > 0.01 * MM**2


def test_skin_is_one_closed_surface(head: HeadModel):
    """Every edge of the skin has two triangles that run it in opposite directions, but for the
    borders under the bust and inside the lids."""
    names = ("face", "scalp", "ears", "neck", "bust", "eyelids", "mouth")
    skin = torch.isin(head.triangle_part, torch.tensor([PART_INDEX[n] for n in names]))
    triangles = head.triangles[skin].numpy()
    edges = [tuple(e) for k in range(3) for e in triangles[:, [k, (k + 1) % 3]]]
    assert len(set(edges)) == len(edges)
    directed = set(edges)
    border = np.array([a for a, b in directed if (b, a) not in directed])
    points = head.neutral.numpy()[border]
    under_bust = points[:, 1] < body.BUST_BOTTOM + 1e-4
    in_lids = np.linalg.norm(np.abs(points) - np.abs(LEFT_EYE), axis=1) < 0.02
    assert (under_bust | in_lids).all()


@pytest.mark.parametrize("part", ["left_eyeball", "right_eyeball", "tongue"])
def test_inner_parts_are_closed_and_face_outward(head: HeadModel, part: str):
    triangles = head.triangles[head.triangle_part == PART_INDEX[part]].numpy()
    edges = {tuple(e) for k in range(3) for e in triangles[:, [k, (k + 1) % 3]]}
    assert len(edges) == 3 * len(triangles)
    assert all((b, a) in edges for a, b in edges)
    corners = head.neutral.numpy()[triangles]
    corners = corners - corners.mean((0, 1))
    assert np.einsum("nc,nc->", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])) > 0


def test_weights_are_shares(head: HeadModel):
    assert head.skin_weights.min() >= 0.0
    torch.testing.assert_close(
        head.skin_weights.sum(1), torch.ones(len(head.neutral)), atol=1e-6, rtol=0
    )


def test_landmarks_lie_on_the_measured_face(head: HeadModel):
    measured = lm.Statistics()
    surface = landmarks(head, head.neutral.numpy())
    resting = measured.resting_face()
    assert np.linalg.norm(surface[:468] - resting, axis=1).max() < 0.3 * MM
    seen = surface + head.landmark_offsets.numpy()
    assert np.linalg.norm(seen[:468] - measured.mean[:468], axis=1).max() < 0.5 * MM
    left_pupil = LEFT_EYE + (0.0, 0.0, body.EYEBALL_RADIUS)
    assert np.linalg.norm(surface[473] - left_pupil) < 0.5 * MM
    assert surface[468, 0] < 0 < surface[473, 0]


def test_the_68_have_a_jaw_line_of_even_steps_from_eye_height_to_the_chin(head: HeadModel):
    corners = head.neutral[head.triangles[head.ibug_triangles]]
    points = torch.einsum("lk,lkc->lc", head.ibug_barycentrics, corners)
    jaw = points[:17]
    steps = (jaw[1:] - jaw[:-1]).norm(dim=1)
    assert (steps - steps.mean()).abs().max() < 0.1 * steps.mean()
    assert abs(float(jaw[0, 1])) < 1 * MM
    assert float(jaw[:, 1].argmin()) == 8
    # The others are points that MediaPipe's face mesh has too.
    seen = landmarks(head, head.neutral.numpy())
    nearest = torch.cdist(points[17:].double(), torch.from_numpy(seen).double()).min(1).values
    assert nearest.max() < 1e-6
    flip = torch.tensor([-1.0, 1.0, 1.0])
    torch.testing.assert_close(jaw.flip(0) * flip, jaw, atol=2e-5, rtol=0)


def covered(points: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Which points [N, 3] have a triangle [F, 3, 3] before them, seen from the front."""
    a, b, c = triangles[:, 0], triangles[:, 1], triangles[:, 2]
    area = (b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]
    keep = np.abs(area) > 1e-14
    a, b, c, area = a[keep], b[keep], c[keep], area[keep]
    p = points[:, None]
    v = ((p - a)[..., 0] * (c - a)[:, 1] - (p - a)[..., 1] * (c - a)[:, 0]) / area
    w = ((b - a)[:, 0] * (p - a)[..., 1] - (b - a)[:, 1] * (p - a)[..., 0]) / area
    depth = a[:, 2] + v * (b - a)[:, 2] + w * (c - a)[:, 2]
    inside = (v >= 0) & (w >= 0) & (v + w <= 1) & (depth > p[..., 2])
    return inside.any(1)


def eye_triangles(head: HeadModel, vertices: np.ndarray, part: str) -> np.ndarray:
    chosen = vertices[head.triangles[head.triangle_part == PART_INDEX[part]].numpy()]
    return chosen[chosen[:, :, 0].min(1) > 0]


def front_of_eyeball() -> np.ndarray:
    """A dense grid on the part of the left eyeball that faces the front."""
    x, y = np.meshgrid(np.linspace(-0.0105, 0.0105, 60), np.linspace(-0.0105, 0.0105, 60))
    inside = x**2 + y**2 < 0.0105**2
    depth = np.sqrt(body.EYEBALL_RADIUS**2 - x[inside] ** 2 - y[inside] ** 2)
    return LEFT_EYE + np.stack([x[inside], y[inside], depth], axis=1)


def test_blink_covers_the_eyeball(head: HeadModel):
    ball = front_of_eyeball()
    for code, share in (({}, 0.9), ({"eyeBlinkLeft": 1.0}, 1.0)):
        vertices = posed(head, **code)
        skin = np.concatenate([eye_triangles(head, vertices, p) for p in ("eyelids", "face")])
        near = np.abs(skin.mean(1) - LEFT_EYE).max(1) < 0.03
        hidden = covered(ball, skin[near]).mean()
        assert hidden < share if not code else hidden >= 0.995, code


@pytest.mark.parametrize("amount", [0.25, 0.5, 0.75, 1.0])
def test_lids_slide_outside_the_eyeball(head: HeadModel, amount: float):
    vertices = posed(head, eyeBlinkLeft=amount)
    lids = eye_triangles(head, vertices, "eyelids")
    front = lids[lids[:, :, 2].min(1) > 0.006]
    assert np.linalg.norm(front - LEFT_EYE, axis=2).min() > body.EYEBALL_RADIUS - 0.05 * MM


def test_lips_meet_at_rest_and_part_with_the_jaw(head: HeadModel):
    assert np.abs(lip_gap(head)).max() < 0.3 * MM
    opened = np.linalg.norm(lip_gap(head, jawOpen=1.0)[0])
    assert 25 * MM < opened < 45 * MM
    for amount in (0.1, 0.5, 1.0):
        assert lip_gap(head, jawOpen=amount)[:, 1].min() > 0.0


@pytest.mark.parametrize("amount", [0.5, 1.0])
def test_mouth_close_closes_an_open_jaw(head: HeadModel, amount: float):
    # Halfway the turn of the jaw is not linear, so a little is left.
    gap = lip_gap(head, jawOpen=amount, mouthClose=amount)
    assert np.abs(gap[:, 1]).max() < 1.0 * MM


@pytest.mark.parametrize(
    "name",
    ["mouthPucker", "mouthFunnel", "mouthSmileLeft", "mouthFrownLeft", "mouthPressLeft",
     "mouthShrugLower", "mouthShrugUpper", "mouthRollLower", "mouthRollUpper", "mouthStretchLeft",
     "mouthUpperUpLeft", "mouthLowerDownLeft", "mouthDimpleLeft", "mouthLeft", "cheekPuff"],
)  # fmt: skip
def test_lips_do_not_cross(head: HeadModel, name: str):
    assert lip_gap(head, **{name: 1.0})[:, 1].min() > -1.0 * MM


def test_shapes_move_what_they_name(head: HeadModel):
    index = ARKIT_NAMES.index
    still = landmarks(head, head.neutral.numpy())
    smile = landmarks(head, posed(head, mouthSmileLeft=1.0)) - still
    assert smile[291, 1] > 5 * MM
    assert smile[291, 0] > 3 * MM
    assert np.linalg.norm(smile[61]) < 1 * MM
    assert np.linalg.norm(smile[[33, 133, 10]], axis=1).max() < 0.2 * MM
    for name, direction in (("eyeLookUpLeft", 1.0), ("eyeLookDownLeft", -1.0)):
        pupil = landmarks(head, posed(head, **{name: 1.0}))[473] - still[473]
        assert direction * pupil[1] > 4 * MM
    assert head.expression_basis[index("tongueOut")].norm(dim=1).max() > 20 * MM


def test_joints_follow_the_identity(head: HeadModel):
    """The eye joints stay in the middle of their eyeballs for any person."""
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(head.identity_count, generator=generator)
    rig = head.rig(weights)
    for joint, part in ((4, "left_eyeball"), (5, "right_eyeball")):
        own = head.triangles[head.triangle_part == PART_INDEX[part]].unique()
        distance = (rig.neutral[own] - rig.joints[joint]).norm(dim=1)
        assert (distance - body.EYEBALL_RADIUS).abs().max() < 0.4 * MM


def test_building_is_deterministic(tmp_path: Path):
    path = tmp_path / "default.safetensors"
    build(path)
    again = read_head(path)
    committed = read_head(DEFAULT_PATH)
    assert torch.equal(again.triangles, committed.triangles)
    torch.testing.assert_close(again.neutral, committed.neutral, atol=1e-6, rtol=0)
    torch.testing.assert_close(
        again.expression_basis, committed.expression_basis, atol=2e-4, rtol=0
    )


LIP_SHAPES = [name for name in ARKIT_NAMES if name.startswith(("mouth", "cheekPuff", "noseSneer"))]


def test_no_sum_of_shapes_pushes_the_lips_through_each_other(head: HeadModel):
    """The gap of a sum is the sum of the gaps: none may be negative, but that of mouthClose."""
    rest = lip_gap(head)[:, 1]
    for name in LIP_SHAPES:
        if name != "mouthClose":
            assert (lip_gap(head, **{name: 1.0})[:, 1] - rest).min() > -0.1 * MM, name
    random = np.random.default_rng(0)
    for _ in range(4):
        code = {name: float(random.random()) for name in LIP_SHAPES if name != "mouthClose"}
        assert lip_gap(head, **code)[:, 1].min() > -1.0 * MM


@pytest.mark.parametrize(
    "code",
    [{"mouthSmileLeft": 1.0, "mouthSmileRight": 1.0, "jawOpen": 1.0},
     {"mouthPucker": 1.0, "jawOpen": 1.0}, {"mouthFunnel": 1.0, "mouthPucker": 1.0},
     {"mouthStretchLeft": 1.0, "mouthStretchRight": 1.0, "jawOpen": 0.5}],
)  # fmt: skip
def test_the_mouth_keeps_its_corners_apart(head: HeadModel, code: dict[str, float]):
    """Along both lips the landmarks stay in order, from the middle to a corner on its own side."""
    points = landmarks(head, posed(head, **code))
    for lip in (lm.LIP_INNER[:6], lm.LIP_INNER[:4:-1]):
        assert np.diff(points[lip, 0]).min() > -0.5 * MM
        assert points[lip[-1], 0] > 3 * MM


@pytest.mark.parametrize("squint", [0.5, 1.0])
def test_lids_that_blink_and_squint_stay_outside_the_eyeball(head: HeadModel, squint: float):
    lids = eye_triangles(
        head, posed(head, eyeBlinkLeft=1.0, eyeSquintLeft=squint), "eyelids"
    )  # additive: the sum of two slides leaves the sphere a little
    front = lids[lids[:, :, 2].min(1) > 0.006]
    assert np.linalg.norm(front - LEFT_EYE, axis=2).min() > body.EYEBALL_RADIUS - 0.3 * MM


@pytest.mark.parametrize("name", ["mouthRollLower", "mouthRollUpper", "mouthStretchLeft"])
def test_closed_lips_hide_the_teeth(head: HeadModel, name: str):
    vertices = posed(head, **{name: 1.0})
    lips = torch.tensor([PART_INDEX["face"], PART_INDEX["mouth"]])
    triangles = vertices[head.triangles[torch.isin(head.triangle_part, lips)].numpy()]
    mouth = np.abs(triangles.mean(1) - (0.0, -0.068, 0.02)) < (0.05, 0.04, 0.06)
    teeth = torch.tensor([PART_INDEX["upper_teeth"], PART_INDEX["lower_teeth"]])
    own = head.triangles[torch.isin(head.triangle_part, teeth)].unique().numpy()
    assert covered(vertices[own], triangles[mouth.all(1)]).mean() > 0.99


@pytest.mark.parametrize("turn", [(0, 60, 0), (40, 0, 0), (-40, 0, 0), (0, 0, 30), (30, 45, 20)])
def test_the_neck_bends_without_collapse(head: HeadModel, turn: tuple[float, float, float]):
    """Skinned between head and bust, the neck keeps its girth, and its skin does not turn over."""
    rotation = rotation_vector_to_quaternion(torch.deg2rad(torch.tensor(turn, dtype=torch.float)))
    code = ExpressionCode.from_named()
    turned = code._replace(head_rotation=rotation, neck_rotation=rotation)
    neck = head.triangles[head.triangle_part == PART_INDEX["neck"]]
    vertices = head.vertices(None, turned)

    def areas(points: torch.Tensor) -> torch.Tensor:
        corners = points[neck]
        return torch.linalg.cross(
            corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
        ).norm(dim=1)

    ratio = areas(vertices) / areas(head.neutral)
    assert 0.6 < float(areas(vertices).sum() / areas(head.neutral).sum()) < 1.5
    assert float((ratio < 0.1).float().mean()) < 0.02


def test_the_skin_lies_in_the_texture_without_a_tear(head: HeadModel):
    """Its triangles keep their order and are nowhere far longer than the skin is."""
    names = ("face", "scalp", "ears", "neck", "bust", "eyelids", "mouth")
    skin = torch.isin(head.triangle_part, torch.tensor([PART_INDEX[n] for n in names]))
    a, b, c = head.uv[head.triangles[skin]].unbind(1)
    turned = (b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]
    assert (turned > 0).all()
    assert torch.stack([a - b, b - c, c - a]).norm(dim=-1).max() < 0.1


def test_identity_modes_are_symmetric_or_asymmetric(head: HeadModel):
    share = head.identity_asymmetry
    assert share.shape == (head.identity_count,)
    assert ((share < 0.05) | (share > 0.99)).all()
    assert int((share > 0.5).sum()) >= 10
    flip = torch.tensor([-1.0, 1.0, 1.0])
    for mode in (share > 0.5).nonzero()[:, 0].tolist():
        moved = head.identity_basis[mode]
        even = (moved[head.mirror] * flip + moved).square().sum(1).mean().sqrt()
        assert even < 0.1 * moved.square().sum(1).mean().sqrt()
