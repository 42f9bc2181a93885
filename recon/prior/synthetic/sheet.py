"""A contact sheet of synthetic people: each in several poses, expressions and lights."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8

from avatar3d.heads import HeadModel
from recon.prior.synthetic.motion import random_codes
from recon.prior.synthetic.person import synthetic_person
from recon.prior.synthetic.photograph import photograph
from recon.prior.synthetic.scene import random_background, random_camera, random_light


def contact_sheet(
    seeds: Sequence[int],
    views: int = 1,
    columns: int = 6,
    size_px: int = 256,
    head: HeadModel | None = None,
) -> UInt8[np.ndarray, "H W 3"]:
    """`views` pictures of each person side by side, under a new light in every other one."""
    tiles = []
    for seed in seeds:
        person = synthetic_person(seed, head)
        rng = np.random.default_rng([seed, 4])
        camera = random_camera(rng, size_px)
        codes = random_codes(rng, views, frontal_first=views > 1)
        for view in range(views):
            if view % 2 == 0:
                light, background = random_light(rng), random_background(rng, size_px)
            shot = photograph(person, codes.at(view), light, camera, background, rng)
            tiles.append(shot.image)
    while len(tiles) % columns:
        tiles.append(np.full((size_px, size_px, 3), 255, np.uint8))
    rows = [np.concatenate(tiles[at : at + columns], 1) for at in range(0, len(tiles), columns)]
    return np.concatenate(rows, 0)
