"""Weights: ONNX is torch, the files are sound, what ships is complete and small."""

from __future__ import annotations

import importlib.util
import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from avatar3d.audio.features import features
from avatar3d.audio.model import (
    OnnxEngine,
    TorchEngine,
    VoiceModel,
    load_voice,
    shipped_models,
)
from avatar3d.container import write_container
from avatar3d.errors import UserError
from recon.audio.onnx_file import write_onnx
from tests.avatar3d.audio.voices import babble, random_voice

MAX_BYTES = 2_500_000
needs_onnx = pytest.mark.skipif(
    importlib.util.find_spec("onnx") is None or importlib.util.find_spec("onnxruntime") is None,
    reason="onnx or onnxruntime is not installed",
)


def _even(values: np.ndarray) -> np.ndarray:
    return values[: len(values) // 2 * 2]


@needs_onnx
def test_the_written_graph_is_the_network_in_steps_of_any_size(tmp_path: Path) -> None:
    voice = random_voice(3)
    write_onnx(voice.network, tmp_path / "a.onnx", {"name": "a"})
    heard = _even(features(babble(2.0)))
    whole = TorchEngine(voice.network).step(heard)
    engine = OnnxEngine(tmp_path / "a.onnx")
    cuts = [0, 2, 4, 10, 60, 150, len(heard)]
    parts = [engine.step(heard[start:end]) for start, end in itertools.pairwise(cuts)]
    np.testing.assert_allclose(np.concatenate(parts), whole, atol=1e-5)


def test_a_model_survives_its_file(tmp_path: Path) -> None:
    voice = random_voice(1)
    model = VoiceModel(voice.network, {"name": "mine", "gain": 1.3, "rest": [0.01] * 19})
    model.save(tmp_path / "mine.safetensors")
    again = load_voice(tmp_path / "mine.safetensors")
    for name, value in voice.network.state_dict().items():
        assert torch.equal(again.network.state_dict()[name], value)
    assert again.calibration.gain == 1.3
    assert again.calibration.rest == (0.01,) * 19
    assert again.facts["name"] == "mine"


@pytest.mark.parametrize(
    "facts", [{"gain": "loud"}, {"gain": -1}, {"rest": [1, 2]}, {"closure_threshold": 7}]
)
def test_absurd_facts_do_nothing(facts: dict) -> None:
    calibration = VoiceModel(random_voice().network, facts).calibration
    assert calibration == VoiceModel(random_voice().network, {}).calibration


def test_files_that_are_no_voice_are_refused_in_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    random_voice().save(path)
    content = path.read_bytes()
    arrays = {name: value.half() for name, value in random_voice().network.state_dict().items()}
    refused = {
        "truncated": content[:1000],
        "half": content[: len(content) // 2],
        "empty": b"",
        "other": b"GIF89a" * 100,
    }
    for bad in refused.values():
        path.write_bytes(bad)
        with pytest.raises(UserError) as caught:
            load_voice(path)
        assert "\n" not in str(caught.value)
    write_container(path, arrays, {"voice_version": 9})
    with pytest.raises(UserError, match="voice format 9"):
        load_voice(path)
    write_container(path, arrays | {"head.bias": torch.zeros(3).half()}, {"voice_version": 1})
    with pytest.raises(UserError, match=r"head\.bias.*shape"):
        load_voice(path)
    with pytest.raises(UserError, match="no voice model 'nobody'"):
        load_voice("nobody")


def test_what_ships_is_whole_and_small() -> None:
    shipped = shipped_models()
    assert {"clean", "research"} <= set(shipped)
    for name, path in shipped.items():
        onnx, card = path.with_suffix(".onnx"), path.with_suffix(".md")
        assert path.stat().st_size < MAX_BYTES
        assert onnx.stat().st_size < MAX_BYTES
        model = load_voice(name)
        text = card.read_text(encoding="utf-8")
        assert model.facts["licence"] in text
        assert model.facts["name"] == name
        assert model.lookahead_ms <= 100
        assert model.facts["parameters"] == sum(p.numel() for p in model.network.parameters())
    assert load_voice().facts["name"] == "clean"


def test_the_shipped_engines_agree() -> None:
    if importlib.util.find_spec("onnxruntime") is None:
        pytest.skip("onnxruntime is not installed")
    for name in shipped_models():
        model = load_voice(name)
        assert model.onnx is not None
        heard = _even(features(babble(2.0, 4)))
        wanted, got = (model.engine(kind).step(heard) for kind in ("torch", "onnx"))
        assert np.abs(wanted - got).max() < 1e-4
