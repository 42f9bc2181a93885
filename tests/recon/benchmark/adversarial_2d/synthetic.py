"""Networks small enough for a test, and people who are nobody."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from recon.benchmark.adversarial_2d.frames import Shown, save_frames, shown, together
from recon.benchmark.adversarial_2d.networks import Networks, Sizes
from recon.benchmark.adversarial_2d.train import TrainConfig
from recon.benchmark.clip import PreparedClip
from recon.benchmark.protocol import Protocol
from tests.recon.benchmark.synthetic import make_clip

SIZES = Sizes(
    size_px=32, narrowest=8, widest=16, residuals=2, attention_down_px=16, attention_up_px=32
)
TRAINING = TrainConfig(
    sizes=SIZES, steps=5, batch=2, frames=2, fewer=True, mirrored=0.5, decay_from=0.4,
    learning_rate=1e-3, discriminator_rate=1e-3, checkpoint_every=2, content_only=2,
)  # fmt: skip


def clip(name: str = "ada", frames: int = 24) -> PreparedClip:
    """Waves that move with their landmarks; another person's are brighter."""
    made = make_clip(frames, Protocol(shots=(1, 4), test_frames=4), name)
    if name == "ada":
        return made
    images = {index: (image // 2 + 127).astype(np.uint8) for index, image in made.images.items()}
    return replace(made, images=images)


def support(count: int = 4) -> Shown:
    """Frames of a clip at the networks' size."""
    one = clip()
    return together(
        [shown(one.frame(index), SIZES.size_px) for index in sorted(one.images)[:count]]
    )


def frame_files(folder: Path) -> list[Path]:
    """Two people's clips as the training reads them."""
    files = [folder / "ada-0123456789ab-0.safetensors", folder / "bob-ba9876543210-0.safetensors"]
    for file in files:
        save_frames(clip(file.name.split("-")[0]), SIZES.size_px, file)
    return files


def settled(networks: Networks, rounds: int = 30) -> Networks:
    """After enough power iterations that every layer's spectral norm is known."""
    frames = support()
    for module in networks.modules().values():
        module.train()
    for _ in range(rounds):
        each = networks.embedder(*frames)
        made = networks.generator(frames.drawings, networks.generator.coefficients(each))
        networks.discriminator(made, frames.drawings, each)
    for module in networks.modules().values():
        module.eval()
    return networks
