"""An endless seeded stream of few-shot episodes of synthetic people.

A person becomes a clip as prepared clips of real people are, and the clip becomes an episode by the
same tracking and the same start, with their errors. Nothing needs to be stored.
"""

from __future__ import annotations

from collections import OrderedDict

import numpy as np

from avatar3d.heads import HeadModel
from avatar3d.template import Template
from recon.benchmark.clip import PreparedClip
from recon.benchmark.protocol import most_frontal
from recon.fit.fitter import FitConfig
from recon.prior.episodes import Episode, make_episode
from recon.prior.synthetic.motion import random_codes
from recon.prior.synthetic.person import synthetic_person
from recon.prior.synthetic.photograph import photograph
from recon.prior.synthetic.scene import random_background, random_camera, random_light

SIZE_PX = 512  # as prepared clips are stored
_SHOTS = (1, 1, 3, 8)  # as episodes of real clips have them
QUERIES = 6


def synthetic_clip(
    seed: int, frames: int, head: HeadModel | None = None, size_px: int = SIZE_PX
) -> PreparedClip:
    """`frames` pictures of one person in one place; the first half are support frames."""
    person = synthetic_person(seed, head)
    rng = np.random.default_rng([seed, 2])
    light, camera = random_light(rng), random_camera(rng, size_px)
    background = random_background(rng, size_px)
    codes = random_codes(rng, frames, frontal_first=True)
    shots = [photograph(person, codes.at(i), light, camera, background, rng) for i in range(frames)]
    landmarks = np.stack([shot.landmarks for shot in shots])
    ok = np.ones(frames, bool)
    half = max(1, frames // 2)
    first = tuple(range(half))
    return PreparedClip(
        name=_name(seed),
        fps=25.0,
        landmarks=landmarks,
        ok=ok,
        support={1: (most_frontal(landmarks, ok, half - 1),), half: first},
        test=tuple(range(half, frames)),
        images={index: shot.image for index, shot in enumerate(shots)},
        mattes={index: shot.matte for index, shot in enumerate(shots)},
        valid=_seen(rng, size_px),
    )


def synthetic_episode(
    seed: int,
    template: Template,
    head: HeadModel,
    size_px: int = SIZE_PX,
    queries: int = QUERIES,
) -> Episode:
    """One person's episode: 1, 3 or 8 support frames, and other frames to be judged on."""
    rng = np.random.default_rng([seed, 3])
    shots = int(rng.choice(_SHOTS))
    clip = synthetic_clip(seed, shots + queries, head, size_px)
    support, asked = list(range(shots)), list(range(shots, shots + queries))
    return make_episode(clip, _name(seed), support, asked, head, template, FitConfig().light_ridge)


class EpisodeStream:
    """Episodes by number, without end; the same for the same seed, in any order of asking."""

    def __init__(
        self,
        seed: int,
        template: Template,
        head: HeadModel,
        size_px: int = SIZE_PX,
        kept: int = 8,
    ) -> None:
        """`kept` episodes, those asked for last, are held."""
        self._seed, self._template, self._head, self._size_px = seed, template, head, size_px
        self._limit = kept
        self._kept: OrderedDict[int, Episode] = OrderedDict()

    def __getitem__(self, number: int) -> Episode:
        if number in self._kept:
            self._kept.move_to_end(number)
            return self._kept[number]
        episode = synthetic_episode(self.seed_of(number), self._template, self._head, self._size_px)
        self._kept[number] = episode
        if len(self._kept) > self._limit:
            self._kept.popitem(last=False)
        return episode

    def seed_of(self, number: int) -> int:
        """The person's seed."""
        return int(np.random.default_rng([self._seed, number]).integers(2**31))


def _seen(rng: np.random.Generator, size_px: int) -> np.ndarray:
    """[S, S]: now and then the crop reaches beyond the camera's picture."""
    valid = np.ones((size_px, size_px), bool)
    if rng.random() < 0.2:
        valid[int(size_px * rng.uniform(0.86, 1.0)) :] = False
    if rng.random() < 0.1:
        valid[: int(size_px * rng.uniform(0.0, 0.08))] = False
    return valid


def _name(seed: int) -> str:
    return f"synthetic{seed}"
