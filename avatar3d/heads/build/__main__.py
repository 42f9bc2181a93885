"""Builds the embedded default head: python -m avatar3d.heads.build [FILE]."""

from __future__ import annotations

import sys
from pathlib import Path

from avatar3d.heads.build import rig
from avatar3d.heads.build.assemble import assembled
from avatar3d.heads.build.expressions import expression_basis
from avatar3d.heads.build.identities import identity_modes
from avatar3d.heads.build.landmarks import Statistics
from avatar3d.heads.build.output import save_head

DEFAULT_PATH = Path(__file__).parents[1] / "default.safetensors"


def build(path: Path = DEFAULT_PATH) -> None:
    statistics = Statistics()
    head = assembled(statistics.resting_face())
    weights = rig.skin_weights(head)
    expression = expression_basis(head, weights)
    identity = identity_modes(head, statistics)
    save_head(
        path, head, statistics, identity, expression, weights, rig.joints(), rig.joint_drive()
    )


if __name__ == "__main__":
    build(Path(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT_PATH)
