"""Draw the golden pictures again: `python -m tests.golden.regenerate`, then look at them.

The portrait is NASA's of Eileen Collins, in the public domain.
"""

from __future__ import annotations

from PIL import Image

from tests.golden.cases import CASES, draw, golden_file

if __name__ == "__main__":
    for name in CASES:
        Image.fromarray(draw(name)).save(golden_file(name), optimize=True)
        print(f"wrote {golden_file(name)}")
