"""The run from end to end on clips that nobody filmed, without any detector."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest

from avatar3d.config import load_preset
from avatar3d.errors import UserError
from recon.benchmark.config import FewshotConfig, NamedClip, find_clips
from recon.benchmark.method import Fitted, Method
from recon.benchmark.pictures import write_png
from recon.benchmark.prepare import prepare_clip
from recon.benchmark.protocol import Protocol
from recon.benchmark.run import run_fewshot, summarize
from recon.capture.measure import CLIP_COPIES, PHOTO_COPIES
from tests.recon.benchmark.synthetic import face_landmarks, fixed_detector, make_clip
from tests.support.data import data_file_by_hash

cv2 = pytest.importorskip("cv2", reason="needs the extra recon")
pytest.importorskip("flip_evaluator", reason="FLIP needs the extra bench")

CLIP = make_clip(frames=40, protocol=Protocol(shots=(1, 4), test_frames=4))


@pytest.fixture
def cheap_scores(monkeypatch):
    """FLIP and SSIM take most of a run's time; here their values do not matter."""
    figures = {"psnr_face": 20.0, "psnr_head": 20.0}
    monkeypatch.setattr("recon.benchmark.run.score_found", lambda *_: figures)


class Spy(Method):
    """Notes what it is shown and returns white."""

    def __init__(self, sees_test_pixels: bool = False):
        self.name = "spy"
        self.sees_test_pixels = sees_test_pixels
        self.rendered: list[int] = []

    def settings(self):
        return {"colour": "white"}

    def fit(self, support, clip):
        assert tuple(frame.index for frame in support) == tuple(clip.images)
        assert not clip.ok[len(clip.ok) // 2 :].any()
        self.support = set(clip.images)
        return SpyFitted(self)


class SpyFitted(Fitted):
    def __init__(self, spy: Spy):
        self.spy = spy

    def render(self, test_index, clip):
        seen = {test_index} if self.spy.sees_test_pixels else set()
        assert set(clip.images) == self.spy.support | seen
        assert np.flatnonzero(clip.ok)[-1] == test_index
        self.spy.rendered.append(test_index)
        return np.ones((256, 256, 3), np.float32)

    def figures(self):
        return {"gaussians": 3.0}


def test_report_rows_summary_and_pictures(tmp_path):
    report = run_fewshot(
        [CLIP], ["copy", "warp2d"], (1, 4), pictures=tmp_path / "pictures", detector=fixed_detector
    )
    file = tmp_path / "report.json"
    report.write_json(file)
    read = json.loads(file.read_text())
    assert list(read) == ["name", "date", "commit", "machine", "settings", "rows", "summary"]
    assert read["name"] == "fewshot"
    assert read["settings"]["clips"] == ["waves"]
    labels = [(row["clip"], row["shots"], row["method"]) for row in read["rows"]]
    assert labels == [("waves", t, method) for t in (1, 4) for method in ("copy", "warp2d")]
    for row in read["rows"]:
        assert row["test_frames"] == 4
        assert row["fit_seconds"] >= 0
        assert row["render_ms"] > 0
        assert read["summary"][f"psnr_{row['method']}_t{row['shots']}"] == row["psnr_face"]
    by_label = {label: row for label, row in zip(labels, read["rows"], strict=True)}
    assert (
        by_label["waves", 4, "warp2d"]["psnr_face"] > by_label["waves", 4, "copy"]["psnr_face"] + 3
    ), "the texture moves with the landmarks, so the warp must follow it"
    assert read["summary"]["clips_above_warp2d_copy_t4"] == 0

    folder = tmp_path / "pictures" / "waves"
    for column in ("truth", "regions", "copy_T1", "warp2d_T4"):
        names = sorted(path.name for path in (folder / column).glob("*.png"))
        assert names == [f"{index:05d}.png" for index in CLIP.test]
    truth = cv2.imread(str(folder / "truth" / f"{CLIP.test[0]:05d}.png"))[..., ::-1]
    np.testing.assert_allclose(truth / 255, CLIP.frame(CLIP.test[0]).on_white(), atol=0.51 / 255)
    assert cv2.imread(str(folder / "contact.png")).shape[1] == 5 * 256

    table = report.markdown()
    assert "| method | shots | face PSNR |" in table
    assert "| waves | warp2d | 4 |" in table


@pytest.mark.parametrize("sees_test_pixels", [False, True])
def test_a_method_sees_what_it_may(sees_test_pixels, cheap_scores):
    spy = Spy(sees_test_pixels)
    report = run_fewshot([CLIP], [spy], (4,), detector=fixed_detector)
    assert tuple(spy.rendered) == CLIP.test
    (row,) = report.rows
    assert row["sees_test_pixels"] == sees_test_pixels
    assert row["gaussians"] == 3
    assert row["support_indices"] == " ".join(str(index) for index in CLIP.support[4])
    assert report.settings["methods"] == {"spy": {"colour": "white"}}


def test_quick_takes_two_clips_and_few_shots(cheap_scores):
    protocol = Protocol(shots=(1, 8, 32), test_frames=12)
    clips = [make_clip(frames=64, protocol=protocol, name=name) for name in "abc"]
    report = run_fewshot(clips, ["copy"], quick=True, detector=fixed_detector)
    assert [(row["clip"], row["shots"]) for row in report.rows] == [
        ("a", 1), ("a", 8), ("b", 1), ("b", 8)
    ]  # fmt: skip
    assert {row["test_frames"] for row in report.rows} == {8}


@pytest.mark.parametrize("shots", [(), (0,), (8, -1)])
def test_wrong_numbers_of_support_frames_are_said(shots):
    with pytest.raises(UserError, match="must be 1 or more"):
        run_fewshot([CLIP], ["copy"], shots, detector=fixed_detector)


def test_the_summary_counts_clips():
    def row(method, shots, clip, face, head):
        figures = {"psnr_face": face, "psnr_head": head}
        return {"method": method, "shots": shots, "clip": clip, **figures}

    summary = summarize([
        row("warp2d", 1, "a", 20, 10), row("warp2d", 1, "b", 22, 10),
        row("mine", 1, "a", 21, 15), row("mine", 1, "b", 21, 15),
        row("mine_start", 1, "a", 22, 15), row("mine_start", 1, "b", 20, 15),
        row("warp2d", 8, "a", 20, 10), row("warp2d", 8, "b", 20, 10),
        row("mine", 8, "a", 21, 14), row("mine", 8, "b", float("nan"), 16),
    ])  # fmt: skip
    assert summary["psnr_mine_t1"] == 21
    assert summary["clips_above_warp2d_mine_t1"] == 1
    assert summary["clips_below_start_mine_t1"] == 1
    assert "clips_below_start_mine_t8" not in summary
    assert summary["psnr_mine_t8"] == 21, "a clip that cannot be told does not count"
    assert summary["clips_above_warp2d_mine_t8"] == 1
    assert summary["clips_head_below_t1_mine_t8"] == 1
    assert summary["clips_head_below_t1_warp2d_t8"] == 0
    assert not any("gain" in name for name in summary), "gains are those of ours"


def test_a_video_file_is_prepared_without_any_network(tmp_path):
    """A patch of colour moves through a small lossless video; landmarks and matte are given."""
    av = pytest.importorskip("av", reason="needs the extra recon")
    path, size, frames = tmp_path / "patch.mkv", 160, 16
    shifts = np.stack([np.arange(frames) * 2.0, np.zeros(frames)], 1)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=10)
        stream.width = stream.height = size
        stream.pix_fmt = "bgr0"
        for shift in shifts:
            picture = np.full((size, size, 3), 40, np.uint8)
            left = 60 + int(shift[0])
            picture[60:100, left : left + 20] = (200, 100, 50)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))

    def find_landmarks(pictures):
        count = sum(1 for _ in pictures)
        landmarks = np.repeat(face_landmarks()[None] * (40 / 240), count, 0)
        landmarks[..., :2] += np.array([70 - 42.67, 80 - 42.67]) + shifts[:count, None]
        landmarks[3] = np.nan
        return landmarks.astype(np.float32)

    def find_mattes(crops):
        yield from (np.ones(crop.shape[:2], np.float32) for crop in crops)

    def measure(crop, landmarks, *, copies):
        return landmarks + np.array([0, 0, copies], np.float32)

    clip = prepare_clip(
        path,
        Protocol(shots=(1, 2), test_frames=3, crop_px=128),
        find_landmarks=find_landmarks,
        find_mattes=find_mattes,
        measure=measure,
    )
    assert clip.name == "patch"
    assert clip.fps == 10
    assert clip.support[2] == (0, 7)
    assert clip.test == (8, 12, 15)
    assert list(np.flatnonzero(~clip.ok)) == [3]
    assert clip.pinned is not None
    measured_by = (clip.landmarks - clip.pinned)[:, 0, 2]  # copies; 0 where nothing was needed
    assert (measured_by[list(clip.support[2])] == PHOTO_COPIES).all()
    assert (measured_by[list(clip.test)] == CLIP_COPIES).all()
    assert measured_by[1] == 0
    np.testing.assert_array_equal(clip.truth(8).landmarks, clip.pinned[8])
    for index in (*clip.support[2], *clip.test):
        x, y = clip.landmarks[index, 1, :2].astype(int)  # the nose's tip: the middle of the patch
        np.testing.assert_allclose(clip.images[index][y, x], (200, 100, 50), atol=3)
    assert clip.valid.all() == (clip.mattes[0] == 255).all()


def test_the_preset_names_the_clips_that_are_looked_for(tmp_path):
    config = load_preset(FewshotConfig, "benchmark", "fewshot")
    assert len(config.clips) == 8
    assert len({data_file_by_hash(digest) for digest in config.clips}) == 8


def test_clips_are_found_by_name_and_by_hash(tmp_path):
    folder = tmp_path / "clips"
    folder.mkdir()
    (folder / "one.mp4").write_bytes(b"1")
    (folder / "two.mkv").write_bytes(b"2")
    (folder / "notes.txt").write_bytes(b"3")
    digest = hashlib.sha256(b"2").hexdigest()
    assert find_clips(tmp_path) == [
        ("one", folder / "one.mp4"),
        ("two", folder / "two.mkv"),
    ]
    for digits in (digest[:6], digest[:12], digest):
        found = find_clips(tmp_path, [digits, "one"])
        assert [clip.name for clip in found] == [f"clip_{digest[:6]}", "one"]
        assert found[0].path == folder / "two.mkv"
    with pytest.raises(UserError, match="must hold the clips"):
        find_clips(tmp_path, [digest[:5]])
    # The same bytes twice are one clip; two clips that begin alike are a question.
    (folder / "copy.mp4").write_bytes(b"2")
    assert len(find_clips(tmp_path, [digest])) == 1
    first, second, digits = alike_in_six_digits()
    (folder / "first.mp4").write_bytes(first)
    (folder / "second.mp4").write_bytes(second)
    with pytest.raises(UserError, match="give more digits"):
        find_clips(tmp_path, [digits])


def alike_in_six_digits() -> tuple[bytes, bytes, str]:
    """Two contents whose SHA-256 begin alike: some thousand tries, by the birthday paradox."""
    met: dict[str, bytes] = {}
    for content in (str(number).encode() for number in range(1_000_000)):
        digits = hashlib.sha256(content).hexdigest()[:6]
        if digits in met:
            return met[digits], content, digits
        met[digits] = content
    raise AssertionError("no two alike")


def test_reports_call_a_clip_as_it_was_asked_for(monkeypatch, tmp_path, cheap_scores):
    monkeypatch.setattr("recon.benchmark.run.cached_clip", lambda path, protocol: CLIP)
    clip = NamedClip("clip_0123ab", tmp_path / "someone.mp4")
    clip.path.write_bytes(b"nothing that is read")
    report = run_fewshot([clip], ["copy"], (1,), quick=True, detector=fixed_detector)
    assert {row["clip"] for row in report.rows} == {"clip_0123ab"}
    assert "someone" not in report.markdown()


def test_missing_clips_are_named(tmp_path):
    with pytest.raises(UserError, match="must hold the clips here, but it is not there"):
        find_clips(tmp_path, ["here"])
    with pytest.raises(UserError, match="--data must name a folder"):
        find_clips(tmp_path / "nowhere")


def test_pictures_are_written_as_they_are(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    write_png(tmp_path / "new" / "picture.png", picture)
    read = cv2.imread(str(tmp_path / "new" / "picture.png"))[..., ::-1]
    np.testing.assert_array_equal(read, picture)
