"""Where live codes come from and go to, and clips in batches: what does not need a face."""

from __future__ import annotations

import json
import socket
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from avatar3d.animation import expression_tour
from avatar3d.avatar import Avatar
from avatar3d.codes import ARKIT_NAMES, ExpressionCode
from avatar3d.errors import UserError
from avatar3d.heads import load_head
from avatar3d.motion import Motion
from recon.capture.landmarks import Face
from recon.driving import batch, sources
from recon.driving.sinks import (
    Osc,
    Recording,
    VirtualCamera,
    WindowSink,
    _Drawn,
    evenly_timed,
    parse_address,
    vmc_messages,
)
from recon.driving.sources import open_source
from recon.track.people import Choice, CutFinder, nearest_to
from render.window import has_display

CODES = expression_tour(30.0, ("smile",)).codes


def test_without_a_camera_there_is_one_sentence() -> None:
    with (
        pytest.raises(UserError, match=r"no camera 77 .*--driver clip\.mp4"),
        open_source("camera:77", paced=True),
    ):
        pass
    with pytest.raises(UserError, match="camera, camera:1"), open_source("camera:x", paced=True):
        pass


def test_an_unplugged_camera_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    class Unplugged:
        """Three pictures, then nothing."""

        left = 3

        def __init__(self, _: int) -> None: ...

        def isOpened(self) -> bool:
            return True

        def set(self, *_: int) -> None: ...

        def read(self) -> tuple[bool, np.ndarray | None]:
            self.left -= 1
            return (True, np.zeros((4, 4, 3), np.uint8)) if self.left >= 0 else (False, None)

        def release(self) -> None:
            self.left = -100

    monkeypatch.setattr(sources.cv2, "VideoCapture", Unplugged)
    monkeypatch.setattr(sources, "SILENCE_S", 0.05)
    seen = 0
    with (
        pytest.raises(UserError, match=r"no picture for 0\.05 s.*connected"),
        open_source("camera", paced=True) as images,
    ):
        for _ in images:
            seen += 1
    assert seen == 3


def test_without_a_display_there_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Qt below OpenCV would abort the whole program."""
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with pytest.raises(UserError, match=r"no display.*--to viewer"):
        WindowSink(Avatar.__new__(Avatar), 64)
    # One that is named but does not answer is found out by another process.
    monkeypatch.setenv("DISPLAY", ":4711")
    assert not has_display()


def test_a_virtual_camera_gets_every_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[np.ndarray] = []

    class Camera:
        def __init__(self, width: int, height: int, rate: float) -> None:
            if width > 512:
                raise RuntimeError("'v4l2loopback' backend: no device\n(details)")
            assert (width, height, rate) == (64, 64, 30.0)

        def send(self, picture: np.ndarray) -> None:
            shown.append(picture)

        def close(self) -> None:
            shown.clear()

    module = ModuleType("pyvirtualcam")
    vars(module)["Camera"] = Camera
    monkeypatch.setitem(sys.modules, "pyvirtualcam", module)
    monkeypatch.setattr(_Drawn, "__init__", lambda *_: None)
    monkeypatch.setattr(_Drawn, "picture", lambda *_: np.full((64, 64, 3), 7, np.uint8))
    avatar = Avatar.__new__(Avatar)
    with pytest.raises(UserError, match=r"no virtual camera.*no device.*v4l2loopback"):
        VirtualCamera(avatar, 1024)
    camera = VirtualCamera(avatar, 64)
    assert camera.send(CODES.at(0), 0.0)
    assert len(shown) == 1
    assert shown[0].dtype == np.uint8
    camera.close()
    assert not shown


def test_addresses() -> None:
    assert parse_address(None, 5) == ("127.0.0.1", 5)
    assert parse_address("pc", 5) == ("pc", 5)
    assert parse_address(":70", 5) == ("127.0.0.1", 70)
    with pytest.raises(UserError, match="HOST:PORT"):
        parse_address("pc:port", 5)


def test_osc_sends_what_vmc_programs_read() -> None:
    packet_reader = pytest.importorskip("pythonosc.osc_packet", reason="needs the extra drive")
    listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    listener.bind(("127.0.0.1", 0))
    listener.settimeout(5)
    sink = Osc("127.0.0.1", listener.getsockname()[1])
    code = CODES.at(15)
    assert sink.send(code, 0.0)
    messages = [
        (each.message.address, each.message.params)
        for each in packet_reader.OscPacket(listener.recv(65536)).messages
    ]
    listener.close()
    sink.close()
    values = {params[0]: params[1] for address, params in messages if address.endswith("Val")}
    assert set(values) == set(ARKIT_NAMES)
    np.testing.assert_allclose(
        [values[name] for name in ARKIT_NAMES], code.coefficients.numpy(), atol=1e-6
    )
    assert messages[-1][0] == "/VMC/Ext/Blend/Apply"
    turn = vmc_messages(ExpressionCode.neutral())[1]
    assert turn == ("/VMC/Ext/Bone/Pos", ["Head", 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0])


def test_uneven_times_become_a_fixed_rate_and_a_recording(tmp_path: Path) -> None:
    times_s = np.arange(30) / 30 + 0.004 * np.sin(np.arange(30))
    codes, rate = evenly_timed(CODES, times_s)
    assert abs(rate - 30) < 4
    assert (codes.coefficients - CODES.coefficients[: len(codes.coefficients)]).abs().max() < 0.25
    sink = Recording(tmp_path / "take.csv", ARKIT_NAMES)
    for index, time_s in enumerate(times_s):
        assert sink.send(CODES.at(index), time_s)
    sink.close()
    assert abs(Motion.load(tmp_path / "take.csv").duration_s - 1.0) < 0.1


def _faces() -> list[Face]:
    def face(x: float, height: float) -> Face:
        points = np.random.default_rng(0).uniform(-1, 1, (478, 3)).astype(np.float32)
        points[10, :2], points[152, :2] = (0, -1), (0, 1)
        return Face(points * height / 2 + np.array([x, 200, 0], np.float32))

    return [face(300, 80), face(100, 120), face(500, 100)]


def test_faces_are_chosen_by_size_place_and_number() -> None:
    faces, size_px = _faces(), (640, 400)
    assert Choice()(faces, size_px) is faces[1]
    assert Choice(size=1)(faces, size_px) is faces[2]
    assert Choice(place=(0.75, 0.5))(faces, size_px) is faces[2]
    assert Choice(number=1)(faces, size_px) is faces[0]
    assert Choice(number=7)(faces, size_px) is None
    assert nearest_to(faces[0])(faces, size_px) is faces[0]
    with pytest.raises(UserError, match="face 9 was asked for"):
        Choice(size=9)(faces, size_px)


def test_cuts_are_found_and_movement_is_none() -> None:
    rng = np.random.default_rng(0)
    shots = [rng.integers(0, 255, (60, 80, 3)) for _ in range(3)]
    smooth = [np.kron(shot[::12, ::16], np.ones((12, 16, 1))) for shot in shots]
    cuts = CutFinder()
    found = []
    for shot in smooth:
        for shift in range(6):
            moved = np.roll(shot, shift, axis=1) + rng.normal(0, 3, shot.shape)
            found.append(cuts(np.clip(moved, 0, 255).astype(np.uint8)))
    assert [index for index, cut in enumerate(found) if cut] == [6, 12]


def test_ranges_of_failed_frames() -> None:
    assert batch.runs(np.array([True, False, True, True])) == [(0, 1), (2, 4)]
    assert batch.runs(np.zeros(3, bool)) == []


def test_a_batch_goes_on_where_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clips = [tmp_path / f"{name}.mp4" for name in ("a", "b")]
    for clip in clips:
        clip.write_bytes(clip.name.encode())
    head, out, done = load_head("default"), tmp_path / "out", []

    def track_one(clip, output, head, choice, rate, watch=None) -> str:
        if clip.stem == "b" and not done:
            done.append("b failed")
            raise UserError("no face")
        Motion(ExpressionCode.neutral(2), 30.0).save(output)
        record = batch._made_of(clip, head, choice, rate)
        batch.record_path(output).write_text(json.dumps(record))
        return f"wrote {output}"

    monkeypatch.setattr(batch, "track_one", track_one)
    assert batch.track_many(clips, out, head, Choice(), None) == ["b.mp4 (no face)"]
    assert batch.track_many(clips, out, head, Choice(), None) == []
    assert "kept" in capsys.readouterr().out
    clips[0].write_bytes(b"another clip of the same name")
    assert not batch.is_finished(clips[0], out / "a.npz", head, Choice(), None)
    assert not batch.is_finished(clips[1], out / "b.npz", head, Choice(size=1), None)
    assert batch.is_finished(clips[1], out / "b.npz", head, Choice(), None)
    with pytest.raises(UserError, match="into a folder"):
        batch.track_many(clips, tmp_path / "x.npz", head, Choice(), None)


def test_sound_with_turned_channels_is_written_readably(tmp_path: Path) -> None:
    motion = Motion(ExpressionCode.neutral(30), 30.0, audio=torch.rand(2, 8000).T, audio_rate=8000)
    motion.save(tmp_path / "a.npz")
    loaded = Motion.load(tmp_path / "a.npz")
    assert motion.audio is not None
    assert loaded.audio is not None
    torch.testing.assert_close(loaded.audio, motion.audio)
