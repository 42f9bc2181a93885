"""Shut lids meet in a thin dark line; nothing of it is seen while the eye is open."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from avatar3d.avatar import Avatar, ExpressionBasis
from avatar3d.camera import Camera
from avatar3d.codes import ExpressionCode
from avatar3d.geometry import rotation_vector_to_quaternion
from avatar3d.heads.model import LandmarkRig
from recon.fit.lids import with_lids
from render.mesh import project_points
from render.rasterize import rasterize
from tests.support.avatars import plain_avatar

COUNT, SIZE_PX, FOCAL_PX, DISTANCE_M = 40_000, 256, 4000, 0.9
MM_PER_PX = 1000 * DISTANCE_M / FOCAL_PX
SKIN, LASHES = torch.tensor([0.7, 0.5, 0.4]), torch.tensor([0.1, 0.08, 0.08])
SHUT = ExpressionCode.from_named(eyeBlinkLeft=1.0, eyeBlinkRight=1.0)
LOWER_RIGHT = [33, 7, 163, 144, 145, 153, 154, 155, 133]  # MediaPipe's, from corner to corner


def open_eyed() -> tuple[Avatar, np.ndarray]:
    """Smooth skin with dark rims about the eyes, as make-up leaves, and what the photo shows of it."""
    avatar = plain_avatar(COUNT)
    template = avatar.template
    points, normals = _frames(avatar, ExpressionCode.neutral())
    lids = LandmarkRig(template.head, avatar.identity).pose(ExpressionCode.neutral())
    rim = torch.cdist(points, lids[LOWER_RIGHT]).min(1).values < 0.0025
    rim |= (
        torch.cdist(points, lids[LOWER_RIGHT] * torch.tensor([-1.0, 1, 1])).min(1).values < 0.0025
    )
    skin = template.is_part("face", "eyelids")
    colors = torch.where((rim & skin)[:, None], LASHES, SKIN)
    colors[template.is_part("left_eyeball", "right_eyeball")] = torch.tensor([0.2, 0.9, 0.2])
    plain = replace(
        avatar.attributes,
        offsets=torch.zeros(COUNT, 3),
        colors=colors,
        opacity_logits=torch.full((COUNT,), 5.0),
        log_scales=(0.7 * template.spacing.clamp(4e-4, 6e-3)).log()[:, None]
        + torch.tensor([0.0, 0.0, -1.0]),
        rotations=torch.tensor([1.0, 0, 0, 0]).expand(COUNT, 4).contiguous(),
    )
    look = (skin & (normals[:, 2] > 0)).float().numpy()
    return replace(avatar, attributes=plain, basis=None, light=None), look


def _frames(avatar: Avatar, code: ExpressionCode) -> tuple[torch.Tensor, torch.Tensor]:
    frames = avatar.binding.frames(code)
    return frames.positions, frames.rotations[:, :, 2]


def portrait(avatar: Avatar, code: ExpressionCode, aside_m: float = 0.0) -> np.ndarray:
    """The right eye from near, [S, S] brightness."""
    camera = _camera(avatar, aside_m)
    with torch.no_grad():
        drawn = rasterize(avatar.gaussians(code), camera, background=SKIN).colors
    return drawn.mean(-1).numpy()


def _camera(avatar: Avatar, aside_m: float = 0.0) -> Camera:
    eye = _right_eye(avatar)
    place = eye + torch.tensor([aside_m, 0.0, DISTANCE_M])
    return Camera.look_at(place, eye, FOCAL_PX, SIZE_PX, SIZE_PX)


def _right_eye(avatar: Avatar) -> torch.Tensor:
    return LandmarkRig(avatar.template.head, avatar.identity).pose(SHUT)[LOWER_RIGHT].mean(0)


def seam_px(avatar: Avatar) -> np.ndarray:
    """The shut eye's seam in `portrait`, [K, 2] in order of x, without its corners."""
    camera = _camera(avatar)
    points = LandmarkRig(avatar.template.head, avatar.identity).pose(SHUT)[LOWER_RIGHT].numpy()
    pixels = project_points(points, camera.viewmat.numpy(), camera.K.numpy())[0]
    return pixels[np.argsort(pixels[:, 0])][1:-1]


def codes(*blinks: float) -> ExpressionCode:
    """Support frames whose eyes are so far shut."""
    return ExpressionCode.stack(
        [ExpressionCode.from_named(eyeBlinkLeft=b, eyeBlinkRight=b) for b in blinks]
    )


@pytest.mark.parametrize("blinks", [(0.0,), (0.05, 0.1, 1.0)])
def test_a_thin_dark_line_runs_where_shut_lids_meet(blinks: tuple[float, ...]):
    before, look = open_eyed()
    after = with_lids(before, codes(*blinks), look)
    picture, seam = portrait(after, SHUT), seam_px(after)
    skin = float(SKIN.mean())
    columns = np.arange(int(seam[0, 0]) + 4, int(seam[-1, 0]) - 4)
    heights = np.interp(columns, seam[:, 0], seam[:, 1])
    thick = []
    for column, height in zip(columns, heights):
        reach = int(4 / MM_PER_PX)
        strip = picture[int(height) - reach : int(height) + reach, column]
        assert strip.min() < skin - 0.15, f"no lashes in column {column}"
        thick.append((strip < skin - 0.75 * (skin - strip.min())).sum() * MM_PER_PX)
    assert np.median(thick) < 1.6
    assert np.max(thick) < 2.5


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("aside_m", [0.0, -0.5, 0.4])
def test_open_eyes_look_as_before(aside_m: float, seed: int):
    before, look = open_eyed()
    random = torch.Generator().manual_seed(seed)
    before = replace(before, identity=torch.randn(before.identity.shape, generator=random))
    after = with_lids(before, codes(0.0), look)
    for blink in (0.0, 0.3):
        code = ExpressionCode.from_named(eyeBlinkLeft=blink, eyeBlinkRight=blink)
        change = np.abs(portrait(after, code, aside_m) - portrait(before, code, aside_m))
        assert np.quantile(change, 0.999) < 0.02
        assert change.mean() < 5e-4


def test_lashes_go_with_the_head():
    """They are fastened to the lid: from the same side a turned head shows them as before."""
    before, look = open_eyed()
    after = with_lids(before, codes(0.0), look)
    turn = rotation_vector_to_quaternion(torch.tensor([0.1, 0.5, -0.2]))
    moved = SHUT._replace(head_rotation=turn, head_translation=torch.tensor([0.02, 0.01, -0.03]))
    still, turned = after.gaussians(SHUT), after.gaussians(moved)
    eye = (still.means - _right_eye(after)).norm(dim=-1) < 0.02
    apart = torch.cdist(still.means[eye], still.means[eye])
    torch.testing.assert_close(
        torch.cdist(turned.means[eye], turned.means[eye]), apart, atol=2e-5, rtol=1e-3
    )
    torch.testing.assert_close(turned.scales[eye], still.scales[eye], atol=1e-7, rtol=1e-4)


def test_what_expressions_taught_of_shut_lids_is_undone():
    """The eye was shut in one frame, and the basis learned specks from it."""
    before, look = open_eyed()
    width = before.head.expression_count
    blink = ExpressionCode.from_named(eyeBlinkLeft=1.0, eyeBlinkRight=1.0).coefficients
    random = torch.Generator().manual_seed(3)
    specks = ExpressionBasis(
        mean=torch.zeros(width),
        projection=torch.nn.functional.pad(blink, (0, width - len(blink)))[:, None] / 2,
        offsets=2e-3 * torch.randn(1, COUNT, 3, generator=random),
        colors=0.3 * torch.randn(1, COUNT, 3, generator=random),
        limits=torch.tensor([[0.0], [1.0]]),
    )
    taught = replace(before, basis=specks)
    after = with_lids(taught, codes(0.0, 0.0, 1.0), look)
    lid = _lid(after)
    clean = portrait(with_lids(before, codes(0.0), look), SHUT)[lid]
    assert np.abs(portrait(taught, SHUT)[lid] - clean).mean() > 0.05
    assert np.abs(portrait(after, SHUT)[lid] - clean).mean() < 0.02


def test_another_expression_leaves_the_lid_as_it_is():
    """The eye was shut in a squint, which darkens the lid; a plain blink does not bring the
    opposite."""
    before, look = open_eyed()
    squint = ExpressionCode.from_named(eyeSquintRight=1.0, eyeSquintLeft=1.0).coefficients
    width = before.head.expression_count
    taught = replace(
        before,
        basis=ExpressionBasis(
            mean=torch.zeros(width),
            projection=torch.nn.functional.pad(squint, (0, width - len(squint)))[:, None] / 2,
            offsets=torch.zeros(1, COUNT, 3),
            colors=torch.full((1, COUNT, 3), -0.25),
            limits=torch.tensor([[0.0], [1.0]]),
        ),
    )
    frames = ExpressionCode.stack(
        [
            ExpressionCode.neutral(),
            ExpressionCode.neutral(),
            ExpressionCode.from_named(
                eyeBlinkLeft=1.0, eyeBlinkRight=1.0, eyeSquintLeft=1.0, eyeSquintRight=1.0
            ),
        ]
    )
    lid = _lid(before)
    clean = portrait(with_lids(before, codes(0.0), look), SHUT)[lid].mean()
    assert portrait(with_lids(taught, frames, look), SHUT)[lid].mean() < clean + 0.01


def _lid(avatar: Avatar) -> tuple[slice, slice]:
    """Some of `portrait`, over the lashes."""
    seam = seam_px(avatar)
    row, column = int(seam[3, 1] - 3 / MM_PER_PX), int(seam[3, 0])
    return slice(row - 8, row + 8), slice(column - 20, column + 20)


def test_a_coarser_level_has_the_line_too():
    before, look = open_eyed()
    after = with_lids(before, codes(0.0), look).level(20_000)
    picture, seam = portrait(after, SHUT), seam_px(after)
    columns = np.arange(int(seam[0, 0]) + 4, int(seam[-1, 0]) - 4)
    reach = int(4 / MM_PER_PX)
    heights = np.interp(columns, seam[:, 0], seam[:, 1]).astype(int)
    darkest = [picture[y - reach : y + reach, x].min() for x, y in zip(columns, heights)]
    assert max(darkest) < float(SKIN.mean()) - 0.2


def test_lashes_are_never_lighter_than_the_lid():
    """All about the open eye is brighter than the skin beside it: an overexposed ring."""
    before, look = open_eyed()
    dark_skin = replace(
        before,
        attributes=replace(
            before.attributes,
            colors=torch.where(
                (before.attributes.colors == LASHES).all(1, keepdim=True), 2 * SKIN, 0.4 * SKIN
            ).clamp(max=1.0),
        ),
    )
    after = with_lids(dark_skin, codes(0.0), look)
    seam = seam_px(after).astype(int)
    picture = portrait(after, SHUT)
    row = slice(seam[3, 1] - 4, seam[3, 1] + 4), slice(seam[3, 0] - 10, seam[3, 0] + 10)
    assert picture[row].max() < picture[_lid(after)].max() + 0.02


def test_where_the_upper_lid_has_no_free_anchors_nothing_becomes_lashes():
    before, look = open_eyed()
    after = with_lids(before, codes(0.0), np.ones_like(look))
    torch.testing.assert_close(after.attributes.log_scales, before.attributes.log_scales)
    assert after.basis is not None
