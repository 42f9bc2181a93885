"""LPIPS: distance of two pictures in the features of a network that learned to see.

Zhang et al. 2018, "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric",
version 0.1: features of AlexNet or VGG16 before any training on the metric, normalised over the
channels, squared differences weighted by learned heads, averaged over the picture, summed over five
layers. The weights are the user's: the backbone in torchvision's layout, the heads in that of the
authors' package.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from avatar3d.errors import UserError
from render.metrics.weights import fill, read_weights

Backbone = Literal["alex", "vgg"]
_WHAT: dict[Backbone, str] = {"alex": "AlexNet's weights", "vgg": "VGG16's weights"}
_TAPS: dict[Backbone, tuple[int, ...]] = {"alex": (1, 4, 7, 9, 11), "vgg": (3, 8, 15, 22, 29)}
_CHANNELS: dict[Backbone, tuple[int, ...]] = {
    "alex": (64, 192, 384, 256, 256),
    "vgg": (64, 128, 256, 512, 512),
}
# The authors' mean and spread of a picture in -1..1.
_SHIFT, _SPREAD = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
_EPSILON = 1e-10
SMALLEST_PX = 32  # below it a layer of the networks has no pixel


class Lpips:
    """The metric with its weights loaded."""

    def __init__(self, backbone: Path, heads: Path | None = None) -> None:
        """`backbone`: AlexNet or VGG16, told apart by the first convolution. `heads`: the authors'
        five linear layers; without a path those of the package `lpips` where it is installed."""
        weights = read_weights(backbone, "AlexNet's or VGG16's weights")
        first = weights.get("features.0.weight")
        if first is None or tuple(first.shape) not in {(64, 3, 11, 11), (64, 3, 3, 3)}:
            raise UserError(
                f"{backbone} must hold AlexNet or VGG16 in torchvision's layout (features.0.weight "
                f"of 64 filters of 11 or 3 px), but does not; give torchvision's file"
            )
        self.backbone: Backbone = "alex" if first.shape[-1] == 11 else "vgg"
        self._network = network(self.backbone)
        fill(self._network, weights, backbone, _WHAT[self.backbone])
        self._heads = _read_heads(heads or packaged_heads(self.backbone), self.backbone)

    def __call__(self, image: Float[Tensor, "H W 3"], truth: Float[Tensor, "H W 3"]) -> float:
        """The distance of two pictures in 0..1; 0 is alike."""
        if image.shape != truth.shape or min(image.shape[:2]) < SMALLEST_PX:
            raise ValueError(
                f"lpips compares two [H, W, 3] pictures of {SMALLEST_PX} px or more, got "
                f"{tuple(image.shape)}, {tuple(truth.shape)}"
            )
        shift, spread = torch.tensor(_SHIFT), torch.tensor(_SPREAD)
        value = ((torch.stack([image, truth]) * 2 - 1 - shift) / spread).permute(0, 3, 1, 2)
        total = 0.0
        with torch.no_grad():
            heads = iter(self._heads)
            for index, layer in enumerate(self._network.features):
                value = layer(value)
                if index in _TAPS[self.backbone]:
                    length = value.square().sum(1, keepdim=True).sqrt()
                    normal = value / (length + _EPSILON)
                    apart = (normal[0] - normal[1]).square()
                    total += float((next(heads)[:, None, None] * apart).sum(0).mean())
        return total


class Convolutions(nn.Module):
    """`features.N.weight`, as torchvision names them."""

    def __init__(self, layers: list[nn.Module]) -> None:
        super().__init__()
        self.features = nn.Sequential(*layers)


def network(backbone: Backbone) -> Convolutions:
    """The convolutions of torchvision's AlexNet or VGG16, under its names, without weights."""
    if backbone == "alex":
        layers: list[nn.Module] = [
            nn.Conv2d(3, 64, 11, stride=4, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
            nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
            nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(),
            nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(),
            nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(),
        ]  # fmt: skip
    else:
        layers, had = [], 3
        for width, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
            layers += [nn.MaxPool2d(2, 2)] if layers else []
            for _ in range(count):
                layers += [nn.Conv2d(had, width, 3, padding=1), nn.ReLU()]
                had = width
    return Convolutions(layers)


def packaged_heads(backbone: Backbone) -> Path:
    """The heads that the authors' package carries; it is looked into, not imported."""
    found = find_spec("lpips")
    for folder in (found and found.submodule_search_locations) or ():
        path = Path(folder) / "weights" / "v0.1" / f"{backbone}.pth"
        if path.is_file():
            return path
    raise UserError(
        "LPIPS needs the heads of its authors beside the backbone, but no path was given and the "
        "package lpips is not installed; run: pip install --no-deps lpips==0.1.4"
    )


def _read_heads(path: Path, backbone: Backbone) -> list[Tensor]:
    what = f"the five heads of LPIPS for {_WHAT[backbone]}"
    weights = read_weights(path, what)
    heads = nn.Module()
    for index, count in enumerate(_CHANNELS[backbone]):
        layer = nn.Module()
        layer.model = nn.Sequential(nn.Dropout(), nn.Conv2d(count, 1, 1, bias=False))
        heads.add_module(f"lin{index}", layer)
    fill(heads, weights, path, what)
    return [head.flatten() for head in heads.state_dict().values()]
