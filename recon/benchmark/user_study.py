"""Ask people: a static page of pictures to choose from, and the score of their answers.

    avatar3d benchmark fewshot --data CLIPS -o report/ --keep-frames
    python -m recon.benchmark.user_study make report/frames -o study/ --methods ours_T8 warp2d_T8
    python -m recon.benchmark.user_study score study.key.json answers-*.json

Triplets are the protocol of Zakharov et al. 2019: two real pictures of a person and a made one,
shuffled; who cannot tell names the made one a third of the time. Their real pictures came from other
clips of the person, ours from other frames of the same clip. Pairs show the real frame and two
methods' pictures of it: which is more like it? The key stays with whoever asks; the page does not
hold it.
"""

from __future__ import annotations

import hashlib
import json
import math
import secrets
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import tyro

from avatar3d.errors import UserError
from avatar3d.files import atomic_output, check_readable
from recon.benchmark.pictures import read_png, write_png
from recon.benchmark.report import make_folder

Kind = Literal["triplets", "pairs"]
PAGE = Path(__file__).with_name("user_study.html")
MAX_BYTES = 10_000_000
_WORDS: dict[Kind, tuple[str, str]] = {
    "triplets": (
        "You will see three pictures of one person at a time. Two are real, one was made by a "
        "computer. Choose the made one; where you cannot tell, guess.",
        "Which of the three was made by a computer?",
    ),
    "pairs": (
        "You will see a real picture and two pictures that a computer made of the same moment. "
        "Choose the one that is more like the real picture; where you cannot tell, guess.",
        "Which of the two below is more like the picture above?",
    ),
}


@dataclass(frozen=True)
class Question:
    """One question; `answer` and `methods` stay in the key."""

    id: str
    shown: tuple[str, ...]  # pictures above the choices
    choices: tuple[str, ...]  # pictures to choose from
    methods: tuple[str, ...]  # what each choice is: "truth", or a method's column
    clip: str


def make_study(
    frames: Path, output: Path, methods: Sequence[str], kind: Kind, count: int, seed: int = 0
) -> Path:
    """Write the page with its pictures into `output`, and OUTPUT.key.json beside it.

    `frames` is the folder of pictures of `benchmark fewshot`, `methods` are columns of it.
    """
    if kind == "pairs" and len(methods) < 2:
        raise UserError(f"pairs compare two methods or more, got {list(methods)}; name another")
    if count < 1 or not methods:
        raise UserError(f"a study needs a question and a method, got {count} and {list(methods)}")
    clips = _clips(frames, methods, 3 if kind == "triplets" else 1)
    rng = np.random.default_rng(seed)
    names = _Names(frames, output / "pictures")
    make_folder(output / "pictures")
    questions = []
    for number in range(count):
        clip = clips[int(rng.integers(len(clips)))]
        method = methods[number % len(methods)]  # as many questions for each
        draw = _triplet if kind == "triplets" else _pair
        shown, choices = draw(frames / clip, method, methods, rng)
        questions.append(
            Question(
                f"q{number:03d}",
                tuple(names.copied(path) for path, _ in shown),
                tuple(names.copied(path) for path, _ in choices),
                tuple(what for _, what in choices),
                clip,
            )
        )
    study = hashlib.sha256(repr(questions).encode()).hexdigest()[:12]
    task, question = _WORDS[kind]
    told = [{"id": q.id, "shown": q.shown, "choices": q.choices} for q in questions]
    page = {"id": study, "task": task, "question": question, "questions": told}
    # "</script>" must not end the block that holds the data.
    text = json.dumps(page).replace("<", "\\u003c")
    html = PAGE.read_text(encoding="utf-8").replace("STUDY_JSON", text)
    key = {"study": study, "kind": kind, "questions": [asdict(question) for question in questions]}
    key_file = output.with_name(output.name + ".key.json")
    for path, content in ((output / "index.html", html), (key_file, json.dumps(key, indent=1))):
        with atomic_output(path) as beside:
            beside.write_text(content, encoding="utf-8")
    return key_file


def score_study(key: Path, answers: Sequence[Path]) -> list[dict[str, Any]]:
    """One row a method. Triplets: the share of made pictures that were told from real ones
    (`told`, a third by chance: less is better). Pairs: the share of questions in which the method
    was chosen (`chosen`, a half by chance: more is better). `low` and `high` bound the share's 95 %
    (Wilson's interval over all answers; people who answer alike make it too narrow, so the range
    over the people stands beside it).
    """
    study = _read(key, "a study's key")
    try:
        kind: Kind = study["kind"]
        methods = {q["id"]: tuple(q["methods"]) for q in study["questions"]}
        identity = study["study"]
    except (KeyError, TypeError) as error:
        raise UserError(f"{key} must be the key that `make` wrote, but lacks {error}") from error
    people: dict[str, dict[str, list[bool]]] = {}
    for path in answers:
        read = _read(path, "saved answers")
        if read.get("study") != identity:
            raise UserError(
                f"{path} must hold answers to the study {identity}, got {read.get('study')!r}; "
                f"give the key that belongs to it"
            )
        person = str(read.get("participant", path.stem))
        if person in people:
            raise UserError(f"{path} repeats the answers of {person}; give each person's file once")
        people[person] = _hits(path, read.get("answers"), methods)
    if not people:
        raise UserError("there must be answers to score, got no file; name them after the key")
    share = "told" if kind == "triplets" else "chosen"
    rows = []
    for method in dict.fromkeys(m for q in methods.values() for m in q if m != "truth"):
        own = [hits[method] for hits in people.values() if hits.get(method)]
        flat = [hit for hits in own for hit in hits]
        if not flat:
            continue
        low, high = wilson(sum(flat), len(flat))
        rates = [float(np.mean(hits)) for hits in own]
        rows.append({
            "method": method, "people": len(own), "answers": len(flat),
            share: float(np.mean(flat)), "low": low, "high": high,
            "least_of_people": min(rates), "most_of_people": max(rates),
            "chance": 1 / 3 if kind == "triplets" else 1 / 2,
        })  # fmt: skip
    return rows


def wilson(hits: int, count: int, z: float = 1.959964) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927)."""
    share, weight = hits / count, z * z / count
    middle = (share + weight / 2) / (1 + weight)
    half = z / (1 + weight) * math.sqrt(share * (1 - share) / count + weight / (4 * count))
    return max(0.0, middle - half), min(1.0, middle + half)


Drawn = list[tuple[Path, str]]  # a picture, and what it is


def _triplet(
    folder: Path, method: str, methods: Sequence[str], rng: np.random.Generator
) -> tuple[Drawn, Drawn]:
    files = sorted((folder / method).glob("*.png"))
    first, second, made = (files[k].name for k in rng.choice(len(files), 3, replace=False))
    choices = [
        (folder / "truth" / first, "truth"),
        (folder / "truth" / second, "truth"),
        (folder / method / made, method),
    ]
    return [], [choices[k] for k in rng.permutation(3)]


def _pair(
    folder: Path, method: str, methods: Sequence[str], rng: np.random.Generator
) -> tuple[Drawn, Drawn]:
    others = [other for other in methods if other != method]
    other = others[int(rng.integers(len(others)))]
    files = sorted((folder / method).glob("*.png"))
    name = files[int(rng.integers(len(files)))].name
    choices = [(folder / column / name, column) for column in (method, other)]
    return [(folder / "truth" / name, "truth")], [choices[k] for k in rng.permutation(2)]


class _Names:
    """Copies of pictures whose names say nothing."""

    def __init__(self, frames: Path, folder: Path) -> None:
        self._frames, self._folder = frames, folder
        self._salt = secrets.token_hex(8)

    def copied(self, path: Path) -> str:
        about = f"{self._salt} {path.relative_to(self._frames)}"
        name = hashlib.sha256(about.encode()).hexdigest()[:16] + ".png"
        if not (self._folder / name).exists():
            write_png(self._folder / name, read_png(path))
        return name


def _clips(frames: Path, methods: Sequence[str], least: int) -> list[str]:
    """The clips that have enough pictures of every method and of the truth."""
    if not frames.is_dir():
        raise UserError(f"{frames} must be the folder of pictures of `benchmark fewshot`, is none")
    found = []
    for folder in sorted(path for path in frames.iterdir() if path.is_dir()):
        columns = [{file.name for file in (folder / m).glob("*.png")} for m in (*methods, "truth")]
        if len(set.intersection(*columns)) >= least and len(set(map(frozenset, columns))) == 1:
            found.append(folder.name)
    if not found:
        raise UserError(
            f"{frames} must hold a clip with pictures of {', '.join(methods)} and of the truth, "
            f"but has none; run `benchmark fewshot` with --keep-frames, and name methods as its "
            f"folders are called, like ours_T8"
        )
    return found


def _hits(
    path: Path, answers: Any, methods: Mapping[str, tuple[str, ...]]
) -> dict[str, list[bool]]:
    """method -> for each of its questions, whether it was the one chosen."""
    hits: dict[str, list[bool]] = {}
    if not isinstance(answers, dict):
        raise UserError(f"{path} must hold answers by question, got {type(answers).__name__}")
    for question, answer in answers.items():
        choice = answer.get("choice") if isinstance(answer, dict) else None
        if question not in methods or not isinstance(choice, int):
            raise UserError(f"{path} answers {question!r} with {answer!r}, which the key knows not")
        if not 0 <= choice < len(methods[question]):
            raise UserError(f"{path} chooses picture {choice} in {question}, which is not there")
        for place, method in enumerate(methods[question]):
            if method != "truth":
                hits.setdefault(method, []).append(place == choice)
    return hits


def _read(path: Path, what: str) -> dict[str, Any]:
    check_readable(path, MAX_BYTES)
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, UnicodeDecodeError) as error:
        raise UserError(f"{path} must be {what} as JSON, but cannot be read ({error})") from error
    if not isinstance(read, dict):
        raise UserError(f"{path} must be {what}, got a {type(read).__name__}")
    return read


def make(
    frames: tyro.conf.Positional[Path],
    /,
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])],
    methods: tuple[str, ...] = ("ours_T8",),
    kind: Kind = "triplets",
    count: int = 60,
    seed: int = 0,
) -> None:
    """Make a study.

    Args:
        frames: The folder `frames` of a report made with --keep-frames.
        output: Folder for index.html and its pictures; the key is written beside it.
        methods: Columns of the report, METHOD_T8.
        kind: triplets: two real pictures and a made one. pairs: two methods and the real picture.
        count: Questions, drawn from all clips.
        seed: Of the draw.
    """
    key = make_study(frames, output, methods, kind, count, seed)
    print(f"wrote {output / 'index.html'} and {key}, which is for you alone")


def score(key: tyro.conf.Positional[Path], answers: tyro.conf.Positional[tuple[Path, ...]]) -> None:
    """Score answers.

    Args:
        key: The key that `make` wrote.
        answers: The files that people saved.
    """
    for row in score_study(key, answers):
        share = next(name for name in ("told", "chosen") if name in row)
        print(
            f"{row['method']}: {share} in {row[share]:.1%} (95 %: {row['low']:.1%} to "
            f"{row['high']:.1%}; chance {row['chance']:.1%}) of {row['answers']} answers by "
            f"{row['people']} people ({row['least_of_people']:.1%} to {row['most_of_people']:.1%})"
        )


def main() -> int:
    """Ask people which pictures are real, or better, and score their answers."""
    try:
        tyro.extras.subcommand_cli_from_dict({"make": make, "score": score})
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
