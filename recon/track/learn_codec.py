"""Learn the probabilities of the code stream from motions of many people.

    python -m recon.track.learn_codec MOTION.npz|MOTION.csv...

Counts the decisions that the motions take in the codec, at 30 codes a second, and writes
`avatar3d/animation/codec_model.json`. Both ends of a stream must have the same file: a new one is a
new version of the format.
"""

from __future__ import annotations

from pathlib import Path

import tyro

from avatar3d.animation.codec import MODEL, Counter, count_motion, learned_contexts, model_json
from avatar3d.cli import run_script
from avatar3d.errors import UserError
from avatar3d.files import atomic_output
from avatar3d.motion import Motion

RATE = 30.0


def main(motions: tyro.conf.Positional[tuple[Path, ...]], /, output: Path = MODEL) -> None:
    """Learn the code stream's probabilities.

    Args:
        motions: Recorded motions.
        output: The .json to write.
    """
    if not motions:
        raise UserError("nothing to learn from; name one or more recorded motions")
    counter = Counter()
    for path in motions:
        count_motion(counter, Motion.load(path).resample(RATE).codes)
    with atomic_output(output) as temporary:
        temporary.write_text(model_json(learned_contexts(counter)), encoding="utf-8")
    print(f"wrote {output} from {len(motions)} motions")


if __name__ == "__main__":
    run_script(main)
