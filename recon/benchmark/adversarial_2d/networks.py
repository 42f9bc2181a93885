"""Embedder, generator and discriminator of Zakharov et al. 2019, section 3.

With T frames x, their landmark drawings y and the drawing y_t of the pose that is asked for:

    e = 1/T sum_k E(x_k, y_k)                  who it is                      (eq. 1)
    x_t = G(y_t; psi_hat = P e)                the person in that pose        (eq. 2)
    D(x, y, i) = V(x, y) . (W_i + w0) + b      how real, and how much person i (eq. 5)
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from avatar3d.errors import UserError
from recon.benchmark.adversarial_2d.blocks import (
    Adaptive,
    Down,
    Residual,
    SelfAttention,
    adaptive_norm,
    conv,
)

BOTTLENECK_PX = 16  # where the generator is narrowest
POOLED_PX = 4  # where embedder and discriminator sum over the picture
COLUMN_SPREAD = 0.5  # of W at the start: about that of a new embedder's answers
_MEAN_OF_FOLDED = math.sqrt(2 / math.pi)  # of |N(0, 1)|; w0 begins at W's mean, negated


@dataclass(frozen=True)
class Sizes:
    """How large the networks are. These are the paper's; configs/adversarial2d has presets."""

    size_px: int = 256
    narrowest: int = 64  # channels of the outermost layers
    widest: int = 512  # channels at most
    residuals: int = 5  # blocks of the generator at BOTTLENECK_PX
    attention_down_px: int = 32  # self-attention after the block that gives this size
    attention_up_px: int = 64

    def __post_init__(self) -> None:
        if self.size_px < 2 * BOTTLENECK_PX or self.size_px & (self.size_px - 1):
            raise UserError(
                f"the networks' pictures must be a power of two from {2 * BOTTLENECK_PX} px, got "
                f"{self.size_px}; choose 128 or 256"
            )
        if min(self.narrowest, self.widest, self.residuals) < 1:
            raise UserError(
                f"channels and blocks must be 1 or more, got narrowest {self.narrowest}, widest "
                f"{self.widest}, residuals {self.residuals}; see configs/adversarial2d"
            )

    @property
    def embedding(self) -> int:
        """N, the size of the embedding: the channels of the embedder's last block."""
        return self.channels(int(math.log2(self.size_px // POOLED_PX)))

    def channels(self, halvings: int) -> int:
        """Of the layers after so many halvings of the picture."""
        return min(self.widest, self.narrowest * 2 ** max(0, halvings - 1))


def _downwards(sizes: Sizes, had: int, to_px: int, *, normalised: bool) -> nn.ModuleList:
    """Residual blocks from the picture's size to `to_px`, with self-attention on the way."""
    blocks: list[nn.Module] = []
    for halvings in range(1, int(math.log2(sizes.size_px // to_px)) + 1):
        gives = sizes.channels(halvings)
        block: nn.Module = Down(had, gives, first=halvings == 1, normalised=normalised)
        if sizes.size_px >> halvings == sizes.attention_down_px:
            block = nn.Sequential(block, SelfAttention(gives))
        blocks.append(block)
        had = gives
    return nn.ModuleList(blocks)


def _pooled(value: Float[Tensor, "B C h w"]) -> Float[Tensor, "B C"]:
    """Sum over the picture, then ReLU; in full precision, as sums grow."""
    return F.relu(value.float().sum((2, 3)))


class Embedder(nn.Module):
    """E: a frame and its landmark drawing -> who it is."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.blocks = _downwards(sizes, 6, POOLED_PX, normalised=False)

    def forward(
        self, pictures: Float[Tensor, "B 3 S S"], drawings: Float[Tensor, "B 3 S S"]
    ) -> Float[Tensor, "B N"]:
        value = torch.cat([pictures, drawings], 1) * 2 - 1
        for block in self.blocks:
            value = block(value)
        return _pooled(value)


class Generator(nn.Module):
    """G: landmark drawing -> picture, in the person's own affine coefficients."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.down = _downwards(sizes, 3, BOTTLENECK_PX, normalised=True)
        halvings = len(self.down)
        width = sizes.channels(halvings)
        blocks = [Adaptive(width, width, up=False) for _ in range(sizes.residuals)]
        attention = nn.ModuleDict()
        for left in range(halvings - 1, -1, -1):
            gives = sizes.channels(left)
            blocks.append(Adaptive(width, gives, up=True))
            if sizes.size_px >> left == sizes.attention_up_px:
                attention[str(len(blocks) - 1)] = SelfAttention(gives)
            width = gives
        self.blocks, self.attention = nn.ModuleList(blocks), attention
        self.last = conv(width, 3)
        self.widths = [w for block in blocks for w in block.widths] + [width]
        # P is no layer of the generator: with a spectral norm of one, thousands of coefficients
        # would share the length of one embedding, and nobody would look like anybody.
        self.projection = nn.Linear(sizes.embedding, 2 * sum(self.widths), bias=False)

    def coefficients(self, embedding: Float[Tensor, "B N"]) -> Float[Tensor, "B A"]:
        """psi_hat = P e: all adaptive layers' scales and shifts, one after another."""
        return self.projection(embedding)

    def forward(
        self, drawings: Float[Tensor, "B 3 S S"], coefficients: Float[Tensor, "B A"]
    ) -> Float[Tensor, "B 3 S S"]:
        given = [
            part.unflatten(1, (2, -1))
            for part in coefficients.split([2 * width for width in self.widths], 1)
        ]
        value = drawings * 2 - 1
        for block in self.down:
            value = block(value)
        for index, block in enumerate(self.blocks):
            value = block(value, given[2 * index], given[2 * index + 1])
            if str(index) in self.attention:
                value = self.attention[str(index)](value)
        value = self.last(F.relu(adaptive_norm(value, given[-1])))
        return torch.sigmoid(value.float())


class Discriminator(nn.Module):
    """V, w0 and b of eq. 5; a person's column of W is given with each call."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.blocks = _downwards(sizes, 6, POOLED_PX, normalised=False)
        self.last = Residual(sizes.embedding)
        self.w0 = nn.Parameter(torch.full((sizes.embedding,), -COLUMN_SPREAD * _MEAN_OF_FOLDED))
        self.b = nn.Parameter(torch.zeros(()))

    def forward(
        self,
        pictures: Float[Tensor, "B 3 S S"],
        drawings: Float[Tensor, "B 3 S S"],
        columns: Float[Tensor, "B N"],
    ) -> tuple[Float[Tensor, " B"], list[Tensor]]:
        """Scores, and the features after each residual block, which are matched (L_FM)."""
        value = torch.cat([pictures, drawings], 1) * 2 - 1
        features = []
        for block in [*self.blocks, self.last]:
            value = block(value)
            features.append(value)
        score = (_pooled(value) * (columns + self.w0)).sum(1) + self.b
        return score, features


def person_columns(people: int, sizes: Sizes, seed: int) -> Float[Tensor, "M N"]:
    """W at the start of the meta-learning, a row a clip. Not negative, as the embeddings are not
    that L_MCH draws to it: else it draws them into the ReLU's dead half, all of them to zero."""
    generator = torch.Generator().manual_seed(seed)
    return COLUMN_SPREAD * torch.randn(people, sizes.embedding, generator=generator).abs()


@dataclass
class Networks:
    """The three networks that the meta-learning gives."""

    sizes: Sizes
    embedder: Embedder
    generator: Generator
    discriminator: Discriminator

    @classmethod
    def new(cls, sizes: Sizes, seed: int = 0) -> Networks:
        torch.manual_seed(seed)
        return cls(sizes, Embedder(sizes), Generator(sizes), Discriminator(sizes))

    def modules(self) -> dict[str, nn.Module]:
        return {
            "embedder": self.embedder,
            "generator": self.generator,
            "discriminator": self.discriminator,
        }

    def to(self, device: torch.device) -> Networks:
        """Moved there; on a CPU with channels last, as its convolutions are faster so."""
        layout = torch.channels_last if device.type == "cpu" else torch.preserve_format
        for module in self.modules().values():
            module.to(device, memory_format=layout)  # type: ignore[call-overload]
        return self
