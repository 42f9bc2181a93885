"""Avatars for tests: a plain one made of numbers, and the demo's, fitted once a process."""

from __future__ import annotations

import tempfile
from functools import lru_cache
from pathlib import Path

import torch

from avatar3d.avatar import Attributes, Avatar, ExpressionBasis
from avatar3d.heads import load_head
from avatar3d.light import neutral_light
from avatar3d.template import make_template


@lru_cache(maxsize=4)
def plain_avatar(count: int = 3000, rank: int = 2) -> Avatar:
    """Skin-coloured Gaussians of the default head's mean shape, a little at random."""
    head = load_head("default")
    template = make_template(head, count)
    random = torch.Generator().manual_seed(7)

    def noise(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=random)

    coefficients = head.expression_count
    basis = ExpressionBasis(
        mean=torch.rand(coefficients, generator=random) * 0.2,
        projection=noise(coefficients, rank),
        offsets=2e-4 * noise(rank, count, 3),
        colors=0.02 * noise(rank, count, 3),
        limits=torch.tensor([[-1.0] * rank, [2.0] * rank]),
    )
    return Avatar(
        head=head,
        identity=0.5 * noise(head.identity_count),
        attributes=Attributes(
            offsets=5e-4 * noise(count, 3),
            rotations=torch.nn.functional.normalize(noise(count, 4), dim=-1),
            log_scales=(0.8 * template.spacing.clamp(4e-4, 6e-3)).log()[:, None].repeat(1, 3),
            opacity_logits=2 + noise(count),
            colors=(torch.tensor([0.8, 0.6, 0.5]) + 0.1 * noise(count, 3)).clamp(0, 1),
        ),
        basis=basis if rank else None,
        light=neutral_light() + 0.05 * noise(9, 3),
        provenance={"tool": "a test", "consent": "none needed", "view": {"distance_m": 0.8}},
    )


def write_portrait(folder: Path) -> Path:
    """The portrait of the demo as a file."""
    from PIL import Image
    from skimage.data import astronaut

    path = folder / "astronaut.png"
    Image.fromarray(astronaut()).save(path)
    return path


@lru_cache(maxsize=1)
def draft_of_portrait():
    """`create` on the demo's portrait with the draft preset: a few seconds, once a process."""
    from avatar3d.config import load_preset
    from recon import CreateConfig, create

    with tempfile.TemporaryDirectory() as folder:
        return create(write_portrait(Path(folder)), load_preset(CreateConfig, "create", "draft"))
