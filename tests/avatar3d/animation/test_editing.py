"""Motion tools by their laws, and motions that change owners."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch

from avatar3d.animation import editing, expression_tour
from avatar3d.animation.commands import motion as command
from avatar3d.animation.plot import plot_svg
from avatar3d.animation.retarget import Transfer, transfer
from avatar3d.animation.smoothing import CodeSmoother, OneEuro, smooth_clip
from avatar3d.codes import ARKIT_INDEX, ARKIT_NAMES, ExpressionCode
from avatar3d.errors import UserError
from avatar3d.geometry import quaternion_to_matrix, rotation_vector_to_quaternion
from avatar3d.motion import Motion

TOUR = expression_tour(30.0, ("smile", "anger"))
WITH_SOUND = Motion(TOUR.codes, 30.0, audio=torch.rand(int(2.0 * 8000), 1), audio_rate=8000)
JAW = ARKIT_INDEX["jawOpen"]


def same(a: Motion, b: Motion, tolerance: float = 1e-6) -> None:
    assert len(a) == len(b)
    torch.testing.assert_close(a.codes.coefficients, b.codes.coefficients, atol=tolerance, rtol=0)
    for x, y in (
        (a.codes.head_rotation, b.codes.head_rotation),
        (a.codes.neck_rotation, b.codes.neck_rotation),
    ):
        torch.testing.assert_close(
            quaternion_to_matrix(x), quaternion_to_matrix(y), atol=1e-3, rtol=0
        )


def test_what_is_cut_apart_joins_to_the_whole() -> None:
    first, second = editing.cut(WITH_SOUND, 0.0, 0.7), editing.cut(WITH_SOUND, 0.7)
    whole = editing.join([first, second])
    same(whole, WITH_SOUND)
    assert whole.audio is not None
    assert WITH_SOUND.audio is not None
    torch.testing.assert_close(whole.audio, WITH_SOUND.audio[: len(whole.audio)])
    faded = editing.join([first, second], blend_s=0.2)
    assert len(faded) == len(WITH_SOUND) - 6
    assert faded.audio is None
    steps = faded.codes.coefficients.diff(dim=0).abs().max()
    assert steps < 2 * WITH_SOUND.codes.coefficients.diff(dim=0).abs().max() + 0.05


def test_mirroring_twice_is_nothing_and_once_swaps_sides() -> None:
    same(editing.mirror(editing.mirror(TOUR)), TOUR)
    codes = ExpressionCode.neutral(1)
    codes.coefficients[0, ARKIT_INDEX["jawLeft"]] = 0.5
    turn = rotation_vector_to_quaternion(torch.tensor([[0.1, 0.3, -0.2]]))
    mirrored = editing.mirror(Motion(codes._replace(head_rotation=turn), 30.0)).codes
    assert mirrored.coefficients[0, ARKIT_INDEX["jawRight"]] == 0.5
    flip = torch.diag(torch.tensor([-1.0, 1.0, 1.0]))
    torch.testing.assert_close(
        quaternion_to_matrix(mirrored.head_rotation[0]),
        flip @ quaternion_to_matrix(turn[0]) @ flip,
    )


def test_blending_retiming_amplifying() -> None:
    still = Motion(ExpressionCode.neutral(len(TOUR)), 30.0)
    same(editing.blend(TOUR, still, 0.0), TOUR)
    same(editing.blend(TOUR, still, 1.0), still)
    half = editing.blend(TOUR, still, 0.5)
    torch.testing.assert_close(half.codes.coefficients, TOUR.codes.coefficients / 2)
    only = editing.blend(TOUR, still, 1.0, ["mouthSmile"])
    assert only.codes.coefficients[:, ARKIT_INDEX["mouthSmileLeft"]].max() == 0
    assert only.codes.coefficients[:, ARKIT_INDEX["cheekSquintLeft"]].max() > 0.1
    same(editing.amplify(TOUR, 1.0), TOUR)
    assert editing.amplify(TOUR, 0.0).codes.coefficients.max() == 0
    same(editing.retime(WITH_SOUND, 1.0), WITH_SOUND)
    fast = editing.retime(WITH_SOUND, 2.0)
    assert len(fast) == len(TOUR) // 2
    assert fast.audio is None
    torch.testing.assert_close(fast.codes.coefficients[5], TOUR.codes.coefficients[10])


def test_curves() -> None:
    still = Motion(ExpressionCode.neutral(31), 30.0)
    opened = editing.over_time(still, "jawOpen", [(0.0, 0.0), (0.5, 0.8), (1.0, 0.0)])
    value = opened.codes.coefficients[:, JAW]
    assert value[15] == pytest.approx(0.8)
    assert value[0] == value[30] == 0
    assert (value[:16].diff() >= 0).all()
    doubled = editing.by_value(opened, ["jawOpen"], [(0, 0), (0.5, 1), (1, 1)])
    torch.testing.assert_close(doubled.codes.coefficients[:, JAW], (2 * value).clamp(max=1))
    with pytest.raises(UserError, match="no coefficient 'chin'"):
        editing.over_time(still, "chin", [(0, 1)])
    with pytest.raises(UserError, match="further right"):
        editing.over_time(still, "jawOpen", [(1, 1), (0, 0)])


def test_transfer_modes() -> None:
    codes = TOUR.codes
    rest = torch.zeros(52)
    rest[ARKIT_INDEX["browInnerUp"]] = 0.3
    turn = rotation_vector_to_quaternion(torch.tensor([0.0, 0.4, 0.0])).expand(len(TOUR), 4)
    sits = Motion(
        ExpressionCode(
            (codes.coefficients * 0.5 + rest).clamp(0, 1), turn, codes.head_translation + 0.2, turn
        ),
        30.0,
    )
    plain = transfer(sits)
    torch.testing.assert_close(plain.codes.coefficients, sits.codes.coefficients)
    assert plain.codes.head_translation.abs().max() < 1e-6
    assert (plain.codes.head_rotation[:, 0].abs() > 0.9999).all()
    same(transfer(sits, Transfer(pose="absolute")), sits)
    first = transfer(sits, Transfer(pose="first"))
    assert first.codes.head_rotation[0, 0].abs() > 0.9999
    relative = transfer(sits, Transfer(neutral="relative")).codes.coefficients
    assert relative[:, ARKIT_INDEX["browInnerUp"]].min() < 1e-3
    whole = transfer(sits, Transfer(neutral="relative", reach="driver")).codes.coefficients
    smile = ARKIT_INDEX["mouthSmileLeft"]
    assert whole[:, smile].max() > 1.3 * relative[:, smile].max()
    # Doing it once more changes nothing: the rest has been taken off.
    again = transfer(Motion(sits.codes._replace(coefficients=relative), 30.0), Transfer("relative"))
    torch.testing.assert_close(again.codes.coefficients, relative, atol=5e-3, rtol=0)


def test_smoothing_holds_still_and_keeps_blinks() -> None:
    generator = torch.Generator().manual_seed(0)
    count = 120
    codes = ExpressionCode.neutral(count)
    noise = 0.02 * torch.randn(count, 52, generator=generator)
    codes = codes._replace(coefficients=(0.3 + noise).clamp(0, 1))
    smoother = CodeSmoother(ARKIT_NAMES)
    live = torch.stack([smoother(codes.at(i), 1 / 30).coefficients for i in range(count)])
    assert live[30:].std(0).mean() < 0.6 * codes.coefficients[30:].std(0).mean()
    both = smooth_clip(codes, 30.0).coefficients
    assert both[30:].std(0).mean() < live[30:].std(0).mean()
    blink = ExpressionCode.neutral(21)
    blink.coefficients[9:12, 0] = torch.tensor([0.6, 1.0, 0.6])
    smoother = CodeSmoother(ARKIT_NAMES)
    shown = torch.stack([smoother(blink.at(i), 1 / 30).coefficients[0] for i in range(21)])
    assert shown.max() > 0.85
    assert smooth_clip(blink, 30.0).coefficients[:, 0].argmax() == 10  # nothing comes late


def test_the_filter_follows_what_moves_and_forgets() -> None:
    import numpy as np

    filter_ = OneEuro(np.array([[1.0, 4.0]]))
    values = [filter_(np.array([float(i > 5)]), 1 / 30)[0] for i in range(12)]
    assert values[5] == 0
    assert values[11] > 0.95
    filter_.forget()
    assert filter_(np.array([0.2]), 1 / 30)[0] == pytest.approx(0.2)


def test_the_plot_is_svg_with_what_moves() -> None:
    root = ElementTree.fromstring(plot_svg(TOUR))
    words = {element.text for element in root.iter() if element.text}
    assert "mouthSmileLeft" in words
    assert "tongueOut" not in words
    assert "jawOpen" in ElementTree.tostring(
        ElementTree.fromstring(plot_svg(TOUR, ("jawOpen",))),
        encoding="unicode",
    )


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "a.npz"
    WITH_SOUND.save(source)
    command("mirror", (source,), output=tmp_path / "b.npz")
    command("mirror", (tmp_path / "b.npz",), output=tmp_path / "c.npz")
    same(Motion.load(tmp_path / "c.npz"), WITH_SOUND)
    command("retime", (source,), output=tmp_path / "d.csv", speed=0.5)
    assert "sound was left out" in capsys.readouterr().out
    command("plot", (source,), output=tmp_path / "e.svg")
    command("join", (source, source), output=tmp_path / "f.npz", blend=0.1)
    command(
        "curve", (source,), output=tmp_path / "g.npz", names=("jawOpen",),
        curve=((0.0, 0.0), (1.0, 1.0)), how="set",
    )  # fmt: skip
    assert Motion.load(tmp_path / "g.npz").codes.coefficients[30, JAW] > 0.9
    with pytest.raises(UserError, match="takes two motions, got 1"):
        command("blend", (source,), output=tmp_path / "h.npz")
    with pytest.raises(UserError, match=r"writes \.svg"):
        command("plot", (source,), output=tmp_path / "h.npz")
    with pytest.raises(UserError, match="cannot be cut"):
        command("cut", (source,), output=tmp_path / "h.npz", start=1.5, stop=9.0)
    assert not (tmp_path / "h.npz").exists()
