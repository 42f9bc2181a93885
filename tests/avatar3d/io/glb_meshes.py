"""A GLB evaluated in plain NumPy: morphs, then the skin, as glTF's specification says."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from avatar3d.io.glb import GlbReader


@dataclass(frozen=True)
class Clip:
    """An animation: times [T], and values by node and path."""

    times: np.ndarray
    values: dict[tuple[str, str], np.ndarray]


class MeshFile:
    def __init__(self, path: Path) -> None:
        self.reader = GlbReader(path)
        self.document = self.reader.document

    def mesh(self, name: str) -> dict[str, Any]:
        return next(mesh for mesh in self.document["meshes"] if mesh["name"] == name)

    def attribute(self, name: str, mesh: str = "avatar") -> np.ndarray:
        """An attribute of all primitives of a mesh, one after the other."""
        primitives = self.mesh(mesh)["primitives"]
        return np.concatenate(
            [self.reader.accessor(primitive["attributes"][name]) for primitive in primitives]
        )

    def targets(self, name: str = "POSITION") -> np.ndarray:
        """[52, V, 3]."""
        primitives = self.mesh("avatar")["primitives"]
        return np.concatenate(
            [
                np.stack([self.reader.accessor(target[name]) for target in p["targets"]])
                for p in primitives
            ],
            axis=1,
        )

    def triangles(self) -> np.ndarray:
        total, parts = 0, []
        for primitive in self.mesh("avatar")["primitives"]:
            parts.append(self.reader.accessor(primitive["indices"]).reshape(-1, 3) + total)
            total += len(self.reader.accessor(primitive["attributes"]["POSITION"]))
        return np.concatenate(parts)

    def clip(self, name: str) -> Clip:
        animation = next(a for a in self.document["animations"] if a["name"] == name)
        values, times = {}, np.zeros(0)
        for channel in animation["channels"]:
            sampler = animation["samplers"][channel["sampler"]]
            times = self.reader.accessor(sampler["input"])[:, 0]
            node = self.document["nodes"][channel["target"]["node"]]["name"]
            output = self.reader.accessor(sampler["output"])
            values[node, channel["target"]["path"]] = output.reshape(len(times), -1)
        return Clip(times, values)

    def posed(
        self, weights: np.ndarray, pose: dict[tuple[str, str], np.ndarray] | None = None
    ) -> np.ndarray:
        """Vertices [V, 3] for weights [52] and some nodes' translations and rotations (xyzw)."""
        nodes = [dict(node) for node in self.document["nodes"]]
        for (name, path), value in (pose or {}).items():
            next(node for node in nodes if node["name"] == name)[path] = value
        skin = self.document["skins"][0]
        world = {}

        def walk(number: int, parent: np.ndarray) -> None:
            local = np.eye(4)
            local[:3, 3] = nodes[number].get("translation", [0, 0, 0])
            local[:3, :3] = _matrix(nodes[number].get("rotation", [0, 0, 0, 1]))
            world[number] = parent @ local
            for child in nodes[number].get("children", []):
                walk(child, world[number])

        for root in self.document["scenes"][0]["nodes"]:
            walk(root, np.eye(4))
        inverse = self.reader.accessor(skin["inverseBindMatrices"]).reshape(-1, 4, 4)
        joints = np.stack(
            [world[joint] @ m.T for joint, m in zip(skin["joints"], inverse.astype(np.float64))]
        )
        rest = self.attribute("POSITION").astype(np.float64)
        moved = rest + np.einsum("k,kvc->vc", weights, self.targets().astype(np.float64))
        shares = self.attribute("WEIGHTS_0").astype(np.float64)
        blended = np.einsum("vj,vjab->vab", shares, joints[self.attribute("JOINTS_0")])
        return np.einsum("vab,vb->va", blended[:, :3, :3], moved) + blended[:, :3, 3]


def _matrix(xyzw: np.ndarray | list[float]) -> np.ndarray:
    x, y, z, w = (float(value) for value in xyzw)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
