"""The shipped weights, from nothing: synthetic speech, then real mouths.

    python -m recon.audio.train clean --data FOLDER [--output FOLDER]
    python -m recon.audio.train research --data FOLDER

FOLDER holds the clips and their manifest.json. The first call trains the trunk (docs/audio.md says
how long that takes); it is kept in the cache, and a stopped call goes on where it was.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import tyro

from avatar3d.audio.model import WEIGHTS, VoiceModel
from avatar3d.audio.network import LOOKAHEAD, VoiceNetwork
from avatar3d.audio.style import Calibration, Style, perform
from avatar3d.cli import run_script
from avatar3d.files import atomic_output
from avatar3d.heads import load_head
from recon.audio import visemes
from recon.audio.corpus import Corpus, corpus
from recon.audio.crossvalidate import Prediction, Predictor, best_threshold
from recon.audio.finetune import FinetuneConfig, finetune
from recon.audio.head_measures import measures_of_coefficients
from recon.audio.material import Lesson, aligned, aligned_by_others, lessons
from recon.audio.onnx_file import write_onnx
from recon.audio.outputs import CLOSURE, COUNT, MEASURES, OPENING, run
from recon.audio.pretrain import PretrainConfig, Speech, Trunk, pretrain

logger = logging.getLogger(__name__)

ModelName = Literal["clean", "research"]

# Clips whose sound agrees with the lips less than this at every offset belong to another recording.
LEAST_AGREEMENT = 0.1
MAX_GAIN = 1.8  # beyond, noise is amplified
CALIBRATING = 60  # utterances: five minutes
# Of the opening in the clean preset's closure. GRID's lips agree best from a quarter to the whole (F1
# .68, .66 without), synthetic ones the less the more there is (.44; .43, .42, .39): the least of it.
OPENING_IN_CLOSURE = 0.25
REPLAY_CHUNKS = 4  # of the corpus: enough that the trunk does not forget

# GRID's eighteen seconds are six people: the head of synthetic speech is corrected, not replaced.
CLEAN = FinetuneConfig(steps=60, ridge=1000.0, toward_synthetic=True)
RESEARCH = FinetuneConfig(steps=100, ridge=1000.0)


@dataclass(frozen=True)
class Material:
    """Lessons whose sound is laid on their pictures, and those left out with why."""

    lessons: list[Lesson]
    clean: list[Lesson]  # of clean licence, aligned by synthetic speech alone
    offsets: dict[str, dict[str, float]]
    left_out: list[str]

    def of(self, name: ModelName) -> list[Lesson]:
        return self.clean if name == "clean" else self.lessons


def material(data: Path, network: VoiceNetwork) -> Material:
    """The clips of `data`, aligned by a network that knows synthetic speech, then by each other."""
    kept, offsets, left_out = [], {}, []
    for lesson in lessons(data):
        moved, found = aligned(lesson, network)
        offsets[lesson.sha256[:8]] = found
        if found["agreement"] < LEAST_AGREEMENT:
            left_out.append(lesson.sha256[:8])
        else:
            kept.append(moved)
    clean = [lesson for lesson in kept if lesson.clean]
    kept, found = aligned_by_others(kept, network)
    offsets |= {sha256[:8]: one for sha256, one in found.items()}
    return Material(kept, clean, offsets, left_out)


def recipe(
    trunk: Trunk, taught: list[Lesson], name: ModelName, spoken: Corpus
) -> tuple[VoiceNetwork, Calibration]:
    """What a preset makes of the lessons it may use; `spoken` is replayed and shows silence."""
    config = CLEAN if name == "clean" else RESEARCH
    network = finetune(trunk, taught, Speech(spoken) if config.steps else None, config).network
    if name == "clean":
        hear_opening(network, spoken)
    with torch.no_grad():  # the weights as they are stored, so that what is measured is what ships
        for parameter in network.parameters():
            parameter.copy_(parameter.half().float())
    return network, calibrate(network, taught, name, spoken)


def hear_opening(network: VoiceNetwork, spoken: Corpus, share: float = OPENING_IN_CLOSURE) -> None:
    """Let the opening that the network says speak for closed lips too, in place.

    Synthetic speech has taught its closure, and there lips close for p, b and m alone; those of
    people also close in between. What it says of the opening, GRID's mouths have corrected. So
    closure becomes `closure - share opening`, each in units of its own spread over synthetic speech,
    with the mean and the spread that closure had. Both are rows of the last layer: so is the result.
    """
    outputs = np.concatenate(
        [run(network, one.bands.astype(np.float32))[0] for one in spoken.utterances[:CALIBRATING]]
    ).astype(np.float64)
    closure, opening = outputs[:, CLOSURE], outputs[:, OPENING]
    weight = share * closure.std() / opening.std()
    mixed = closure - weight * opening
    scale = closure.std() / mixed.std()
    head = network.head
    with torch.no_grad():
        for values in (head.weight, head.bias):
            values[CLOSURE] = scale * (values[CLOSURE] - weight * values[OPENING])
        head.bias[CLOSURE] += closure.mean() - scale * mixed.mean()


def calibrate(
    network: VoiceNetwork, taught: list[Lesson], name: ModelName, spoken: Corpus
) -> Calibration:
    """What its outputs mean.

    Six people's lips are too few to tell when lips are closed, so the clean preset takes that
    threshold from synthetic speech. There, recall counts thrice as much as precision (F3): a p whose
    lips stay open is seen at once, one closure too many is not, and real lips close more often than
    those of phones alone.
    """
    silent, logits, closed = [], [], []
    for one in spoken.utterances[:CALIBRATING]:
        outputs = run(network, one.bands.astype(np.float32))[0]
        silent.append(outputs[one.visemes == visemes.SILENCE, :COUNT])
        logits.append(outputs[:, CLOSURE])
        closed.append(one.visemes == visemes.CLOSED)
    rest = np.median(np.concatenate(silent), axis=0)
    if name == "clean":
        threshold = best_threshold(np.concatenate(logits), np.concatenate(closed), beta=3.0)
    else:
        said = [run(network, one.bands)[0][one.seen, CLOSURE] for one in taught]
        truth = [one.closed[one.seen] for one in taught]
        threshold = best_threshold(np.concatenate(said), np.concatenate(truth))
    probability = float(1 / (1 + np.exp(-threshold)))
    plain = Calibration(1.0, probability, tuple(float(value) for value in rest))
    return plain._replace(gain=flatness(network, taught, plain))


def predictor(network: VoiceNetwork, calibration: Calibration) -> Predictor:
    """Of the measures that the network says, and of the coefficients that it performs."""

    def predict(lesson: Lesson) -> Prediction:
        outputs = run(network, lesson.bands)[0]
        performed = perform(outputs, Style(), calibration)
        return outputs[:, MEASURES], performed, outputs[:, CLOSURE]

    return predict


def train(
    name: ModelName, data: Path, output: Path = WEIGHTS, config: PretrainConfig | None = None
) -> VoiceModel:
    """Make one preset: NAME.safetensors, NAME.onnx and the model card NAME.md in `output`."""
    config = config or PretrainConfig()
    trunk = pretrain(config)
    found = material(data, trunk.network)
    taught = found.of(name)
    network, calibration = recipe(trunk, taught, name, corpus(REPLAY_CHUNKS))
    facts = _facts(name, network, calibration, taught, found, config)
    model = VoiceModel(network, facts)
    output.mkdir(parents=True, exist_ok=True)
    model.save(output / f"{name}.safetensors")
    write_onnx(network, output / f"{name}.onnx", {"name": name, "licence": facts["licence"]})
    with atomic_output(output / f"{name}.md") as beside:
        beside.write_text(model_card(facts), encoding="utf-8")
    return model


def flatness(network: VoiceNetwork, taught: list[Lesson], calibration: Calibration) -> float:
    """By how much a posed mouth opens less than the people's did: the gain that makes up for it.

    A regression says the mean of what it cannot tell, so its mouth is flatter than life.
    """
    head, predict = load_head("default"), predictor(network, calibration)
    ratios = []
    for lesson in taught:
        _, coefficients, _ = predict(lesson)
        assert coefficients is not None
        posed = measures_of_coefficients(head, coefficients)[lesson.seen, 0]
        ratios.append(float(lesson.measures[lesson.seen, 0].std() / max(posed.std(), 1e-6)))
    return float(np.clip(np.median(ratios), 1.0, MAX_GAIN))


def model_card(facts: dict[str, Any]) -> str:
    """Markdown that stands beside the weights."""
    learned = (
        f"{facts['speech_hours']:.1f} h of espeak-ng speech ({facts['languages']} languages); "
        f"{facts['clips']} clips of {facts['people']} people, {facts['clip_seconds']:.0f} s"
    )
    rows = {
        "what it does": f"16 kHz speech to {COUNT} mouth channels (27 ARKit coefficients), closure "
        "of the lips, energy; 50 times a second",
        "network": f"causal convolutions, {facts['parameters']:,} parameters, half precision; looks "
        f"{facts['lookahead_ms']} ms ahead",
        "licence": facts["licence"],
        "learned from": learned,
        "clips (first digits of SHA-256)": ", ".join(facts["taught_by"]),
        "made by": f"`python -m recon.audio.train {facts['name']} --data FOLDER`, seed "
        f"{facts['seed']}",
        "gain, closure threshold": f"{facts['gain']:.2f}, {facts['closure_threshold']:.2f}",
    }
    table = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
    return (
        f"# Voice to expression: `{facts['name']}`\n\n{facts['summary']}\n\n| | |\n|---|---|\n"
        f"{table}\n\n{_LIMITS}\n"
    )


_LIMITS = """Figures on people it has never heard: docs/benchmarks/audio.md. Meant for speech in any
language; singing, shouting, whispering and several voices at once were not in its training. It
cannot tell left from right, a smile from its absence, or what the eyes do. What the lips do without
a sound is not in the sound."""


def _facts(
    name: ModelName,
    network: VoiceNetwork,
    calibration: Calibration,
    taught: list[Lesson],
    found: Material,
    config: PretrainConfig,
) -> dict[str, Any]:
    summary, licence = {
        "clean": (
            "The default. Its weights come from synthetic speech and from clips of clean licence "
            "only.",
            "Apache-2.0; GRID corpus (Cooke et al. 2006, CC-BY-4.0) taught its last steps",
        ),
        "research": (
            "Better on real people. The clips that taught it are publicly available research "
            "material whose footage carries no licence of its own: use it for research.",
            "research use",
        ),
    }[name]
    return {
        "name": name,
        "summary": summary,
        "licence": licence,
        "seed": config.seed,
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "lookahead_ms": 20 * LOOKAHEAD,
        "speech_hours": config.chunks / 6,
        "languages": 15,
        "clips": len(taught),
        "people": len({lesson.identity for lesson in taught}),
        "clip_seconds": float(sum(lesson.seen.sum() for lesson in taught)) / 50,
        "taught_by": sorted(lesson.sha256[:8] for lesson in taught),
        "clips_without_agreement": found.left_out if name == "research" else [],
        "gain": round(calibration.gain, 3),
        "closure_threshold": round(calibration.closure_threshold, 4),
        "rest": [round(value, 4) for value in calibration.rest],
    }


def main(
    name: tyro.conf.Positional[ModelName],
    /,
    data: Path,
    output: Path = WEIGHTS,
) -> None:
    """Train a preset of the voice networks.

    Args:
        name: clean or research.
        data: Folder with the clips and manifest.json.
        output: Folder for the weights and the model card.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(1)
    model = train(name, data, output)
    print(f"wrote {output}/{name}.safetensors, .onnx and .md ({model.facts['clips']} clips)")


if __name__ == "__main__":
    run_script(main)
