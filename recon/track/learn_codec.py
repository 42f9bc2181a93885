"""Learn the probabilities of the code stream from motions of many people.

    python -m recon.track.learn_codec MOTION.npz|MOTION.csv...

Counts the decisions that the motions take in the codec, at 30 codes a second, and writes
`avatar3d/animation/codec_model.json`. Both ends of a stream must have the same file: a new one is a
new version of the format.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from avatar3d.animation.codec import MODEL, Counter, count_motion, learned_contexts, model_json
from avatar3d.files import atomic_output
from avatar3d.motion import Motion

RATE = 30.0


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Learn the code stream's probabilities.")
    parser.add_argument("motions", nargs="+", type=Path)
    parser.add_argument("--output", type=Path, default=MODEL)
    given = parser.parse_args(arguments)
    counter = Counter()
    for path in given.motions:
        count_motion(counter, Motion.load(path).resample(RATE).codes)
    with atomic_output(given.output) as temporary:
        temporary.write_text(model_json(learned_contexts(counter)), encoding="utf-8")
    print(f"wrote {given.output} from {len(given.motions)} motions")


if __name__ == "__main__":
    main()
