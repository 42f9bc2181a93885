"""The network's outputs by name, and a run over a whole recording."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float

from avatar3d.audio.channels import CHANNELS
from avatar3d.audio.features import Normaliser
from avatar3d.audio.network import LOOKAHEAD, MEASURE_COUNT, VoiceNetwork

COUNT = len(CHANNELS)
MEASURES = slice(COUNT, COUNT + MEASURE_COUNT)
OPENING = COUNT  # the first of them
# Real clips do not teach these: no picture shows the tongue, and what the tracker says of the others is
# mostly the rest of its error. They stay as synthetic speech taught them.
UNTAUGHT = [
    CHANNELS.index(name)
    for name in (
        "jawForward", "mouthShrugLower", "mouthShrugUpper", "cheekPuff", "cheekSquint", "tongueOut",
    )
]  # fmt: skip
CLOSURE, ENERGY = COUNT + MEASURE_COUNT, COUNT + MEASURE_COUNT + 1
TAUGHT = [row for row in range(ENERGY) if row not in UNTAUGHT]


def run(
    network: VoiceNetwork, bands: Float[np.ndarray, "F 80"]
) -> tuple[Float[np.ndarray, "T C"], Float[np.ndarray, "T W"]]:
    """Outputs and hidden states at the time that they speak of: what comes late is moved back."""
    late = np.concatenate([bands, np.repeat(bands[-1:], 2 * LOOKAHEAD, 0)])
    with torch.no_grad():
        outputs, hidden, _ = network(torch.from_numpy(Normaliser()(late[None])), network.start())
    return outputs[0, LOOKAHEAD:].numpy(), hidden[0, LOOKAHEAD:].numpy()
