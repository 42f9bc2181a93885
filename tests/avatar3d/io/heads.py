"""Plain avatars on any head."""

from __future__ import annotations

import torch

from avatar3d.avatar import Attributes, Avatar
from avatar3d.heads import HeadModel
from avatar3d.template import make_template


def avatar_on(head: HeadModel, count: int = 600, seed: int = 3) -> Avatar:
    """Flat discs that cover the surface; the colour is a smooth function of the place."""
    template = make_template(head, count)
    random = torch.Generator().manual_seed(seed)
    rotations = torch.zeros(count, 4)
    rotations[:, 0] = 1
    scales = 0.8 * template.spacing.clamp(4e-4, 1e-2)
    points = template.neutral_points()
    return Avatar(
        head=head,
        identity=0.5 * torch.randn(head.identity_count, generator=random),
        attributes=Attributes(
            offsets=torch.zeros(count, 3),
            rotations=rotations,
            log_scales=torch.stack([scales, scales, 0.2 * scales], -1).log(),
            opacity_logits=torch.full((count,), 3.0),
            colors=0.5 + 0.3 * torch.sin(40 * points),
        ),
        provenance={"tool": "a test", "consent": "none needed", "view": {"distance_m": 0.8}},
    )
