"""The page's tracker and voice give Python's codes; viewer/web/test compares what is written here."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from avatar3d.audio.behaviour import Behaviour
from avatar3d.audio.model import EngineName, load_voice
from avatar3d.audio.stream import VoiceFrames, VoiceStream
from avatar3d.audio.style import Style
from recon.track.live_export import main as export_tracker
from tests.avatar3d.audio.voices import babble
from viewer.drivers import voice_weights

WEB = Path(__file__).parents[2] / "viewer" / "web"


def compare(folder: Path, file: str) -> None:
    """Run a Vitest file on the vectors in `folder`."""
    vitest = WEB / "node_modules" / ".bin" / "vitest"
    if shutil.which("node") is None or not vitest.exists():
        pytest.skip("the page's tools are not here; install them with: cd viewer/web && npm ci")
    done = subprocess.run(
        [str(vitest), "run", file, "--test-timeout=60000", "--reporter=verbose"],
        cwd=WEB,
        env=os.environ | {"AVATAR3D_VECTORS": str(folder), "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "in Python" in done.stdout
    assert "skipped" not in done.stdout


def test_the_tracker_gives_pythons_codes(tmp_path: Path):
    export_tracker(tmp_path / "model.json", vectors=tmp_path / "vectors.json")
    compare(tmp_path, "tracker")


def performances() -> list[dict[str, Any]]:
    """Minutes of a performer's curves, in speech and pauses, of several seeds."""
    times = torch.arange(6000) % 200
    energy = (times < 150) * (0.6 + 0.4 * torch.sin(times / 9))
    rows = []
    for seed in (0, 1, 2**32 - 1):
        extras = Behaviour(seed).push(energy)
        rows.append({
            "seed": seed, "energy": energy.tolist(),
            "coefficients": extras.coefficients.tolist(), "turn": extras.turn.tolist(),
        })  # fmt: skip
    return rows


def test_the_voice_gives_pythons_codes(tmp_path: Path):
    """Both engines, plain and with a style, through pauses and clipped noise."""
    model = load_voice()
    (tmp_path / "voice.safetensors").write_bytes(voice_weights("clean"))
    sound = np.concatenate(
        [babble(2.0), np.zeros(8000, np.float32), np.clip(9 * babble(1.5, 1), -1, 1)]
    )[:-77]
    (tmp_path / "sound.f32").write_bytes(sound.astype("<f4").tobytes())
    cases: list[tuple[EngineName, Style]] = [
        ("onnx", Style()),
        ("torch", Style(1.4, 0.8, 1.2, "happy", 0.5)),
    ]
    rows = []
    for engine, style in cases:
        stream = VoiceStream(model, style, engine)
        frames = VoiceFrames.joined([stream.push(sound), stream.finish()])
        rows.append(
            {
                "style": {
                    "strength": style.strength,
                    "jaw": style.jaw,
                    "lips": style.lips,
                    "emotion": style.emotion,
                    "emotionAmount": style.emotion_amount,
                },
                "start_s": stream.start_s,
                "coefficients": frames.coefficients.tolist(),
                "energy": frames.energy.tolist(),
            }
        )
        assert frames.coefficients.max() > 0.2
    (tmp_path / "voice.json").write_text(json.dumps(rows))
    (tmp_path / "behaviour.json").write_text(json.dumps(performances()))
    compare(tmp_path, "voice")
