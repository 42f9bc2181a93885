"""Teeth are of one colour: what lies at a lip's edge in a photo is not on them when it smiles."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from avatar3d.codes import ExpressionCode
from avatar3d.template import Template
from recon.fit.behind import clear_view, weighted_quantile
from recon.fit.colors import usual_teeth
from recon.fit.observation import Sighting
from recon.fit.teeth import with_own_mouth, with_plain_teeth
from tests.recon.fit.close_up import CAMERA, SIZE_PX, photograph, scene, unknown

TOOTH, LIP = np.array([0.8, 0.78, 0.7]), np.array([0.5, 0.1, 0.1])
SHUT = ExpressionCode.neutral()
SMILE = ExpressionCode.from_named(
    jawOpen=0.2, mouthSmileLeft=0.8, mouthSmileRight=0.8,
    mouthUpperUpLeft=0.7, mouthUpperUpRight=0.7, mouthLowerDownLeft=0.7, mouthLowerDownRight=0.7,
)  # fmt: skip
# The camera of the eyes looks at them; this one lies lower.
LOWER = CAMERA.__class__(
    CAMERA.viewmat @ torch.tensor([[1.0, 0, 0, 0], [0, 1, 0, 0.06], [0, 0, 1, 0], [0, 0, 0, 1]]),
    CAMERA.K, SIZE_PX, SIZE_PX,
)  # fmt: skip


def teeth() -> torch.Tensor:
    return scene().template.is_part("upper_teeth", "lower_teeth")


def seen(code: ExpressionCode, picture: np.ndarray) -> Sighting:
    return photograph(picture, code, LOWER)


def colors_after(*sightings: Sighting) -> np.ndarray:
    return with_plain_teeth(scene().template, unknown(), sightings).attributes.colors.numpy()


def usual() -> np.ndarray:
    """Of grey skin, as `unknown` has it."""
    return usual_teeth(np.full(3, 0.5))


def spotted() -> np.ndarray:
    """Teeth all over, but every fourth pair of columns is as dark as the gap between lips."""
    picture = np.broadcast_to(TOOTH, (SIZE_PX, SIZE_PX, 3)).copy()
    for column in range(0, SIZE_PX, 8):
        picture[:, column : column + 2] = 0.05
    return picture


def test_a_smile_shows_teeth():
    shown = clear_view(seen(SMILE, TOOTH), np.where(teeth().numpy())[0])[1]
    hidden = clear_view(seen(SHUT, TOOTH), np.where(teeth().numpy())[0])[1]
    assert shown.sum() > 20
    assert hidden.sum() < 0.2 * shown.sum()


def test_a_row_of_teeth_has_the_colour_of_those_that_are_seen():
    colors = colors_after(seen(SMILE, spotted()))
    own = colors[scene().template.is_part("upper_teeth").numpy()]
    apart = np.linalg.norm(own - TOOTH, axis=1)
    assert np.median(apart) < 0.03
    assert apart.max() < 0.15, "a dark spot lies on a tooth"
    assert colors[teeth().numpy()].mean(1).min() > 0.5
    others = colors[~teeth().numpy()]
    assert (others == 0.5).all()


def test_teeth_that_nobody_sees_are_as_usual():
    own = colors_after(seen(SHUT, LIP))[teeth().numpy()]
    assert np.ptp(own, axis=0).max() < 0.1
    middle = np.median(own, axis=0)
    assert (middle < usual()).all()
    assert (middle > 0.75 * usual()).all()


def test_the_dark_of_a_mouth_is_no_teeth():
    own = colors_after(seen(SMILE, np.array([0.12, 0.08, 0.08])))[teeth().numpy()]
    assert own.mean() > 0.7 * usual().mean()


def test_a_head_may_have_no_teeth(monkeypatch: pytest.MonkeyPatch):
    """FLAME's has none."""
    real = Template.is_part

    def is_part(template: Template, *parts: str) -> torch.Tensor:
        return real(template, *parts) & ("teeth" not in parts[0])

    monkeypatch.setattr(Template, "is_part", is_part)
    assert (colors_after(seen(SMILE, TOOTH)) == 0.5).all()


def test_quantiles_count_weights():
    values = np.array([[1.0, 9.0, 5.0], [2.0, 8.0, 5.0], [3.0, 7.0, 5.0]])
    np.testing.assert_array_equal(weighted_quantile(values, np.ones(3)), [2.0, 8.0, 5.0])
    heavy = weighted_quantile(values, np.array([0.1, 0.1, 5.0]))
    np.testing.assert_array_equal(heavy, [3.0, 7.0, 5.0])
    np.testing.assert_array_equal(weighted_quantile(values, np.ones(3), 1.0), [3.0, 9.0, 5.0])


def test_a_prior_may_not_take_the_tongue_away_nor_gums_far():
    template, start = scene().template, unknown()
    gone = replace(
        start.attributes,
        offsets=start.attributes.offsets + 0.03,
        opacity_logits=start.attributes.opacity_logits - 9.0,
    )
    kept = with_own_mouth(template, start._replace(attributes=gone), start).attributes
    tongue = template.is_part("tongue")
    assert tongue.any()
    for field in fields(kept):
        now, own, asked = (getattr(of, field.name) for of in (kept, start.attributes, gone))
        assert (now[tongue] == own[tongue]).all()
        if field.name != "offsets":
            assert (now[~tongue] == asked[~tongue]).all()
    moved = (kept.offsets - start.attributes.offsets).norm(dim=1)
    assert moved[template.is_part("gums", "mouth")].max() < 0.0051
    assert (moved[template.is_part("face", "upper_teeth", "scalp")] > 0.03).all()
