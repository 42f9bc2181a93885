"""What surrounds a few-shot run: gains and intervals, curves, resuming, judges, cross-driving."""

from __future__ import annotations

import json
import xml.etree.ElementTree as xml
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from avatar3d.errors import UserError
from recon.benchmark import store, svg
from recon.benchmark.cross import akd_aligned, with_motion_of
from recon.benchmark.curves import curves
from recon.benchmark.fewshot_report import FewshotReport
from recon.benchmark.judge import ClipJudge
from recon.benchmark.method import Fitted, Method
from recon.benchmark.networks import Networks, WeightPaths
from recon.benchmark.protocol import Protocol
from recon.benchmark.report import make_report
from recon.benchmark.run import Keep, run_fewshot
from recon.benchmark.scores import Truth
from recon.benchmark.store import RowStore, fingerprint
from recon.benchmark.summary import interval, summarize
from tests.recon.benchmark.synthetic import face_landmarks, fixed_detector, make_clip

pytest.importorskip("cv2", reason="needs the extra recon")
pytest.importorskip("flip_evaluator", reason="FLIP needs the extra bench")

PROTOCOL = Protocol(shots=(1, 4), test_frames=6)
CLIP, OTHER = (make_clip(frames=40, protocol=PROTOCOL, name=name) for name in ("one", "two"))


def row(method: str, shots: int, clip: str, face: float, **more: float) -> dict:
    return {"method": method, "shots": shots, "clip": clip, "psnr_face": face, **more}


def test_gains_are_paired_and_bounded() -> None:
    rng = np.random.default_rng(1)
    clips = [f"c{k}" for k in range(12)]
    level = dict(zip(clips, rng.normal(25, 3, 12)))  # people differ far more than methods
    rows = [row("ours", 8, c, level[c] + 0.5 + 0.1 * rng.normal()) for c in clips]
    rows += [row("warp2d", 8, c, level[c]) for c in clips]
    rows += [row("ours-ff", 8, c, level[c] + 0.5) for c in clips[:3]]
    summary = summarize(rows)
    assert summary["psnr_gain_over_warp2d_t8"] == pytest.approx(0.5, abs=0.1)
    assert 0.3 < summary["psnr_gain_over_warp2d_t8_low"] < summary["psnr_gain_over_warp2d_t8"]
    assert summary["psnr_gain_over_warp2d_t8_high"] < 0.7
    assert summary["psnr_ours_t8_high"] - summary["psnr_ours_t8_low"] > 1, (
        "that of the mean is wide"
    )
    assert abs(summary["psnr_gain_over_ours_ff_t8"]) < 0.3, "over the clips that both have"
    assert "psnr_gain_over_ours_t8" not in summary


def test_an_interval_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(3)
    covered = 0
    for _ in range(200):
        low, high = interval(rng.normal(size=40))
        covered += low < 0 < high
    assert 175 <= covered <= 199
    assert all(np.isnan(interval([1.0])))
    assert interval([2.0, float("nan"), 2.0]) == (2.0, 2.0)


def test_curves_are_an_svg_with_a_panel_for_each_known_figure() -> None:
    rows = [
        row(
            method,
            shots,
            clip,
            20 + shots / 8 + len(method),
            lpips=float("nan"),
            akd_lips=1 / shots,
        )
        for method in ("ours", "a<b")
        for shots in (1, 8, 32)
        for clip in "xyz"
    ]
    drawn = xml.fromstring(curves(rows))
    texts = [element.text for element in drawn.iter() if element.tag.endswith("text")]
    assert "face PSNR, dB" in texts
    assert "AKD of the lips, px (less is better)" in texts
    assert "LPIPS (less is better)" not in texts
    assert {"T=1", "T=8", "T=32", "ours", "a<b"} <= set(texts)
    xml.fromstring(curves([]))
    xml.fromstring(curves(rows[:1]))


@pytest.mark.parametrize(("low", "high"), [(0.71, 0.74), (21.3, 27.9), (5.0, 5.0), (-0.2, 113.0)])
def test_ticks_are_few_round_and_around(low: float, high: float) -> None:
    ticks = svg.ticks(low, high)
    assert 2 <= len(ticks) <= 8 or low == high
    assert ticks[0] <= low + 1e-9
    assert ticks[-1] >= high - 1e-9


def test_the_tables_name_what_was_not_measured() -> None:
    rows = [row("ours", 1, "a", 21.0), row("copy", 1, "a", 20.0)]
    settings = {"absent": {"LPIPS": "name a file"}}
    report = make_report("fewshot", settings, rows, summarize(rows), FewshotReport)
    text = report.markdown()
    assert "- LPIPS: name a file." in text
    assert "| copy | 1 | +1.00 |" in text
    assert "Driven by" not in text


class Counting(Method):
    """White pictures, and how often one was asked for."""

    def __init__(self, name: str = "counting", color: float = 1.0) -> None:
        self.name, self.color, self.fits = name, color, 0
        self.stop_at: int | None = None

    def settings(self):
        return {"color": self.color}

    def fit(self, support, clip):
        self.fits += 1
        if self.fits == self.stop_at:
            raise KeyboardInterrupt
        return CountingFitted(self)


class CountingFitted(Fitted):
    def __init__(self, method: Counting) -> None:
        self.method = method

    def render(self, test_index, clip):
        assert np.isfinite(clip.landmarks[test_index]).all()
        return np.full((256, 256, 3), self.method.color, np.float32)


def test_a_run_that_was_stopped_goes_on(tmp_path: Path, monkeypatch) -> None:
    figures = {"psnr_face": 20.0, "psnr_head": float("nan")}
    monkeypatch.setattr("recon.benchmark.run.score_found", lambda *_: figures)
    keep = Keep(tmp_path / "rows", tmp_path / "frames", all_frames=False)

    def run(method: Method):
        return run_fewshot([CLIP, OTHER], [method], (1, 4), keep=keep, detector=fixed_detector)

    stopped = Counting()
    stopped.stop_at = 3
    with pytest.raises(KeyboardInterrupt):
        run(stopped)
    assert len(list((tmp_path / "rows").iterdir())) == 2
    again = Counting()
    report = run(again)
    assert again.fits == 2, "the clip that was done is not measured again"
    assert [(r["clip"], r["shots"]) for r in report.rows] == [
        ("one", 1), ("one", 4), ("two", 1), ("two", 4)
    ]  # fmt: skip
    assert np.isnan(report.rows[0]["psnr_head"])
    assert (tmp_path / "frames" / "one" / "contact.png").exists()
    assert len(list((tmp_path / "frames" / "one" / "counting_T4").glob("*.png"))) == 5
    other = Counting(color=0.5)
    run(other)
    assert other.fits == 4, "other settings are other rows"
    back = Counting()
    report.write_folder(tmp_path)
    np.testing.assert_equal(run(back).summary["psnr_counting_t4"], 20.0)
    assert back.fits == 4, "the pictures of that name are those of the other settings by now"
    done = Counting()
    run(done)
    assert done.fits == 0
    assert {path.name for path in tmp_path.iterdir()} >= {"report.json", "report.md", "curves.svg"}
    # A damaged row is measured again, and so is one whose pictures are gone.
    (next((tmp_path / "rows").glob("one-*"))).write_text("{")
    (tmp_path / "frames" / "two" / "counting_T4" / f"{CLIP.test[0]:05d}.png").unlink()
    mended = Counting()
    run(mended)
    assert mended.fits in (1, 2)


def test_a_store_knows_a_clip_and_settings_again(tmp_path: Path) -> None:
    kept = RowStore(tmp_path, {"commit": "abc"})
    kept.save("name", {"shots": 1}, {"psnr": float("nan"), "clip": "x"})
    read = kept.load("name", {"shots": 1})
    assert read is not None
    assert read["clip"] == "x"
    assert np.isnan(read["psnr"])
    assert kept.load("name", {"shots": 2}) is None
    assert RowStore(tmp_path, {"commit": "abd"}).load("name", {"shots": 1}) is None
    assert RowStore(None, {}).load("name", {}) is None
    moved = replace(CLIP, landmarks=CLIP.landmarks + 1)
    assert fingerprint(CLIP) == fingerprint(make_clip(frames=40, protocol=PROTOCOL, name="three"))
    assert fingerprint(CLIP) != fingerprint(moved)


def test_code_that_measures_is_part_of_a_rows_key() -> None:
    root = Path(store.__file__).resolve().parents[2]
    files = {path for pattern in store._CODE for path in root.glob(pattern)}
    assert root / "recon/fit/refine.py" in files
    assert root / "recon/prior/clean.safetensors" in files
    assert not any("audio" in path.parts or "viewer" in path.parts for path in files)
    assert store.code_digest() == store.code_digest.__wrapped__()


class Colour:
    """An embedder: the mean colour about the nose."""

    name = "colour"

    def __call__(self, picture, landmarks):
        x, y = landmarks[1].astype(int)
        return picture[max(0, y - 5) : y + 5, max(0, x - 5) : x + 5].mean((0, 1)) - 0.5


def test_judges_know_the_person_and_the_pose() -> None:
    truths = [Truth.of(CLIP.frame(index), fixed_detector) for index in CLIP.test]
    judge = ClipJudge(CLIP, truths, Networks(embedder=Colour()))
    same = judge.figures(truths[0].picture, truths[0], truths[0].landmarks)
    assert same["csim"] == pytest.approx(1)
    assert same["apd"] == pytest.approx(0, abs=1e-3)
    assert same["aed"] == pytest.approx(0, abs=1e-6)
    assert same["csim_person"] <= 1
    inverse = judge.figures(1 - truths[0].picture, truths[0], truths[0].landmarks)
    assert inverse["csim"] == pytest.approx(-1)
    nobody = judge.figures(truths[0].picture, truths[0], None)
    assert all(np.isnan(nobody[name]) for name in ("csim", "csim_person", "apd", "aed"))
    assert "csim" not in ClipJudge(CLIP, truths, Networks()).figures(
        truths[0].picture, truths[0], truths[0].landmarks
    )


def test_motion_is_brought_over_relative_to_the_frontal_frame() -> None:
    landmarks = OTHER.landmarks * 0.5 + 60  # a face half as large, elsewhere
    driver = replace(OTHER, landmarks=landmarks)
    driven = with_motion_of(CLIP, CLIP.support[4], driver)
    home, start = CLIP.support[1][0], driver.support[1][0]
    np.testing.assert_allclose(driven.landmarks[start], CLIP.landmarks[home], atol=1e-3)
    moved = driven.landmarks[-1] - driven.landmarks[start]
    np.testing.assert_allclose(moved, OTHER.landmarks[-1] - OTHER.landmarks[start], atol=1e-2)
    assert set(driven.images) == set(CLIP.support[4])


def test_akd_is_aligned_by_a_similarity() -> None:
    face = face_landmarks()[:, :2]
    turned = 1.3 * face @ np.array([[0.8, 0.6], [-0.6, 0.8]]) + [30, -20]
    assert akd_aligned(turned, face) == pytest.approx(0, abs=1e-3)
    assert akd_aligned(face * [1.2, 1], face) > 1


def test_cross_driving_shows_the_person_in_the_drivers_motion(tmp_path: Path) -> None:
    networks = Networks(embedder=Colour(), absent={"FID": "get it"})
    keep = Keep(pictures=tmp_path)
    report = run_fewshot(
        [CLIP, OTHER], ["copy"], (1,), detector=fixed_detector, networks=networks, cross=True,
        keep=keep,
    )  # fmt: skip
    for found in report.rows:
        assert {found["clip"], found["driver"]} == {"one", "two"}
        assert found["cross_fail"] == 0
        assert found["cross_apd"] >= 0
        assert -1 <= found["cross_csim"] <= 1
    assert "cross_csim_copy_t1" in report.summary
    assert "Driven by another person's clip" in report.markdown()
    assert "- FID: get it." in report.markdown()
    assert (tmp_path / "one" / "cross" / "contact.png").exists()
    with pytest.raises(UserError, match="two clips"):
        run_fewshot([CLIP], ["copy"], (1,), detector=fixed_detector, networks=networks, cross=True)


def test_networks_that_are_not_there_are_named(monkeypatch) -> None:
    monkeypatch.setattr("recon.benchmark.networks.packaged_dlib", lambda: None)
    networks = Networks.open()
    assert set(networks.absent) == {"LPIPS", "FID", "CSIM"}
    assert "avatar3d[identity]" in networks.absent["CSIM"]
    assert not networks.used
    with pytest.raises(UserError, match="there is no file"):
        Networks.open(WeightPaths(lpips=Path("nowhere.pth")))


def test_fid_is_over_the_frames_of_all_clips(tmp_path: Path, monkeypatch) -> None:
    class Means:
        """Stands for Inception: means of the picture's quarters."""

        def __call__(self, picture):
            return picture.reshape(2, 128, 2, 128, 3).mean((1, 3)).flatten()

    monkeypatch.setattr(
        "recon.benchmark.run.score_found", lambda *_: {"psnr_face": 20.0, "psnr_head": 20.0}
    )
    networks = Networks(inception=Means())  # type: ignore[arg-type]
    keep = Keep(rows=tmp_path)
    run = [[CLIP, OTHER], ["copy", Counting()], (4,)]
    first = run_fewshot(*run, detector=fixed_detector, networks=networks, keep=keep).summary
    assert 0 <= first["fid_copy_t4"] < first["fid_counting_t4"]
    again = run_fewshot(*run, detector=fixed_detector, networks=networks, keep=keep).summary
    assert again["fid_copy_t4"] == first["fid_copy_t4"]
    json.dumps(first)
