"""Leave-identities-out folds: weights for every clip that have not seen its person.

    python -m recon.prior.folds EPISODES -o FOLDS --folds 5
    avatar3d benchmark fewshot --data CLIPS --clips all --prior FOLDS -o report/

People are dealt to the folds by a hash of their names, so that a person is in one fold whatever the
others are. Fold K's file was trained without the people of fold K and says, by the hashes of their
clips, whom it may be judged on. A training that was stopped goes on; several runs with --only train
folds side by side.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import tyro
from safetensors import SafetensorError, safe_open

from avatar3d.cli import run_script
from avatar3d.errors import UserError
from avatar3d.files import atomic_output
from recon.prior.episodes import episode_files, person_of, require_heads
from recon.prior.learn_linear import learn, save_linear
from recon.prior.train import TrainConfig, averaged, load_heads, train
from recon.prior.weights import save_prior

Kind = Literal["network", "linear"]
_DIGITS = 12  # of a clip's SHA-256 in its episodes' names


def deal(people: Iterable[str], folds: int) -> dict[str, int]:
    """The fold of every person: as many people in each as in the others, give or take one."""
    order = sorted(set(people), key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    if not 2 <= folds <= len(order):
        raise UserError(
            f"the folds must be at least 2 and at most as many as the people, got {folds} for "
            f"{len(order)} people; change --folds or make more episodes"
        )
    return {name: place % folds for place, name in enumerate(order)}


def train_folds(
    files: Sequence[Path],
    folder: Path,
    folds: int,
    only: Sequence[int] = (),
    kind: Kind = "network",
    config: TrainConfig | None = None,
    heads: Sequence[str] = ("default",),
) -> None:
    """Fill `folder` with fold_K.safetensors; what is there of the same plan is left as it is."""
    config = config or TrainConfig()
    if kind == "linear" and len(heads) != 1:
        raise UserError(f"a linear prior is of one head, got {len(heads)}; name one with --head")
    names = [model.name for model in load_heads(heads)]
    require_heads(files, names)
    fold_of = deal([person_of(file) for file in files], folds)
    folder.mkdir(parents=True, exist_ok=True)
    plan = {"folds": folds, "kind": kind, "heads": names, "people": _digest(fold_of),
            "config": asdict(config) if kind == "network" else None}  # fmt: skip
    _keep_plan(folder / "plan.json", plan)
    for fold in only or range(folds):
        output = folder / f"fold_{fold}.safetensors"
        if output.exists():
            continue
        mine = [file for file in files if fold_of[person_of(file)] != fold]
        left_out = sorted({clip_of(file) for file in files if fold_of[person_of(file)] == fold})
        facts = {"episodes": len(mine), "fold": [fold, folds], "left_out": left_out}
        started = time.perf_counter()
        if kind == "linear":
            save_linear(learn(mine, folder / "fits", heads[0]), output, facts)
        else:
            run = train(mine, config, heads, folder / f"fold_{fold}.checkpoint.safetensors")
            facts |= {"config": asdict(config), "loss": float(np.mean(run.losses[-200:]))}
            save_prior(averaged(run), output, facts)
        print(f"wrote {output} in {time.perf_counter() - started:.0f} s", flush=True)


def fold_for(folder: Path, clip_sha256: str) -> Path:
    """The file in a folder of folds that was trained without the person of a clip."""
    files = sorted(folder.glob("fold_*.safetensors"))
    files = [file for file in files if not file.name.endswith(".checkpoint.safetensors")]
    if not files:
        raise UserError(
            f"{folder} must hold fold_0.safetensors and so on, but has none; "
            f"train them with `python -m recon.prior.folds`"
        )
    for file in files:
        if clip_sha256[:_DIGITS] in _left_out(file):
            return file
    raise UserError(
        f"no fold in {folder} was trained without the clip {clip_sha256[:_DIGITS]}: it has no "
        f"episodes; make them and train the folds anew, or leave the clip out with --clips"
    )


def clip_of(file: Path) -> str:
    """The first digits of the SHA-256 of the clip that an episode was made from."""
    return file.name.split("-")[-2]


def _left_out(file: Path) -> list[str]:
    try:
        with safe_open(str(file), "pt") as opened:
            left_out = json.loads((opened.metadata() or {})["facts"])["left_out"]
        if not isinstance(left_out, list):
            raise ValueError(left_out)
        return left_out
    except (OSError, SafetensorError, KeyError, ValueError, TypeError) as error:
        raise UserError(
            f"{file} must be a fold's weights that say whom they were trained without, but does "
            f"not ({error!r}); train it anew with `python -m recon.prior.folds`"
        ) from error


def _digest(fold_of: dict[str, int]) -> str:
    """Who is in which fold, without names."""
    return hashlib.sha256(json.dumps(fold_of, sort_keys=True).encode()).hexdigest()[:16]


def _keep_plan(path: Path, plan: dict[str, object]) -> None:
    """Folds of one folder belong together: refuse to mix two plans."""
    text = json.dumps(plan, indent=1, sort_keys=True)
    if path.exists() and path.read_text(encoding="utf-8") != text:
        raise UserError(
            f"{path} must be the plan of this very training, but people or settings were others; "
            f"give another folder or the same settings"
        )
    with atomic_output(path) as beside:
        beside.write_text(text, encoding="utf-8")


def main(
    episodes: tyro.conf.Positional[Path],
    /,
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])],
    folds: int = 5,
    only: tuple[int, ...] = (),
    kind: Kind = "network",
    head: tuple[str, ...] = ("default",),
    config: TrainConfig = TrainConfig(),  # noqa: B008
) -> None:
    """Train the folds of a leave-identities-out benchmark.

    Args:
        episodes: Folder that `python -m recon.prior.make_episodes` filled.
        output: Folder for the folds' weights, for `benchmark fewshot --prior`.
        folds: How many.
        only: Train these folds only; all where none is given.
        kind: network: the prior. linear: the cheap one, for ours-linear.
        head: The heads that the episodes were made on, one or several; a linear prior is of one.
        config: Settings of the network's training.
    """
    if any(fold not in range(folds) for fold in only):
        raise UserError(f"--only must name folds from 0 to {folds - 1}, got {list(only)}")
    train_folds(episode_files(episodes), output, folds, only, kind, config, head)


if __name__ == "__main__":
    run_script(main)
