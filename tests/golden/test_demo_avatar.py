from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from render.metrics.psnr import psnr
from tests.golden.cases import CASES, draw, golden_file

# Threads add gradients in another order each run, and the fit carries that on; two runs agree to
# more than 40 dB. Another face, a missing part or wrong colours fall below 25.
LEAST_DB = 28.0


@pytest.mark.parametrize("name", CASES)
def test_the_demo_avatar_looks_as_before(name: str):
    golden = np.asarray(Image.open(golden_file(name)).convert("RGB"))
    now = draw(name)
    likeness = psnr(*(torch.from_numpy(picture / 255.0) for picture in (now, golden)))
    assert likeness > LEAST_DB, (
        f"the demo's avatar ({name}) differs from {golden_file(name).name}: {likeness:.1f} dB; if "
        "it is better now, run: python -m tests.golden.regenerate"
    )
