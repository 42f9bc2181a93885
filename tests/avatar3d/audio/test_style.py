"""Style: bounds, neutral elements, and lips that really meet on the head."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from avatar3d.audio.channels import CHANNELS, DRIVEN, to_channels, to_coefficients
from avatar3d.audio.network import OUTPUTS
from avatar3d.audio.style import EMOTIONS, Calibration, Style, close_lips, lips_closed, perform
from avatar3d.codes import ARKIT_INDEX, ARKIT_NAMES, ExpressionCode
from avatar3d.heads import load_head

UPPER_INNER_LIP, LOWER_INNER_LIP = 13, 14


def _outputs(seed: int, closure: float = -8.0) -> np.ndarray:
    outputs = 0.4 * np.random.default_rng(seed).standard_normal((20, OUTPUTS), np.float32)
    outputs[:, -2] = closure
    return outputs


@settings(max_examples=30)
@given(
    seed=st.integers(0, 1000),
    strength=st.floats(0, 3),
    emotion=st.sampled_from(sorted(EMOTIONS)),
    closure=st.floats(-200, 200),
)
def test_every_style_stays_within_bounds(
    seed: int, strength: float, emotion: str, closure: float
) -> None:
    style = Style(strength=strength, emotion=emotion)  # type: ignore[arg-type]
    coefficients = perform(_outputs(seed, closure), style, Calibration(1.5, 0.3))
    assert coefficients.shape == (20, 52)
    assert coefficients.min() >= 0
    assert coefficients.max() <= 1
    close, jaw = (coefficients[:, ARKIT_INDEX[n]] for n in ("mouthClose", "jawOpen"))
    assert (close <= jaw + 1e-6).all()  # else the lips pass through each other


def test_channels_and_coefficients_are_each_others_inverse() -> None:
    channels = torch.rand(5, len(CHANNELS))
    assert torch.allclose(
        torch.from_numpy(to_channels(to_coefficients(channels).numpy())), channels
    )
    mouthlike = ("jaw", "mouth", "cheek", "tongue")
    assert all(ARKIT_NAMES[index].startswith(mouthlike) for index in DRIVEN)
    assert len(DRIVEN) == 27


def test_left_and_right_are_the_same_without_emotion() -> None:
    coefficients = perform(_outputs(3), Style(), Calibration())
    for name in ARKIT_NAMES:
        if name.endswith("Left") and name not in ("jawLeft", "mouthLeft"):
            other = ARKIT_INDEX[name.removesuffix("Left") + "Right"]
            assert np.array_equal(coefficients[:, ARKIT_INDEX[name]], coefficients[:, other])


def test_lips_close_on_the_head_whatever_the_jaw_does() -> None:
    head = load_head("default")

    def gap(coefficients: np.ndarray) -> torch.Tensor:
        code = ExpressionCode.neutral(len(coefficients))
        code = code._replace(coefficients=torch.from_numpy(coefficients))
        points = head.landmarks(None, code)
        return (points[:, UPPER_INNER_LIP] - points[:, LOWER_INNER_LIP]).norm(dim=-1)

    open_mouth = np.zeros((4, 52), np.float32)
    open_mouth[:, ARKIT_INDEX["jawOpen"]] = 0.1, 0.3, 0.5, 0.7
    open_mouth[:, [ARKIT_INDEX["mouthLowerDownLeft"], ARKIT_INDEX["mouthLowerDownRight"]]] = 0.5
    at_rest = gap(np.zeros((1, 52), np.float32))
    opened = gap(open_mouth)
    closed = gap(close_lips(open_mouth, np.ones((4, 1), np.float32)))
    assert (opened > at_rest + 0.003).all()  # metres
    assert (closed < at_rest + 0.002).all()
    half = gap(close_lips(open_mouth, np.full((4, 1), 0.5, np.float32)))
    assert ((half < opened) & (half > closed)).all()


def test_closing_is_monotonous_and_smooth() -> None:
    probability = np.linspace(0, 1, 200)[:, None]
    closed = lips_closed(probability, 0.4)
    assert closed[0] == 0
    assert closed[-1] == 1
    steps = np.diff(closed, axis=0)
    assert (steps >= 0).all()
    assert steps.max() < 0.03


def test_an_emotion_shows_in_silence_and_mixes_with_speech() -> None:
    silent = np.zeros((1, OUTPUTS), np.float32)
    silent[:, -2] = -9
    for name, wanted in EMOTIONS.items():
        style = Style(emotion=name, emotion_amount=1.0)  # type: ignore[arg-type]
        shown = perform(silent, style, Calibration())
        for coefficient, value in wanted.items():
            assert shown[0, ARKIT_INDEX[coefficient]] == pytest.approx(value, abs=1e-6)
    speaking = silent.copy()
    speaking[:, 0], speaking[:, -1] = 0.4, 1.0
    happy = perform(speaking, Style(emotion="happy", emotion_amount=1.0), Calibration())
    plain = perform(speaking, Style(), Calibration())
    jaw, smile = ARKIT_INDEX["jawOpen"], ARKIT_INDEX["mouthSmileLeft"]
    assert happy[0, jaw] == plain[0, jaw]
    assert 0.2 < happy[0, smile] < EMOTIONS["happy"]["mouthSmileLeft"]


@pytest.mark.parametrize("wrong", [{"strength": -1}, {"jaw": 9}, {"emotion_amount": 2}])
def test_absurd_styles_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="expected 0 to"):
        Style(**wrong)  # type: ignore[arg-type]
