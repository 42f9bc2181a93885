"""Which shapes give way to which: two that do the same work would do it twice where both act.

A row (i, j, k, amount) adds amount c_i c_j to the weight of shape k (`skinning.shape_weights`).
Amounts are chosen by eye; tests/avatar3d/heads/test_combinations.py says what they must keep.
"""

from __future__ import annotations

import numpy as np

from avatar3d.codes import ARKIT_INDEX

# What gives way, to what, by how much of itself.
_YIELDS = [
    # A blink shuts the eye wherever it looks: a lid that is down already needs no more.
    ("eyeLookDownLeft", "eyeBlinkLeft", 1.0),
    ("eyeLookUpLeft", "eyeBlinkLeft", 1.0),
    ("eyeWideLeft", "eyeBlinkLeft", 1.0),
    ("eyeSquintLeft", "eyeBlinkLeft", 1.0),
    # Both draw the corners in; an open jaw stretches what a pucker would draw together.
    ("mouthPucker", "mouthFunnel", 0.4),
    ("mouthPucker", "jawOpen", 0.35),
    # All of these pull the same corner back.
    ("mouthDimpleLeft", "mouthSmileLeft", 0.8),
    ("mouthStretchLeft", "mouthSmileLeft", 0.5),
    ("mouthDimpleLeft", "mouthStretchLeft", 0.2),
    # A smile has raised the upper lip already.
    ("mouthUpperUpLeft", "mouthSmileLeft", 0.4),
    ("mouthUpperUpLeft", "noseSneerLeft", 0.4),
]
# What comes in besides: (of two, the shape, how much).
_BRINGS = [
    ("eyeBlinkLeft", "eyeSquintLeft", "cheekSquintLeft", 0.3),  # eyes squeezed shut
    # The ring of the lips holds an opening jaw's mouth small and round; what it closes, mouthClose
    # need not.
    ("mouthPucker", "jawOpen", "mouthClose", 0.25),
    ("mouthPucker", "mouthClose", "mouthClose", -0.25),
]


def combinations() -> tuple[np.ndarray, np.ndarray]:
    """Rows [C, 3] of indices into ARKIT_NAMES, and amounts [C], both sides."""
    left = [(shape, by, shape, -amount) for shape, by, amount in _YIELDS] + _BRINGS
    rows = left + [
        (_other_side(i), _other_side(j), _other_side(k), amount)
        for i, j, k, amount in left
        if any(name.endswith("Left") for name in (i, j, k))
    ]
    index = np.array([[ARKIT_INDEX[i], ARKIT_INDEX[j], ARKIT_INDEX[k]] for i, j, k, _ in rows])
    return index, np.array([row[3] for row in rows])


def _other_side(name: str) -> str:
    return name[:-4] + "Right" if name.endswith("Left") else name
