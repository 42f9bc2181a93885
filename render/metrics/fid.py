"""FID: distance of two sets of pictures as Gaussians in the features of Inception.

Heusel et al. 2017, "GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash
Equilibrium". The weights are the user's, in the layout of the package pytorch-fid (its file
pt_inception-2015-12-05), which carries the original network over with its differences from
torchvision's: averages that do not count the border, and a maximum in the last block.
Few pictures make FID large; compare sets of one size only.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from render.metrics.weights import fill, read_weights

FEATURES = 2048
_SIZE_PX = 299


class Inception:
    """Features of pictures."""

    def __init__(self, path: Path) -> None:
        what = "Inception v3 in the layout of pytorch-fid"
        self._network = network()
        fill(self._network, read_weights(path, what), path, what)

    def __call__(self, picture: Float[Tensor, "H W 3"]) -> Float[Tensor, "2048"]:
        """Of one picture in 0..1."""
        image = picture.permute(2, 0, 1)[None].float()
        size = (_SIZE_PX, _SIZE_PX)
        image = functional.interpolate(image, size, mode="bilinear", align_corners=False)
        with torch.no_grad():
            return self._network(2 * image - 1)[0]


def fid(features: Float[np.ndarray, "N F"], truth: Float[np.ndarray, "M F"]) -> float:
    """The Frechet distance of two sets of features, two or more each.

    |m - m'|^2 + tr C + tr C' - 2 tr (C C')^(1/2). With C = A'A and C' = B'B the last trace is the
    sum of the singular values of A B', which is as small as the sets are.
    """
    if min(len(features), len(truth)) < 2 or features.shape[1] != truth.shape[1]:
        raise ValueError(
            f"fid compares two sets of two features or more, got {features.shape}, {truth.shape}"
        )
    means = [values.mean(0, dtype=np.float64) for values in (features, truth)]
    roots = [
        (values - mean) / np.sqrt(len(values) - 1) for values, mean in zip((features, truth), means)
    ]
    apart = float(np.square(means[0] - means[1]).sum())
    spread = sum(float(np.square(root).sum()) for root in roots)
    common = float(np.linalg.svd(roots[0] @ roots[1].T, compute_uv=False).sum())
    return max(0.0, apart + spread - 2 * common)


def network() -> nn.Module:
    """Inception v3 up to its last average, under torchvision's names, without weights."""
    return _InceptionV3()


class _Conv(nn.Module):
    def __init__(self, had: int, width: int, size: int | tuple[int, int], **options) -> None:
        super().__init__()
        self.conv = nn.Conv2d(had, width, size, bias=False, **options)
        self.bn = nn.BatchNorm2d(width, eps=0.001)

    def forward(self, value: Tensor) -> Tensor:
        return functional.relu(self.bn(self.conv(value)))


def _average(value: Tensor) -> Tensor:
    return functional.avg_pool2d(value, 3, stride=1, padding=1, count_include_pad=False)


def _maximum(value: Tensor) -> Tensor:
    return functional.max_pool2d(value, 3, stride=1, padding=1)


class _Mixed(nn.Module):
    """Branches of named layers, side by side, and one that pools first."""

    def __init__(self, branches: dict[str, list[str]], pool, pooled: str | None, **layers) -> None:
        super().__init__()
        for name, layer in layers.items():
            self.add_module(name, layer)
        self._branches, self._pool, self._pooled = branches, pool, pooled

    def forward(self, value: Tensor) -> Tensor:
        outputs = []
        for names in self._branches.values():
            branch = value
            for name in names:
                # "a|b" are two layers beside each other on what the one before gave.
                parts = [self.get_submodule(part)(branch) for part in name.split("|")]
                branch = torch.cat(parts, 1)
            outputs.append(branch)
        last = self._pool(value)
        outputs.append(last if self._pooled is None else self.get_submodule(self._pooled)(last))
        return torch.cat(outputs, 1)


def _mixed_a(had: int, pooled: int) -> _Mixed:
    return _Mixed(
        {
            "1": ["branch1x1"],
            "5": ["branch5x5_1", "branch5x5_2"],
            "3": ["branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3"],
        },
        _average,
        "branch_pool",
        branch1x1=_Conv(had, 64, 1),
        branch5x5_1=_Conv(had, 48, 1),
        branch5x5_2=_Conv(48, 64, 5, padding=2),
        branch3x3dbl_1=_Conv(had, 64, 1),
        branch3x3dbl_2=_Conv(64, 96, 3, padding=1),
        branch3x3dbl_3=_Conv(96, 96, 3, padding=1),
        branch_pool=_Conv(had, pooled, 1),
    )


def _mixed_b(had: int) -> _Mixed:
    return _Mixed(
        {"3": ["branch3x3"], "d": ["branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3"]},
        lambda value: functional.max_pool2d(value, 3, stride=2),
        None,
        branch3x3=_Conv(had, 384, 3, stride=2),
        branch3x3dbl_1=_Conv(had, 64, 1),
        branch3x3dbl_2=_Conv(64, 96, 3, padding=1),
        branch3x3dbl_3=_Conv(96, 96, 3, stride=2),
    )


def _mixed_c(had: int, width: int) -> _Mixed:
    across, down = {"padding": (0, 3)}, {"padding": (3, 0)}
    return _Mixed(
        {
            "1": ["branch1x1"],
            "7": [f"branch7x7_{k}" for k in (1, 2, 3)],
            "d": [f"branch7x7dbl_{k}" for k in (1, 2, 3, 4, 5)],
        },
        _average,
        "branch_pool",
        branch1x1=_Conv(had, 192, 1),
        branch7x7_1=_Conv(had, width, 1),
        branch7x7_2=_Conv(width, width, (1, 7), **across),
        branch7x7_3=_Conv(width, 192, (7, 1), **down),
        branch7x7dbl_1=_Conv(had, width, 1),
        branch7x7dbl_2=_Conv(width, width, (7, 1), **down),
        branch7x7dbl_3=_Conv(width, width, (1, 7), **across),
        branch7x7dbl_4=_Conv(width, width, (7, 1), **down),
        branch7x7dbl_5=_Conv(width, 192, (1, 7), **across),
        branch_pool=_Conv(had, 192, 1),
    )


def _mixed_d(had: int) -> _Mixed:
    return _Mixed(
        {
            "3": ["branch3x3_1", "branch3x3_2"],
            "7": [f"branch7x7x3_{k}" for k in (1, 2, 3, 4)],
        },
        lambda value: functional.max_pool2d(value, 3, stride=2),
        None,
        branch3x3_1=_Conv(had, 192, 1),
        branch3x3_2=_Conv(192, 320, 3, stride=2),
        branch7x7x3_1=_Conv(had, 192, 1),
        branch7x7x3_2=_Conv(192, 192, (1, 7), padding=(0, 3)),
        branch7x7x3_3=_Conv(192, 192, (7, 1), padding=(3, 0)),
        branch7x7x3_4=_Conv(192, 192, 3, stride=2),
    )


def _mixed_e(had: int, pool) -> _Mixed:
    return _Mixed(
        {
            "1": ["branch1x1"],
            "3": ["branch3x3_1", "branch3x3_2a|branch3x3_2b"],
            "d": ["branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3a|branch3x3dbl_3b"],
        },
        pool,
        "branch_pool",
        branch1x1=_Conv(had, 320, 1),
        branch3x3_1=_Conv(had, 384, 1),
        branch3x3_2a=_Conv(384, 384, (1, 3), padding=(0, 1)),
        branch3x3_2b=_Conv(384, 384, (3, 1), padding=(1, 0)),
        branch3x3dbl_1=_Conv(had, 448, 1),
        branch3x3dbl_2=_Conv(448, 384, 3, padding=1),
        branch3x3dbl_3a=_Conv(384, 384, (1, 3), padding=(0, 1)),
        branch3x3dbl_3b=_Conv(384, 384, (3, 1), padding=(1, 0)),
        branch_pool=_Conv(had, 192, 1),
    )


class _InceptionV3(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = _Conv(3, 32, 3, stride=2)
        self.Conv2d_2a_3x3 = _Conv(32, 32, 3)
        self.Conv2d_2b_3x3 = _Conv(32, 64, 3, padding=1)
        self.Conv2d_3b_1x1 = _Conv(64, 80, 1)
        self.Conv2d_4a_3x3 = _Conv(80, 192, 3)
        self.Mixed_5b = _mixed_a(192, 32)
        self.Mixed_5c = _mixed_a(256, 64)
        self.Mixed_5d = _mixed_a(288, 64)
        self.Mixed_6a = _mixed_b(288)
        self.Mixed_6b = _mixed_c(768, 128)
        self.Mixed_6c = _mixed_c(768, 160)
        self.Mixed_6d = _mixed_c(768, 160)
        self.Mixed_6e = _mixed_c(768, 192)
        self.Mixed_7a = _mixed_d(768)
        self.Mixed_7b = _mixed_e(1280, _average)
        self.Mixed_7c = _mixed_e(2048, _maximum)

    def forward(self, value: Tensor) -> Tensor:
        value = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(value)))
        value = functional.max_pool2d(value, 3, stride=2)
        value = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(value))
        value = functional.max_pool2d(value, 3, stride=2)
        for name, layer in self.named_children():
            if name.startswith("Mixed"):
                value = layer(value)
        return value.mean((2, 3))
