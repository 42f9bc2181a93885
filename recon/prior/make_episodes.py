"""Make few-shot episodes from clips of many people, for `recon.prior.train`.

    python -m recon.prior.make_episodes CLIPS -o EPISODES --layout people

Four episodes a clip: the most frontal frame alone, another alone, three, and eight as support; the
queries are frames of the clip's second half. What is there already is left as it is, so a run that
was stopped goes on; several runs with --part share the work.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from avatar3d.cli import run_script
from avatar3d.errors import UserError
from avatar3d.heads import load_head
from avatar3d.progress import progress
from avatar3d.template import LEVELS, make_template
from recon.benchmark.cache import cached_clip
from recon.benchmark.clip import PreparedClip
from recon.benchmark.prepare import hash_clip
from recon.benchmark.protocol import Protocol, thinned
from recon.fit.fitter import FitConfig
from recon.prior.datasets import PersonClip, read_layout
from recon.prior.episodes import make_episode, save_episode

QUERIES = 16


def make_episodes(
    clips: list[PersonClip],
    folder: Path,
    head_name: str = "default",
    part: tuple[int, int] = (0, 1),
) -> list[str]:
    """Fill `folder`; what could not be used is returned, a sentence each."""
    head = load_head(head_name)
    template = make_template(head, LEVELS[-1])
    protocol = Protocol()
    folder.mkdir(parents=True, exist_ok=True)
    refused = []
    mine = clips[part[0] :: part[1]]
    with progress("episodes", len(mine)) as step:
        for clip in mine:
            try:
                prepared = cached_clip(clip.path, protocol)
                digest = hash_clip(clip.path)
                for index, support in enumerate(supports(prepared, int(digest[:8], 16))):
                    path = folder / f"{clip.person}-{head.name}-{digest[:12]}-{index}.safetensors"
                    if path.exists():
                        continue
                    queries = thinned(prepared.test, QUERIES)
                    episode = make_episode(
                        prepared, clip.person, support, queries, head, template,
                        FitConfig().light_ridge,
                    )  # fmt: skip
                    save_episode(episode, path)
            except UserError as error:
                refused.append(f"{clip.path}: {error}")
            step()
    return refused


def supports(clip: PreparedClip, seed: int) -> list[list[int]]:
    """Support frames of one clip's episodes: indices into its first half."""
    rng = np.random.default_rng(seed)
    many = list(clip.support[32])
    three = rng.choice(many, min(3, len(many)), replace=False)
    return [
        list(clip.support[1]),
        [int(rng.choice(many))],
        sorted(int(index) for index in three),
        list(clip.support[8]),
    ]


def main(
    clips: tyro.conf.Positional[Path],
    /,
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])],
    layout: str = "people",
    head: str = "default",
    part: tuple[int, int] = (0, 1),
) -> None:
    """Make episodes.

    Args:
        clips: Folder with the clips.
        output: Folder for the episodes.
        layout: How the folder is laid out: people, manifest, voxceleb2, nersemble, vfhq or
            insta.
        head: Head model to make them on.
        part: Of so many runs side by side this is which: 0 2 and 1 2 share the work of two.
    """
    for sentence in make_episodes(read_layout(layout, clips), output, head, part):
        print(f"left out {sentence}")


if __name__ == "__main__":
    run_script(main)
