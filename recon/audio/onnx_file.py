"""The network as an ONNX graph, node by node: half-precision weights, the state as inputs and outputs.

Inputs: features [2 T, 81] and past0 .. past8; outputs: outputs [T, C] and after0 .. after8, which
are the next call's past. Matrices throughout, since for two frames at a time the number of nodes
decides: products and biases are one node, and so is each activation. Operators of opset 20, nothing
else: it runs in browsers too.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from avatar3d.audio.features import FEATURES
from avatar3d.audio.network import OUTPUTS, VoiceNetwork
from avatar3d.files import atomic_output
from avatar3d.optional import require

OPSET, IR_VERSION = 20, 9


class _Graph:
    def __init__(self) -> None:
        self.onnx = require("onnx", extra="dev")
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []
        self._count = 0

    def weight(self, array: Any) -> str:
        """A float16 constant that is widened when the model is loaded."""
        stored = self.constant(np.asarray(array, np.float16))
        return self.node("Cast", [stored], to=self.onnx.TensorProto.FLOAT)

    def constant(self, array: np.ndarray) -> str:
        self._count += 1
        name = f"c{self._count}"
        self.initializers.append(self.onnx.numpy_helper.from_array(array, name))
        return name

    def node(self, kind: str, inputs: Sequence[str], output: str = "", **attributes: Any) -> str:
        self._count += 1
        output = output or f"v{self._count}"
        self.nodes.append(self.onnx.helper.make_node(kind, inputs, [output], **attributes))
        return output

    def linear(self, x: str, layer: Any, output: str = "") -> str:
        weight = self.weight(layer.weight.detach().numpy().T)
        return self.node("Gemm", [x, weight, self.weight(layer.bias.detach().numpy())], output)

    def gelu(self, x: str) -> str:
        return self.node("Gelu", [x], approximate="tanh")

    def slice(self, x: str, start: int, end: int, output: str = "") -> str:
        """Along time; `end` 2^62 is the end."""
        numbers = [self.constant(np.array([value], np.int64)) for value in (start, end, 0)]
        return self.node("Slice", [x, *numbers], output)


_END = 1 << 62


def write_onnx(network: VoiceNetwork, path: str | Path, facts: dict[str, str]) -> None:
    """Write the graph with `facts` as its metadata."""
    graph = _Graph()
    helper, float32 = graph.onnx.helper, graph.onnx.TensorProto.FLOAT
    starts = network.start()
    shape = graph.constant(np.array([-1, 2 * FEATURES], np.int64))
    pairs = graph.node("Reshape", ["features", shape])
    heard = graph.node("Concat", ["past0", pairs], axis=0)
    graph.slice(heard, -1, _END, "after0")
    joined = [graph.slice(heard, 0, -1), pairs]
    x = graph.gelu(graph.linear(graph.node("Concat", joined, axis=1), network.stem))
    for index, block in enumerate(network.blocks, start=1):
        x = _block(graph, block, x, index)
    graph.linear(x, network.head, "outputs")
    state = [(f"{{}}{index}", list(start.shape[1:])) for index, start in enumerate(starts)]

    def values(side: str) -> list[Any]:
        return [helper.make_tensor_value_info(name.format(side), float32, s) for name, s in state]

    features = helper.make_tensor_value_info("features", float32, ["feature_frames", FEATURES])
    outputs = helper.make_tensor_value_info("outputs", float32, ["frames", OUTPUTS])
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "voice",
            [features, *values("past")],
            [outputs, *values("after")],
            graph.initializers,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="avatar3d",
    )
    helper.set_model_props(model, facts)
    graph.onnx.checker.check_model(model)
    with atomic_output(path) as beside:
        beside.write_bytes(model.SerializeToString())


def _block(graph: _Graph, block: Any, x: str, index: int) -> str:
    norm = graph.node(
        "LayerNormalization",
        [x, graph.weight(block.norm.weight.detach()), graph.weight(block.norm.bias.detach())],
        axis=-1,
        epsilon=block.norm.eps,
    )
    heard = graph.node("Concat", [f"past{index}", norm], axis=0)
    reach = 2 * block.dilation
    graph.slice(heard, -reach, _END, f"after{index}")
    earlier = [
        graph.slice(heard, 0, -reach),
        graph.slice(heard, block.dilation, -block.dilation),
    ]
    hidden = graph.gelu(graph.linear(graph.node("Concat", [*earlier, norm], axis=1), block.spread))
    return graph.node("Add", [x, graph.linear(hidden, block.mix)])
