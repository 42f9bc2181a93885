"""The training tried on a GPU: `python -m recon.prior.gpu [EPISODES] [--steps N]`.

The same steps on the CPU in float32, on the GPU in float32, and there in mixed precision: how far
their losses are apart, and what a step costs. Without EPISODES it makes two synthetic people's.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from avatar3d.cli import run_script
from recon.prior.episodes import episode_files
from recon.prior.train import TrainConfig, train
from render.backends.cuda import CudaBackend

_PEOPLE = 2


def compare(files: Sequence[Path], steps: int, anchors: int) -> list[str]:
    """A sentence for each way of training."""
    config = TrainConfig(
        steps=steps, anchors=anchors, refined_share=0.2, checkpoint_every=steps, device="cpu"
    )
    ways = {
        "CPU, float32": config,
        "GPU, float32": replace(config, device="cuda", bfloat16=False),
        "GPU, bfloat16": replace(config, device="cuda", bfloat16=True),
    }
    said, truth = [], None
    for name, way in ways.items():
        train(files, replace(way, steps=1))  # kernels are compiled, graphs of the surface made
        started = time.perf_counter()
        losses = np.array(train(files, way).losses)
        seconds = (time.perf_counter() - started) / steps
        truth = losses if truth is None else truth
        apart = float(np.abs(losses / truth - 1).max())
        said.append(f"{name}: {seconds:.3f} s a step, losses within {apart:.2%} of the CPU's")
    return said


def main(episodes: Path | None = None, steps: int = 20, anchors: int = 20_000) -> int:
    """Train a few steps on CPU and GPU.

    Args:
        episodes: Folder with episodes; without it two synthetic people are made.
        steps: How many.
        anchors: Of the template.
    """
    obstacle = CudaBackend().why_unavailable()
    if obstacle is not None:
        print(f"No GPU is present here that could train: {obstacle}.")
        return 1
    print(torch.cuda.get_device_name())
    with tempfile.TemporaryDirectory() as folder:
        if episodes is None:
            from recon.prior.synthetic.__main__ import write_episodes

            episodes = Path(folder)
            write_episodes(episodes, _PEOPLE, anchors=anchors)
        for sentence in compare(episode_files(episodes), steps, anchors):
            print(sentence)
    return 0


if __name__ == "__main__":
    run_script(main)
