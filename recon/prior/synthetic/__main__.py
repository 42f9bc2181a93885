"""Write episodes of synthetic people, as `recon.prior.make_episodes` writes those of clips.

    python -m recon.prior.synthetic --count 1000 -o EPISODES

What is there already is left as it is, so a run that was stopped goes on; several runs with --part
share the work. EPISODES/people.jpg shows the first of them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from avatar3d.cli import run_script
from avatar3d.errors import UserError
from avatar3d.heads import load_head
from avatar3d.progress import progress
from avatar3d.template import LEVELS, make_template
from recon.prior.episodes import save_episode
from recon.prior.synthetic.episodes import SIZE_PX, EpisodeStream
from recon.prior.synthetic.sheet import contact_sheet
from render.preview import write_picture

_SHOWN = 24


def write_episodes(
    folder: Path,
    count: int,
    seed: int = 0,
    head_name: str = "default",
    part: tuple[int, int] = (0, 1),
    anchors: int = LEVELS[-1],
    size_px: int = SIZE_PX,
) -> list[Path]:
    """Fill `folder` with the stream's first `count` episodes; their files, in order."""
    if count < 1 or not 64 <= size_px <= 2048:
        raise UserError(
            f"there must be at least one episode of 64 to 2048 px, got {count} of {size_px} px; "
            "change --count or --size-px"
        )
    head = load_head(head_name)
    stream = EpisodeStream(seed, make_template(head, anchors), head, size_px)
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"synthetic{stream.seed_of(n)}-{head.name}-{n:08d}" for n in range(count)]
    files = [folder / f"{name}.safetensors" for name in names]
    mine = range(count)[part[0] :: part[1]]
    with progress("synthetic episodes", len(mine)) as step:
        for number in mine:
            if not files[number].exists():
                save_episode(stream[number], files[number])
            step()
    return files


def main(
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])],
    count: int,
    seed: int = 0,
    head: str = "default",
    part: tuple[int, int] = (0, 1),
    anchors: int = LEVELS[-1],
    size_px: int = SIZE_PX,
    sheet: bool = True,
) -> None:
    """Make episodes of synthetic people.

    Args:
        output: Folder for the episodes.
        count: How many.
        seed: Of the stream; another seed shows other people.
        head: Head model to make them on.
        part: Of so many runs side by side this is which: 0 2 and 1 2 share the work of two.
        anchors: Anchors that the episodes' starts are made at.
        size_px: Side of the pictures, 512 as prepared clips have, or 256.
        sheet: Also draw the first people to people.jpg.
    """
    files = write_episodes(output, count, seed, head, part, anchors, size_px)
    if sheet and part[0] == 0:
        seeds = [int(file.name.split("-")[0].removeprefix("synthetic")) for file in files[:_SHOWN]]
        write_picture(contact_sheet(seeds, head=load_head(head)), output / "people.jpg")
    print(f"wrote {len(files[part[0] :: part[1]])} episodes to {output}")


if __name__ == "__main__":
    run_script(main)
