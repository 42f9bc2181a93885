"""Unlimited speech of espeak-ng with the mouth's curves, made in chunks that are kept in the cache.

    python -m recon.audio.corpus CHUNK.npz SEED MINUTES seen|unseen    one chunk, in this process

Every chunk is drawn from its own seed, so the corpus grows by more chunks and never changes.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import yaml
from jaxtyping import Float

from avatar3d.audio.features import RATE_HZ, log_mel
from avatar3d.config import configs_folder
from avatar3d.errors import UserError
from avatar3d.files import atomic_output, cache_folder
from avatar3d.progress import progress
from recon.audio import visemes
from recon.audio.espeak import Espeak, Manner
from recon.audio.voices import Room, warp

Languages = Literal["seen", "unseen"]

FORMAT = 1  # raise it when a chunk of the same seed gives something else
CHUNK_MINUTES = 10.0
ATTEMPTS = 3  # espeak-ng crashes now and then; another seed does not

# The output frame j stands for the end of feature frame 2 j + 1.
FRAME_S, FRAME_OFFSET_S = 0.02, 0.01 + 0.025


class Utterance(NamedTuple):
    bands: np.ndarray  # f16 [2 T, 80]: log-mel
    channels: np.ndarray  # f16 [T, 19], at the time of the frame itself, without look-ahead
    visemes: np.ndarray  # i8 [T]


@dataclass(frozen=True)
class Corpus:
    utterances: list[Utterance]

    @property
    def hours(self) -> float:
        return sum(len(one.visemes) for one in self.utterances) * FRAME_S / 3600


def corpus(chunks: int, languages: Languages = "seen", minutes: float = CHUNK_MINUTES) -> Corpus:
    """`chunks` times `minutes` of speech, made where the cache lacks it."""
    utterances: list[Utterance] = []
    with progress(f"speech in {languages} languages", chunks) as step:
        for seed in range(chunks):
            utterances += _chunk(seed, minutes, languages)
            step()
    return Corpus(utterances)


def frame_times_s(count: int) -> Float[np.ndarray, " T"]:
    """When output frames are known, without look-ahead, from the first sample."""
    return np.arange(count) * FRAME_S + FRAME_OFFSET_S


def _chunk(seed: int, minutes: float, languages: Languages) -> list[Utterance]:
    texts = (configs_folder() / "audio" / "speech.yaml").read_bytes()
    recipe = f"{FORMAT} {minutes} {languages} {visemes.VISEMES} ".encode() + texts
    key = hashlib.sha256(recipe).hexdigest()[:12]
    file = cache_folder() / "audio" / f"speech-{languages}-{key}-{seed}.npz"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        for attempt in range(ATTEMPTS):
            command = [sys.executable, "-m", __name__, str(file), str(seed + 100_000 * attempt)]
            done = subprocess.run([*command, str(minutes), languages], check=False)
            if done.returncode == 0 and file.exists():
                break
            if done.returncode > 0:
                raise UserError(
                    f"the speech for training could not be made ({' '.join(command)} ended with "
                    f"{done.returncode}); it needs espeak-ng: apt-get install espeak-ng"
                )
        else:
            raise UserError(
                f"espeak-ng crashed {ATTEMPTS} times while it made training speech; start again, "
                "or install another version of espeak-ng"
            )
    with np.load(file, allow_pickle=False) as arrays:
        bands, channels, spoken = (arrays[name] for name in ("bands", "channels", "visemes"))
        cuts = np.cumsum(arrays["lengths"])[:-1]
    return [
        Utterance(*parts)
        for parts in zip(
            np.split(bands, 2 * cuts), np.split(channels, cuts), np.split(spoken, cuts)
        )
    ]


def make_chunk(file: Path, seed: int, minutes: float, languages: Languages) -> None:
    texts = yaml.safe_load((configs_folder() / "audio" / "speech.yaml").read_text("utf-8"))
    rng = np.random.default_rng([seed, 1 if languages == "seen" else 2])
    espeak, room = Espeak(), Room(rng)
    made: list[Utterance] = []
    missing = minutes * 60 / FRAME_S
    while missing > 0:
        one = _utterance(rng, espeak, room, texts, languages)
        if one is not None:
            made.append(one)
            missing -= len(one.visemes)
    with atomic_output(file) as beside:
        np.savez(
            beside,
            bands=np.concatenate([one.bands for one in made]),
            channels=np.concatenate([one.channels for one in made]),
            visemes=np.concatenate([one.visemes for one in made]),
            lengths=np.array([len(one.visemes) for one in made]),
        )


def _utterance(
    rng: np.random.Generator, espeak: Espeak, room: Room, texts: dict, languages: Languages
) -> Utterance | None:
    spoken_languages = texts[languages]
    names = sorted(name for name in spoken_languages if name != "en")
    name = names[rng.integers(len(names))]
    if languages == "seen" and rng.random() < texts["english_share"]:
        name = "en"
    accents = texts["english_accents"]
    voice = accents[rng.integers(len(accents))] if name == "en" else name
    variants = ["", *texts["variants"].split()]
    variant = variants[rng.integers(len(variants))]
    manner = Manner(
        int(rng.integers(115, 260)), int(rng.integers(15, 85)), int(rng.integers(10, 90)),
        int(rng.integers(0, 3)) if rng.random() < 0.3 else 0,
    )  # fmt: skip
    text = _phrase(rng, spoken_languages[name].split())
    spoken = espeak.speak(text, f"{voice}+{variant}" if variant else voice, manner)
    if spoken is None or len(spoken.samples) < spoken.rate_hz // 3:
        return None
    # Played faster or slower: another length of the throat, another pitch.
    speed = rng.uniform(0.88, 1.14)
    sound = warp(spoken.samples, spoken.rate_hz * speed, RATE_HZ)
    phones = visemes.segments(
        [(start / speed, phone) for start, phone in spoken.phones], len(sound) / RATE_HZ
    )
    lead = int(rng.uniform(0.05, 0.6) * RATE_HZ)
    sound = np.concatenate([np.zeros(lead), sound, np.zeros(RATE_HZ // 5)])
    bands = log_mel(room.place(sound).astype(np.float32))
    count = len(bands) // 2
    times_s = frame_times_s(count) - lead / RATE_HZ
    channels, sounding = visemes.mouth_curves(phones, times_s)
    return Utterance(
        bands[: 2 * count].astype(np.float16),
        channels.astype(np.float16),
        sounding.astype(np.int8),
    )


def _phrase(rng: np.random.Generator, words: Sequence[str]) -> str:
    said: list[str] = []
    wanted = rng.integers(5, 22)
    while len(said) < wanted:
        run = int(rng.integers(1, 6))
        start = int(rng.integers(0, max(1, len(words) - run)))
        said += words[start : start + run]
        if rng.random() < 0.1:
            said.append(str(rng.integers(0, 9999)))
        if rng.random() < 0.15:
            said[-1] += rng.choice([",", ".", "?"])
    return " ".join(said) + "."


if __name__ == "__main__":
    _file, _seed, _minutes, _languages = sys.argv[1:]
    make_chunk(
        Path(_file), int(_seed), float(_minutes), "unseen" if _languages == "unseen" else "seen"
    )
