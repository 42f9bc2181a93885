"""The content loss L_CNT: how far a made picture is from the true one.

The paper's is the L1 distance of activations in VGG19 and VGGFace. Neither network may be carried
here, so both are read from the user's files; without them a stated substitute of fixed pieces
stands in: L1 at several scales, L1 of the gradients, L1 in the features of random convolutions
(which, untrained, already tell structure: He et al. 2016, "A Powerful Generative Model Using Random
Weights for the Deep Image Representation").
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from recon.capture.inputs import hash_file
from render.metrics.lpips import Convolutions
from render.metrics.weights import fill, read_weights

# Layers of torchvision's `features` after whose ReLU activations are compared (section 3.4), and
# the weights of the two sums. They hold for the Caffe-trained networks.
VGG19_TAPS, VGG19_WEIGHT = (1, 6, 11, 20, 29), 1.5e-1
VGGFACE_TAPS, VGGFACE_WEIGHT = (1, 6, 11, 18, 25), 2.5e-2
VGG19_BLOCKS, VGGFACE_BLOCKS = (2, 2, 4, 4, 4), (2, 2, 3, 3, 3)
VGG19_MEAN, VGGFACE_MEAN = (123.68, 116.779, 103.939), (129.1863, 104.7624, 93.5940)  # RGB
SCALES = 4  # of the substitute's pictures, each half the one before
RANDOM_WIDTHS = (16, 32, 64)
# The terms' weights in the substitute: about equal parts of the loss of a blurred picture.
PIXEL_WEIGHT, GRADIENT_WEIGHT, RANDOM_WEIGHT = 10.0, 10.0, 10.0


@dataclass(frozen=True)
class ContentPaths:
    """Networks of the content loss; without both the substitute stands in."""

    vgg19: Path | None = None  # Caffe-trained, names as torchvision's (features.N.weight)
    vggface: Path | None = None  # the same of VGGFace (VGG16), or its own conv1_1.weight ...


class Content(nn.Module, ABC):
    """A distance of pictures in 0..1, differentiable in the first."""

    name: str

    @abstractmethod
    def forward(
        self, made: Float[Tensor, "B 3 S S"], truth: Float[Tensor, "B 3 S S"]
    ) -> Float[Tensor, ""]: ...


def content_loss(paths: ContentPaths | None = None) -> Content:
    """The paper's loss as far as there are files for it, else the substitute."""
    paths = paths or ContentPaths()
    terms: list[_Features] = []
    names: list[str] = []
    if paths.vgg19 is not None:
        network = vgg(VGG19_BLOCKS)
        what = "VGG19's convolutions in torchvision's layout, Caffe-trained"
        fill(network, read_weights(paths.vgg19, what), paths.vgg19, what)
        terms.append(_Features(network, VGG19_TAPS, VGG19_MEAN, VGG19_WEIGHT))
        names.append(f"VGG19 {hash_file(paths.vgg19)[:8]}")
    if paths.vggface is not None:
        network = vgg(VGGFACE_BLOCKS)
        what = "VGGFace's convolutions (VGG16's), as features.N or convB_N"
        weights = as_torchvision(read_weights(paths.vggface, what), VGGFACE_BLOCKS)
        fill(network, weights, paths.vggface, what)
        terms.append(_Features(network, VGGFACE_TAPS, VGGFACE_MEAN, VGGFACE_WEIGHT))
        names.append(f"VGGFace {hash_file(paths.vggface)[:8]}")
    return Perceptual(terms, " + ".join(names)) if terms else Substitute()


class Perceptual(Content):
    """The sum of L1 distances of activations."""

    def __init__(self, terms: list[_Features], name: str) -> None:
        super().__init__()
        self.terms, self.name = nn.ModuleList(terms), name

    def forward(self, made: Tensor, truth: Tensor) -> Tensor:
        return torch.stack([term(made, truth) for term in self.terms]).sum()


class _Features(nn.Module):
    def __init__(
        self,
        network: Convolutions,
        taps: tuple[int, ...],
        mean: tuple[float, ...],
        weight: float,
    ) -> None:
        super().__init__()
        self.network, self._taps, self._weight = network, taps, weight
        self.mean: Tensor
        self.register_buffer("mean", torch.tensor(mean)[:, None, None], persistent=False)

    def forward(self, made: Tensor, truth: Tensor) -> Tensor:
        with torch.no_grad():
            goals = self._activations(truth)
        pairs = zip(self._activations(made), goals)
        return self._weight * torch.stack([F.l1_loss(own, goal) for own, goal in pairs]).sum()

    def _activations(self, pictures: Tensor) -> list[Tensor]:
        value = (pictures * 255 - self.mean).flip(1)  # Caffe's networks see BGR, 0..255
        found = []
        for index, layer in enumerate(self.network.features):
            value = layer(value)
            if index in self._taps:
                found.append(value)
            if index == self._taps[-1]:
                break
        return found


class Substitute(Content):
    """What stands in for the networks: fixed, small, the same on every machine."""

    name = "substitute: multi-scale L1 + gradients + random convolutions (no VGG weights given)"

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        filters, had = [], 3
        for width in RANDOM_WIDTHS:
            spread = math.sqrt(2 / (9 * had))  # keeps the activations' size (He et al. 2015)
            drawn = torch.randn(width, had, 3, 3, generator=generator) * spread
            filters.append(nn.Parameter(drawn, requires_grad=False))
            had = width
        self.filters = nn.ParameterList(filters)

    def forward(self, made: Tensor, truth: Tensor) -> Tensor:
        pixels, gradients = made.new_zeros(()), made.new_zeros(())
        own, goal = made, truth
        for scale in range(SCALES):
            if scale:
                own, goal = F.avg_pool2d(own, 2), F.avg_pool2d(goal, 2)
            error = own - goal
            pixels = pixels + error.abs().mean()
            across, down = error.diff(dim=3), error.diff(dim=2)  # linear: the gradients' own error
            gradients = gradients + across.abs().mean() + down.abs().mean()
        features, own, goal = made.new_zeros(()), made, truth
        for weight in self.filters:
            own, goal = (
                F.relu(F.conv2d(own, weight, padding=1)),
                F.relu(F.conv2d(goal, weight, padding=1)),
            )
            features = features + F.l1_loss(own, goal)
            own, goal = F.avg_pool2d(own, 2), F.avg_pool2d(goal, 2)
        return (
            PIXEL_WEIGHT * pixels / SCALES
            + GRADIENT_WEIGHT * gradients / SCALES
            + RANDOM_WEIGHT * features / len(self.filters)
        )


def vgg(blocks: tuple[int, ...]) -> Convolutions:
    """VGG's convolutions, so many a block, under torchvision's names, without weights."""
    layers: list[nn.Module] = []
    had = 3
    for index, count in enumerate(blocks):
        layers += [nn.MaxPool2d(2, 2)] if layers else []
        for _ in range(count):
            layers += [nn.Conv2d(had, min(512, 64 << index), 3, padding=1), nn.ReLU()]
            had = min(512, 64 << index)
    return Convolutions(layers)


def as_torchvision(weights: dict[str, Tensor], blocks: tuple[int, ...]) -> dict[str, Tensor]:
    """VGGFace's own names (conv1_1.weight ...) as torchvision's."""
    if "conv1_1.weight" not in weights:
        return weights
    renamed, index = {}, 0
    for block, count in enumerate(blocks, 1):
        for layer in range(1, count + 1):
            for kind in ("weight", "bias"):
                name = f"conv{block}_{layer}.{kind}"
                if name in weights:
                    renamed[f"features.{index}.{kind}"] = weights[name]
            index += 2
        index += 1
    return renamed
