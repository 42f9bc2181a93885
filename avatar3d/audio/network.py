"""The network: features at 100 Hz to mouth channels at 50 Hz, causal, with its state in plain sight.

A stem joins pairs of feature frames with the pair before; eight residual blocks of dilated causal
convolutions (kernel 3, dilations 1 2 4 8 1 2 4 8, so 1.2 s are heard) follow. Every convolution is
a matrix product on shifted copies: fast for a few frames at a time, and the same for many. What a
frame's output means lies `LOOKAHEAD` output frames in the past: the network hears so much more.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from avatar3d.audio.channels import CHANNELS
from avatar3d.audio.features import FEATURES

MEASURE_COUNT = 7
CLASS_COUNT = 25  # kinds of phones, told while training only
WIDTH = 128
DILATIONS = (1, 2, 4, 8, 1, 2, 4, 8)
LOOKAHEAD = 5  # output frames of 20 ms

OUTPUTS = len(CHANNELS) + MEASURE_COUNT + 2  # channels, measures, closure (logit), energy

State = list[Tensor]


class Block(nn.Module):
    """x + W gelu(conv3(norm(x))), causal."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.dilation = dilation
        self.norm = nn.LayerNorm(width)
        self.spread = nn.Linear(3 * width, width)
        self.mix = nn.Linear(width, width)
        self.drop = nn.Dropout(0.1)

    def forward(self, x: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        count = x.shape[1]
        now = self.norm(x)
        heard = torch.cat([past, now], dim=1)
        taps = [heard[:, :count], heard[:, self.dilation : self.dilation + count], now]
        hidden = nn.functional.gelu(self.spread(torch.cat(taps, dim=2)), approximate="tanh")
        return x + self.drop(self.mix(hidden)), heard[:, count:]


class VoiceNetwork(nn.Module):
    """`forward(features [B, 2 T, 81], state) -> outputs [B, T, OUTPUTS], hidden [B, T, W], state`."""

    def __init__(self, width: int = WIDTH, dilations: tuple[int, ...] = DILATIONS) -> None:
        super().__init__()
        self.width, self.dilations = width, dilations
        self.stem = nn.Linear(4 * FEATURES, width)
        self.blocks = nn.ModuleList(Block(width, dilation) for dilation in dilations)
        self.head = nn.Linear(width, OUTPUTS)

    def start(self, batch: int = 1) -> State:
        """Silence before the first frame."""
        return [torch.zeros(batch, 1, 2 * FEATURES)] + [
            torch.zeros(batch, 2 * dilation, self.width) for dilation in self.dilations
        ]

    def forward(
        self, features: Float[Tensor, "B F 81"], state: State
    ) -> tuple[Float[Tensor, "B T C"], Float[Tensor, "B T W"], State]:
        pairs = features.reshape(features.shape[0], -1, 2 * FEATURES)
        heard = torch.cat([state[0], pairs], dim=1)
        after = [heard[:, -1:]]
        x = nn.functional.gelu(
            self.stem(torch.cat([heard[:, :-1], heard[:, 1:]], dim=2)), approximate="tanh"
        )
        for block, past in zip(self.blocks, state[1:]):
            x, past = block(x, past)
            after.append(past)
        return self.head(x), x, after
