"""One person's motion on another person's avatar."""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from avatar3d.geometry import (
    matrix_to_quaternion,
    quaternion_conjugate,
    quaternion_multiply,
    quaternion_to_matrix,
)
from avatar3d.motion import Motion


def transfer(motion: Motion) -> Motion:
    """A driver's motion relative to how the driver usually stands before the camera.

    Expressions are carried over as they are: codes are semantic. Head and shoulders each turn by
    what the driver's turned away from their mean, so that the avatar faces its camera however the
    driver sat before theirs; the head moves by what the driver's moved.
    """
    codes = motion.codes
    head = codes.head_rotation
    bust = quaternion_multiply(head, quaternion_conjugate(codes.neck_rotation))
    head, bust = _from_mean(head), _from_mean(bust)
    translation = codes.head_translation
    return replace(
        motion,
        codes=codes._replace(
            head_rotation=head,
            head_translation=translation - translation.mean(0),
            neck_rotation=quaternion_multiply(quaternion_conjugate(bust), head),
        ),
    )


def _from_mean(rotations: Float[Tensor, "T 4"]) -> Float[Tensor, "T 4"]:
    """Rotations relative to their chordal mean."""
    u, _, vt = torch.linalg.svd(quaternion_to_matrix(rotations).mean(0))
    flip = torch.diag(torch.tensor([1.0, 1.0, float(torch.linalg.det(u @ vt).sign())]))
    mean = matrix_to_quaternion(u @ flip @ vt)
    return quaternion_multiply(quaternion_conjugate(mean), rotations)
