"""Voice models: weights on disk, and the two engines that run them.

A model is one safetensors file (half precision, docs/formats.md) and, for those that ship, an ONNX
file of the same numbers. Both engines step through features with the state of the network kept
between calls.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, TypeGuard, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float

from avatar3d.audio.network import LOOKAHEAD, VoiceNetwork
from avatar3d.audio.style import Calibration
from avatar3d.container import read_container, write_container
from avatar3d.errors import UserError
from avatar3d.optional import require
from avatar3d.schema import Field, check_schema

FORMAT_VERSION = 1
WEIGHTS = Path(__file__).with_name("weights")
DEFAULT_MODEL = "clean"
MAX_WEIGHT = 1e3
MAX_BYTES = 1 << 23

EngineName = Literal["auto", "torch", "onnx"]


@runtime_checkable
class Engine(Protocol):
    """One running stream; a new one hears silence before."""

    def step(self, features: Float[np.ndarray, "F 81"]) -> Float[np.ndarray, "T C"]:
        """The outputs of F feature frames, an even number: F / 2 frames."""
        ...


@dataclass(frozen=True)
class VoiceModel:
    """Weights and what is known about them (`facts`: name, licence, training, calibration)."""

    network: VoiceNetwork
    facts: dict[str, Any]
    onnx: Path | None = None  # the same weights for onnxruntime

    @property
    def calibration(self) -> Calibration:
        """From the facts; what is absent or absurd there is replaced by what does nothing."""
        plain = Calibration()
        said = self.facts.get("rest")
        rest = said if isinstance(said, list) and len(said) == len(plain.rest) else plain.rest
        gain, threshold = self.facts.get("gain"), self.facts.get("closure_threshold")
        return Calibration(
            float(gain) if _within(gain, 0.1, 10) else plain.gain,
            float(threshold) if _within(threshold, 1e-3, 1) else plain.closure_threshold,
            tuple(float(value) if _within(value, -1, 1) else 0.0 for value in rest),
        )

    @property
    def lookahead_ms(self) -> int:
        return 20 * LOOKAHEAD

    def engine(self, kind: EngineName = "auto") -> Engine:
        """onnxruntime where it is installed and the weights ship for it, else torch."""
        if kind == "auto":
            found = self.onnx is not None and importlib.util.find_spec("onnxruntime") is not None
            kind = "onnx" if found else "torch"
        if kind == "torch":
            return TorchEngine(self.network)
        if self.onnx is None:
            raise UserError(
                f"the voice model {self.facts.get('name')!r} has no ONNX file; run it with torch"
            )
        return OnnxEngine(self.onnx)

    def save(self, path: str | Path) -> None:
        arrays = {name: value.detach().half() for name, value in self.network.state_dict().items()}
        write_container(path, arrays, {"voice_version": FORMAT_VERSION, **self.facts})


def load_voice(name: str | Path = DEFAULT_MODEL) -> VoiceModel:
    """A model that ships, by name, or one of the user's own, by path."""
    known = shipped_models()
    path = known.get(str(name), Path(name))
    if path.suffix != ".safetensors":
        raise UserError(
            f"there is no voice model {str(name)!r}; choose from {', '.join(known)}, or give the "
            "path of a .safetensors file that `avatar3d voice` wrote"
        )
    arrays, facts = read_container(path, max_bytes=MAX_BYTES)
    if facts.get("voice_version") != FORMAT_VERSION:
        raise UserError(
            f"{path} has voice format {facts.get('voice_version')!r}, this avatar3d reads "
            f"{FORMAT_VERSION}; give a file that `avatar3d voice` wrote"
        )
    network = VoiceNetwork()
    wanted = {
        key: Field("float16", tuple(value.shape), -MAX_WEIGHT, MAX_WEIGHT)
        for key, value in network.state_dict().items()
    }
    check_schema(arrays, wanted, path)
    network.load_state_dict({key: torch.from_numpy(value).float() for key, value in arrays.items()})
    onnx = path.with_suffix(".onnx")
    ships = path.parent == WEIGHTS and onnx.is_file()
    return VoiceModel(network.eval().requires_grad_(False), facts, onnx if ships else None)


def shipped_models() -> dict[str, Path]:
    return {path.stem: path for path in sorted(WEIGHTS.glob("*.safetensors"))}


def _within(value: Any, low: float, high: float) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and low <= value <= high


class TorchEngine:
    def __init__(self, network: VoiceNetwork) -> None:
        self._network, self._state = network, network.start()

    def step(self, features: Float[np.ndarray, "F 81"]) -> Float[np.ndarray, "T C"]:
        with torch.inference_mode():
            outputs, _, self._state = self._network(torch.from_numpy(features[None]), self._state)
        return outputs[0].numpy()


class OnnxEngine:
    def __init__(self, path: Path) -> None:
        runtime = require("onnxruntime", extra="audio")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1  # so small that more harm
        options.log_severity_level = 3
        self._session = runtime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        self._state = {
            entry.name: np.zeros(entry.shape, np.float32)
            for entry in self._session.get_inputs()
            if entry.name != "features"
        }

    def step(self, features: Float[np.ndarray, "F 81"]) -> Float[np.ndarray, "T C"]:
        outputs, *state = self._session.run(None, {"features": features, **self._state})
        self._state = dict(zip(self._state, state))
        return outputs
