"""Shut eyes show lids: skin as beside the eye, and nothing changes while the eyes are open."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from avatar3d.avatar import Avatar, ExpressionBasis
from avatar3d.codes import ARKIT_INDEX, ARKIT_NAMES, ExpressionCode
from avatar3d.light import neutral_light
from recon.fit.lids import with_lids, with_opaque_eyes
from recon.fit.start import Confidence, Start
from tests.recon.fit import synthetic as scene
from tests.support.avatars import plain_avatar

SKIN, LASHES = torch.tensor([0.7, 0.5, 0.4]), torch.tensor([0.05, 0.04, 0.04])
OPEN, SHUT = (
    ExpressionCode.neutral(),
    ExpressionCode.from_named(eyeBlinkLeft=1.0, eyeBlinkRight=1.0),
)


def around_eyes() -> Tensor:
    """Face and lid anchors near an eye, [N]."""
    template = scene.scene().template
    points = template.neutral_points()
    near = torch.zeros(template.count, dtype=torch.bool)
    for side in ("left_eyeball", "right_eyeball"):
        centre = points[template.is_part(side)].mean(0)
        near |= (points - centre)[:, :2].norm(dim=1) < 0.010
    return near & template.is_part("face", "eyelids")


def painted() -> Avatar:
    """Plain skin, but for dark smudges all about the eyes."""
    avatar = plain_avatar(scene.COUNT)
    colors = torch.where(around_eyes()[:, None], LASHES, SKIN).contiguous()
    return replace(avatar, attributes=replace(avatar.attributes, colors=colors), basis=None)


def looked_at() -> np.ndarray:
    return scene.scene().template.is_part("face").numpy().astype(np.float32)


def codes(**coefficients: float) -> ExpressionCode:
    return ExpressionCode.stack([ExpressionCode.from_named(**coefficients)])


def shut_lids(avatar: Avatar) -> Tensor:
    """Anchors [N] of the middle of each shut lid, above the lashes."""
    points = avatar.binding.positions(SHUT)
    template = avatar.template
    chosen = torch.zeros(template.count, dtype=torch.bool)
    neutral = template.neutral_points()
    for side in ("left_eyeball", "right_eyeball"):
        centre = neutral[template.is_part(side)].mean(0)
        across, up = (points - centre)[:, :2].unbind(-1)
        chosen |= (across.abs() < 0.009) & (up > -0.001) & (up < 0.006)
    return chosen & template.is_part("face", "eyelids")


def test_shut_eyes_are_skin_and_open_eyes_stay():
    before = painted()
    after = with_lids(before, codes(), looked_at())
    torch.testing.assert_close(after.gaussians(OPEN).colors, before.gaussians(OPEN).colors)
    lids = shut_lids(before)
    assert lids.sum() >= 10
    shut = after.gaussians(SHUT).colors[lids]
    was = (before.gaussians(SHUT).colors[lids] - SKIN).norm(dim=1).mean()
    assert (shut - SKIN).norm(dim=1).mean() < 0.5 * was
    assert (shut - SKIN).norm(dim=1).median() < 0.2
    far = ~around_eyes() & ~lids
    brows = after.template.neutral_points()[:, 1] > 0.018
    torch.testing.assert_close(
        after.gaussians(SHUT).colors[far & brows], before.gaussians(SHUT).colors[far & brows]
    )


def test_one_eye_shuts_without_the_other():
    after = with_lids(painted(), codes(), looked_at())
    wink = after.gaussians(ExpressionCode.from_named(eyeBlinkLeft=1.0)).colors
    right = after.template.neutral_points()[:, 0] < -0.005
    torch.testing.assert_close(wink[right], after.gaussians(OPEN).colors[right])


@pytest.mark.parametrize("usual", [0.0, 0.3])
@pytest.mark.parametrize("helper", ["eyeLookDown", "eyeSquint"])
def test_a_lowered_gaze_and_a_squint_shut_an_eye_with_half_a_blink(helper: str, usual: float):
    """Together the lids nearly meet; each alone leaves the eye open."""
    both = {"Left": {}, "Right": {}}
    for side, own in both.items():
        own |= {f"eyeBlink{side}": 0.55, f"{helper}{side}": 1.0}
    basis = with_lids(painted(), codes(**{f"{helper}Left": usual}), looked_at()).basis
    assert basis is not None

    components = basis.projection[[ARKIT_INDEX[f"eyeBlink{side}"] for side in both]].argmax(1)

    def weights(**coefficients: float) -> list[float]:
        """Of the left eye's component and the right's."""
        code = ExpressionCode.from_named(**coefficients)
        return basis.weights(code.coefficients)[components].tolist()

    assert weights(**both["Left"])[0] > 0.5
    assert weights(**both["Left"])[1] == 0
    assert weights(**both["Right"])[1] > 0.5
    for alone in ({"eyeBlinkLeft": 0.5}, {f"{helper}Left": 1.0}, {f"{helper}Left": usual}):
        assert weights(**alone)[0] < 0.05
    assert weights(eyeBlinkLeft=1.0)[0] > 0.95


def test_who_usually_looks_down_and_squints_can_shut_their_eyes():
    usual = {"eyeLookDownLeft": 0.6, "eyeSquintLeft": 0.4, "eyeBlinkLeft": 0.2}
    basis = with_lids(painted(), codes(**usual), looked_at()).basis
    assert basis is not None
    left = int(basis.projection[ARKIT_INDEX["eyeBlinkLeft"]].argmax())
    for code, least, most in ((usual, 0.0, 0.0), ({"eyeBlinkLeft": 1.0}, 0.95, 1.0)):
        weights = basis.weights(ExpressionCode.from_named(**code).coefficients)
        assert least <= weights[left] <= most


@pytest.mark.parametrize("blinks", [(0.9,), (0.0, 0.9), (0.0, 0.9, 1.0)])
def test_an_eye_that_most_frames_show_shut_keeps_what_they_show(blinks: tuple[float, ...]):
    frames = ExpressionCode.stack([ExpressionCode.from_named(eyeBlinkLeft=b) for b in blinks])
    after = with_lids(painted(), frames, looked_at())
    assert after.basis is not None
    assert after.basis.projection.shape[1] == 1
    assert after.basis.projection[ARKIT_INDEX["eyeBlinkRight"], 0] > 0


def test_an_eye_that_blinks_in_some_frames_shuts_too():
    frames = ExpressionCode.stack(
        [ExpressionCode.from_named(eyeBlinkLeft=b) for b in (0.0, 0.0, 0.9)]
    )
    after = with_lids(painted(), frames, looked_at())
    assert after.basis is not None
    assert after.basis.projection.shape[1] == 2


def test_a_learned_basis_goes_on_as_before():
    template = scene.scene().template
    generator = torch.Generator().manual_seed(0)
    basis = ExpressionBasis(
        mean=0.2 * torch.rand(len(ARKIT_NAMES), generator=generator),
        projection=torch.randn(len(ARKIT_NAMES), 2, generator=generator),
        offsets=1e-3 * torch.randn(2, template.count, 3, generator=generator),
        colors=0.02 * torch.randn(2, template.count, 3, generator=generator),
        limits=torch.tensor([[-0.5, -0.4], [0.6, 0.3]]),
    )
    before = replace(painted(), basis=basis)
    after = with_lids(before, codes(), looked_at())
    for code in (OPEN, ExpressionCode.from_named(jawOpen=0.8, mouthSmileLeft=0.5)):
        for now, then in zip(after.gaussians(code), before.gaussians(code)):
            torch.testing.assert_close(now, then, atol=2e-6, rtol=1e-5)


def test_what_was_learned_of_skin_about_the_eyes_stays_within_reason():
    """Two components that cancel in the support frames, each a hundred times what skin does."""
    template = scene.scene().template
    width = len(ARKIT_NAMES)
    projection = torch.zeros(width, 2)
    projection[ARKIT_INDEX["jawOpen"], 0] = projection[ARKIT_INDEX["mouthPucker"], 1] = 1.0
    colors = torch.stack([torch.full((template.count, 3), sign * 3.0) for sign in (-1, 1)])
    basis = ExpressionBasis(
        torch.zeros(width), projection, torch.zeros_like(colors), colors,
        torch.tensor([[-1.0, -1.0], [1.0, 1.0]]),
    )  # fmt: skip
    before = replace(painted(), basis=basis)
    after = with_lids(before, codes(), looked_at())
    code = ExpressionCode.from_named(jawOpen=0.0, mouthPucker=1.0)
    near, far = around_eyes(), template.is_part("bust", "scalp")
    change = after.gaussians(code).colors - painted().gaussians(code).colors
    assert change[near].abs().max() < 0.31
    assert change[far].min() > 2.0


def test_a_face_of_which_nothing_is_known_stays():
    before = painted()
    assert with_lids(before, codes(), np.zeros(scene.COUNT, np.float32)) is before


@pytest.mark.parametrize("answer", [-4.0, 4.0])
def test_a_prior_may_not_make_lids_transparent(answer: float):
    """But it may make them more opaque, and the rest of the head whatever it likes."""
    template = scene.scene().template
    avatar = plain_avatar(scene.COUNT)
    own = replace(avatar.attributes, opacity_logits=torch.full((scene.COUNT,), 2.0))
    one = torch.ones(scene.COUNT, 1)
    start = Start(
        own, Confidence(one, one, one), np.ones(scene.COUNT, np.float32), neutral_light(),
        torch.zeros(scene.COUNT, 3), torch.ones(scene.COUNT),
    )  # fmt: skip
    learned = start._replace(
        attributes=replace(own, opacity_logits=torch.full((scene.COUNT,), answer))
    )
    logits = with_opaque_eyes(template, learned, start).attributes.opacity_logits
    skin = around_eyes()
    assert (logits[skin] == max(answer, 2.0)).all()
    assert (logits[template.is_part("scalp", "neck", "upper_teeth")] == answer).all()
