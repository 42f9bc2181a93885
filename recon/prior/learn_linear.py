"""Learn the linear prior from stored episodes.

    python -m recon.prior.learn_linear EPISODES -o linear.safetensors --hold-out PERSON...

Each clip's own truth is a fit to the support frames of its largest episode and to the frames that
episodes are judged on. What is fitted is kept beside the output in NAME.fits, so that a run that was
stopped goes on and another choice of people costs nothing.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from avatar3d.binding import Binding
from avatar3d.cli import run_script
from avatar3d.codes import ExpressionCode
from avatar3d.errors import UserError
from avatar3d.files import atomic_output
from avatar3d.heads import load_head
from avatar3d.progress import progress
from avatar3d.template import Template, make_template
from recon.fit.config import RefineConfig
from recon.fit.refine import refine
from recon.prior.episodes import (
    Episode,
    coarser,
    episode_files,
    load_episode,
    person_of,
    require_heads,
)
from recon.prior.linear import FORMAT, KIND, SHOTS, Line, residual, summary_of
from recon.prior.surface import surface_of

ANCHORS = 5000
RIDGE = 10.0  # people that the regression needs to be half as bold as it would be
SHRINK = 4.0  # a mean as large as its own error counts for a fifth
FREEDOM = (0.3, 1.5)


def learn(files: Sequence[Path], fits: Path, head: str = "default") -> Line:
    """The regression over the people whose episodes are in `files`."""
    model = load_head(head)
    require_heads(files, [model.name])
    template = make_template(model, ANCHORS)
    surface = surface_of(template)
    clips = by_clip(files)
    rows: list[tuple[str, Tensor, Tensor]] = []  # person, features, residual of one photo
    later: dict[int, list[tuple[Tensor, Tensor]]] = {count: [] for count in SHOTS[1:]}
    fits.mkdir(parents=True, exist_ok=True)
    with progress("fits", len(clips)) as step:
        for clip, own in clips.items():
            episodes = [coarser(load_episode(file), template.count) for file in own]
            largest = max(episodes, key=lambda episode: len(episode.support))
            fitted = _fitted(largest, template, fits / f"{clip}.safetensors")
            of_one = []
            for episode in episodes:
                moved = residual(episode.start, fitted)
                if len(episode.support) == 1:
                    rows.append(
                        (own[0].name.split("-")[0], summary_of(episode.start, surface), moved)
                    )
                    of_one.append(moved)
                elif len(episode.support) in later and of_one:
                    later[len(episode.support)].append((of_one[0], moved))
            step()
    if len({person for person, _, _ in rows}) < 2:
        raise UserError(
            f"a linear prior needs episodes of two people or more, got {len(clips)} clips; make "
            f"more with `python -m recon.prior.make_episodes`"
        )
    return _regression(rows, later)


def by_clip(files: Sequence[Path]) -> dict[str, list[Path]]:
    """Episodes of each clip, PERSON-HASH-INDEX, in the order of their indices."""
    clips: dict[str, list[Path]] = {}
    for file in sorted(files):
        clips.setdefault(file.stem.rpartition("-")[0], []).append(file)
    return clips


def _fitted(episode: Episode, template: Template, kept: Path):
    """The episode's start with the attributes of a fit to all of its frames."""
    start = episode.start
    names = list(start.attributes.__dict__)
    try:
        found = load_file(str(kept))
        attributes = type(start.attributes)(**{name: found[name] for name in names})
    except (OSError, SafetensorError, KeyError):
        views = [*episode.support, *episode.queries]
        codes = ExpressionCode(
            *(torch.cat(pair) for pair in zip(episode.support_codes, episode.query_codes))
        )
        refined = refine(
            template,
            Binding(template, episode.identity),
            start,
            [view.observation(episode.valid) for view in views],
            codes,
            episode.camera,
            RefineConfig(),
        )
        attributes = refined.attributes
        values = {name: getattr(attributes, name).detach().contiguous() for name in names}
        with atomic_output(kept) as beside:
            save_file(values, str(beside))
    return start._replace(attributes=attributes)


def _regression(
    rows: Sequence[tuple[str, Tensor, Tensor]], later: dict[int, list[tuple[Tensor, Tensor]]]
) -> Line:
    """Ridge with every person counting alike; the mean is shrunk by its own error."""
    people = [person for person, _, _ in rows]
    weight = torch.tensor([1.0 / people.count(person) for person in people])
    features = torch.stack([row[1] for row in rows])
    moved = torch.stack([row[2] for row in rows])  # [P, M, FIELDS]
    count = float(weight.sum())
    share = weight / count
    middle = (share[:, None] * features).sum(0)
    spread = (share[:, None] * (features - middle).square()).sum(0).sqrt().clamp(min=1e-3)
    middle[0], spread[0] = 0.0, 1.0  # the column of ones
    mean = torch.einsum("p,pmf->mf", share, moved)
    variance = torch.einsum("p,pmf->mf", share, (moved - mean).square())
    trust = mean.square() / (mean.square() + SHRINK * variance / count).clamp(min=1e-12)
    columns = ((features - middle) / spread)[:, 1:]
    left = torch.einsum("pk,p,pl->kl", columns, weight, columns) + RIDGE * torch.eye(
        columns.shape[1]
    )
    right = torch.einsum("pk,p,pmf->kmf", columns, weight, moved - mean)
    slopes = torch.linalg.solve(left, right.flatten(1)).view(-1, *mean.shape)
    weights = torch.cat([(trust * mean)[None], slopes])
    told = moved - torch.einsum("pk,kmf->pmf", (features - middle) / spread, weights)
    return Line(weights, middle, spread, _freedom(told, share), _shares(later))


def _freedom(told: Tensor, share: Tensor) -> Tensor:
    """Steps in proportion to what the regression leaves unsaid at an anchor, [M, 3]."""
    unsaid = torch.einsum("p,pmf->mf", share, told.square())
    groups = torch.stack(
        [unsaid[:, :3].mean(1), unsaid[:, 3], unsaid[:, 4:5].mean(1) + 1e4 * unsaid[:, 5:].mean(1)],
        dim=1,
    ).sqrt()  # a centimetre counts like a factor of e
    return (groups / groups.median(0).values.clamp(min=1e-9)).clamp(*FREEDOM)


def _shares(later: dict[int, list[tuple[Tensor, Tensor]]]) -> Tensor:
    """How much of one photo's residual is left with more frames (least squares), 0..1."""
    shares = [1.0]
    for count in SHOTS[1:]:
        along = sum(float((one * many).sum()) for one, many in later[count])
        whole = sum(float(one.square().sum()) for one, _ in later[count])
        shares.append(min(max(along / whole, 0.0), shares[-1]) if whole else shares[-1])
    return torch.tensor(shares)


def save_linear(line: Line, path: Path, facts: dict[str, Any]) -> None:
    """Half precision, with what it was made from."""
    metadata = {"kind": KIND, "format": str(FORMAT), "facts": json.dumps(facts, sort_keys=True)}
    tensors = {name: value.half().contiguous() for name, value in line._asdict().items()}
    with atomic_output(path) as beside:
        save_file(tensors, str(beside), metadata)


def main(
    episodes: tyro.conf.Positional[Path],
    /,
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])],
    hold_out: tuple[str, ...] = (),
    only: tuple[str, ...] = (),
    head: str = "default",
    fits: Path | None = None,
) -> None:
    """Learn a linear prior.

    Args:
        episodes: Folder that `python -m recon.prior.make_episodes` filled.
        output: The prior's file.
        hold_out: People who are left out.
        only: Prefixes of the people to learn from; all where none is given.
        head: The head that the episodes were made on.
        fits: Folder for the fits that it learns from; NAME.fits beside the output if not given.
    """
    files = episode_files(episodes, hold_out, only)
    line = learn(files, fits or output.with_suffix(".fits"), head)
    people = len({person_of(file) for file in files})
    save_linear(line, output, {"episodes": len(files), "people": people, "held_out": len(hold_out)})
    print(f"wrote {output} from {people} people, {output.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    run_script(main)
