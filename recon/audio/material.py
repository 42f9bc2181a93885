"""Real clips made ready: features, targets on the network's frames, the sound's offset corrected."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml
from jaxtyping import Bool, Float

from avatar3d.audio.channels import CHANNELS, to_channels
from avatar3d.audio.features import Normaliser, log_mel
from avatar3d.audio.network import VoiceNetwork
from avatar3d.config import configs_folder
from avatar3d.errors import UserError
from avatar3d.heads import load_head
from avatar3d.progress import tracked
from recon.audio.clips import SpeakingClip, speaking_clip
from recon.audio.corpus import FRAME_S, frame_times_s
from recon.audio.outputs import MEASURES, run
from recon.capture import hash_file

logger = logging.getLogger(__name__)

# How much each measure varies in one person's speech (median over people), eye corners' distance.
MEASURE_SPREAD = np.array([0.05, 0.03, 0.04, 0.01, 0.02, 0.04, 0.015], np.float32)
# The same of the tracked channels; below 0.03 a channel is noise.
CHANNEL_SPREAD = np.full(len(CHANNELS), 0.03, np.float32)
for _name, _value in {
    "jawOpen": 0.05, "jawForward": 0.12, "mouthClose": 0.044, "mouthFunnel": 0.04,
    "mouthPucker": 0.1, "mouthSmile": 0.06, "mouthFrown": 0.08, "mouthDimple": 0.07,
    "mouthRollLower": 0.11, "mouthRollUpper": 0.1, "mouthShrugLower": 0.05,
    "mouthShrugUpper": 0.05, "mouthPress": 0.08, "mouthLowerDown": 0.22, "mouthUpperUp": 0.1,
    "cheekPuff": 0.04,
}.items():  # fmt: skip
    CHANNEL_SPREAD[CHANNELS.index(_name)] = _value

_CLOSED_ABOVE_LOWEST = (
    0.012  # of the eye corners' distance: lips that touch, and the detector's noise
)
_SPEECH_LOUDNESS = -0.9  # the loudness feature; below are pauses
_OFFSETS = np.arange(-20, 16)  # frames of 20 ms: -0.4 to 0.3 s
# Of the seven measures, those that tell where the sound lies: by a network of synthetic speech, and
# by a regression on real mouths.
_KNOWN_TO_SPEECH = np.array([0.5, 0.0, 0.25, 0.0, 0.0, 0.25, 0.0])
_KNOWN_TO_MOUTHS = np.array([0.2, 0.1, 0.2, 0.04, 0.1, 0.2, 0.1]) / 0.94
_ALIGNING_RIDGE = 1000.0  # frames


@dataclass(frozen=True)
class Lesson:
    """One clip on the network's frames; targets are what the mouth did at the frame's own time."""

    sha256: str
    identity: str
    clean: bool
    bands: Float[np.ndarray, "F 80"]  # log-mel at 100 Hz
    measures: Float[np.ndarray, "T 7"]  # from the person's median, with the range of most people
    channels: Float[np.ndarray, "T 19"]  # from the person's rest
    closed: Bool[np.ndarray, " T"]
    seen: Bool[np.ndarray, " T"]  # there is a picture
    speaking: Bool[np.ndarray, " T"]
    offset_s: float = 0.0  # by how much the pictures were moved against the sound
    raw: Lesson | None = None  # the lesson as it was read, where the pictures were moved

    def __len__(self) -> int:
        return len(self.seen)

    def moved(self, frames: int) -> Lesson:
        """Targets that came `frames` later are laid on the frame."""
        at = np.clip(np.arange(len(self)) + frames, 0, len(self) - 1)
        return replace(
            self,
            measures=self.measures[at],
            channels=self.channels[at],
            closed=self.closed[at],
            offset_s=self.offset_s + frames * FRAME_S,
            raw=self.raw or self,
        )


def lessons(data: Path) -> list[Lesson]:
    """Every clip of the data folder that has live sound and is not left out."""
    manifest = data / "manifest.json"
    if not manifest.is_file():
        raise UserError(f"{data} has no manifest.json that names its clips; give the data's folder")
    chosen = yaml.safe_load((configs_folder() / "audio" / "clips.yaml").read_text("utf-8"))
    head = load_head("default")
    made = []
    entries = [entry for entry in json.loads(manifest.read_text("utf-8")) if _speaks(entry)]
    for entry in tracked(entries, "track clips"):
        file = data / entry["file"]
        digest = hash_file(file)
        if digest[:8] not in chosen["left_out"]:
            clean = digest[:8] in chosen["clean"]
            made.append(lesson(speaking_clip(file, head), str(entry["identity"]), clean))
    return made


def lesson(clip: SpeakingClip, identity: str = "", clean: bool = False) -> Lesson:
    bands = log_mel(clip.sound)
    count = len(bands) // 2
    times_s = frame_times_s(count)
    measures = _at(times_s, clip.times_s, clip.measures)
    channels = _at(times_s, clip.times_s, to_channels(clip.coefficients))
    seen = (times_s >= clip.times_s[0]) & (times_s <= clip.times_s[-1])
    # How wide a mouth is, and how far it moves, are the person's: speech is what varies.
    spread = 0.5 * measures[seen].std(0) + 0.5 * MEASURE_SPREAD
    opening = measures[:, 0]
    closed = opening < np.percentile(opening[seen], 5) + _CLOSED_ABOVE_LOWEST
    measures = (measures - np.median(measures[seen], 0)) / spread * MEASURE_SPREAD
    channels = channels - np.percentile(channels[seen], 10, axis=0)
    return Lesson(
        clip.sha256,
        identity,
        clean,
        bands[: 2 * count],
        measures.astype(np.float32),
        np.maximum(channels, 0).astype(np.float32),
        closed,
        seen,
        speaking(bands[: 2 * count]),
    )


def speaking(bands: Float[np.ndarray, "F 80"]) -> Bool[np.ndarray, " T"]:
    """Where something was said within 0.15 s."""
    loud = Normaliser()(bands[None])[0, :, -1].reshape(-1, 2).mean(1) > _SPEECH_LOUDNESS
    return np.convolve(loud, np.ones(15) / 15, "same") > 0.3


def aligned(lesson: Lesson, network: VoiceNetwork) -> tuple[Lesson, dict[str, Any]]:
    """The sound/picture offset at which the synthetic-speech network agrees best with the mouth.

    Containers, encoders and editors shift the sound by up to 0.3 s, and no network learns lips from
    sound that comes late. Opening and lower lip, which that network knows best, decide.
    """
    said = run(network, lesson.bands)[0][:, MEASURES]
    return best_offset(lesson, said, _KNOWN_TO_SPEECH)


def aligned_by_others(
    lessons: list[Lesson], network: VoiceNetwork, rounds: int = 2
) -> tuple[list[Lesson], dict[str, dict[str, Any]]]:
    """Offsets once more, by what the other people's mouths say: nobody is aligned by themselves.

    Real mouths tell all seven measures, so the agreement peaks where that of synthetic speech is
    flat. Each round regresses the measures on the network's hidden state over everybody else.
    """
    hidden = {one.sha256: run(network, one.bands)[1].astype(np.float64) for one in lessons}
    found: dict[str, dict[str, Any]] = {}
    for _ in range(rounds):
        sums = {one.sha256: _Sums.of(hidden[one.sha256][one.seen], one) for one in lessons}
        moved = []
        for one in lessons:
            others = [sums[other.sha256] for other in lessons if other.identity != one.identity]
            said = hidden[one.sha256] @ sum(others[1:], others[0]).regression()
            best, found[one.sha256] = best_offset(one.raw or one, said, _KNOWN_TO_MOUTHS)
            moved.append(best)
        lessons = moved
    return lessons, found


def best_offset(
    lesson: Lesson, said: Float[np.ndarray, "T 7"], weights: Float[np.ndarray, " 7"]
) -> tuple[Lesson, dict[str, Any]]:
    """The lesson moved to where it agrees best with the measures that somebody `said` of its sound.

    `weights` of the measures sum to 1.
    """
    curve = np.zeros(len(_OFFSETS))
    for index, shift in enumerate(_OFFSETS):
        moved = lesson.moved(int(shift)).measures
        for measure in np.flatnonzero(weights):
            curve[index] += weights[measure] * correlation(
                said[lesson.seen, measure], moved[lesson.seen, measure]
            )
    best = int(curve.argmax())
    found = {
        "offset_s": float(_OFFSETS[best]) * FRAME_S,
        "agreement": float(curve[best]),
        "at_zero": float(curve[list(_OFFSETS).index(0)]),
    }
    return lesson.moved(int(_OFFSETS[best])), found


class _Sums(NamedTuple):
    """What a regression of the measures on hidden states needs of one lesson."""

    count: int
    x: np.ndarray  # [W]
    y: np.ndarray  # [7]
    xx: np.ndarray  # [W, W]
    xy: np.ndarray  # [W, 7]

    @staticmethod
    def of(hidden: np.ndarray, lesson: Lesson) -> _Sums:
        y = lesson.measures[lesson.seen].astype(np.float64)
        return _Sums(len(y), hidden.sum(0), y.sum(0), hidden.T @ hidden, hidden.T @ y)

    def __add__(self, other: tuple) -> _Sums:
        return _Sums(*(mine + theirs for mine, theirs in zip(self, other)))

    def regression(self) -> Float[np.ndarray, "W 7"]:
        """Ridge, without the constant: correlations do not ask for it."""
        gram = self.xx - np.outer(self.x, self.x) / self.count
        moved = self.xy - np.outer(self.x, self.y) / self.count
        return np.linalg.solve(gram + _ALIGNING_RIDGE * np.eye(len(gram)), moved)


def correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Pearson's; 0 where one of them does not vary."""
    if len(first) < 2 or first.std() < 1e-9 or second.std() < 1e-9:
        return 0.0
    return float(np.corrcoef(first, second)[0, 1])


def _speaks(entry: dict[str, Any]) -> bool:
    return bool(
        entry.get("kind") == "clip" and entry.get("has_audio") and not entry.get("audio_silent")
    )


def _at(times_s: np.ndarray, known_s: np.ndarray, values: np.ndarray) -> np.ndarray:
    return np.stack([np.interp(times_s, known_s, column) for column in values.T], axis=1)
