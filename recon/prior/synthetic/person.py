"""A synthetic person: Gaussians on one identity of a head, posed and lit like any avatar's."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from avatar3d.avatar import Attributes, pose_gaussians
from avatar3d.binding import Binding
from avatar3d.codes import ExpressionCode
from avatar3d.gaussians import Gaussians
from avatar3d.geometry import matrix_to_quaternion, quaternion_to_matrix, rotate
from avatar3d.heads import HeadModel, load_head
from avatar3d.template import Template
from recon.prior.synthetic import accessories, hair, skin
from recon.prior.synthetic.scaffold import Scaffold, scaffold
from recon.prior.synthetic.scene import Light
from recon.prior.synthetic.splats import Splats, joined
from recon.prior.synthetic.traits import Traits, random_traits

_SPREAD = 0.9  # standard deviations of the identity modes: the tails are caricatures
_WIDEST = 1.9


@dataclass(frozen=True)
class SyntheticPerson:
    """Attributes as an avatar has them, at anchors of the person's own."""

    traits: Traits
    head: HeadModel
    identity: Tensor  # [I]
    template: Template  # one anchor a Gaussian
    attributes: Attributes
    normals: Tensor  # [N, 3] in the anchor's frame, for the light
    shadow: Tensor  # [N] share of the surroundings' light
    gloss: Tensor  # [N]
    sharpness: Tensor  # [N]

    def __post_init__(self) -> None:
        object.__setattr__(self, "_binding", Binding(self.template, self.identity))

    @torch.no_grad()
    def gaussians(self, code: ExpressionCode, light: Light, eye: Tensor) -> Gaussians:
        """In the world under a light, with highlights as seen from `eye` [3]; one code."""
        frames = self._binding.frames(code)  # type: ignore[attr-defined]
        posed = pose_gaussians(frames, code, self.attributes)
        normals = rotate(frames.rotations, self.normals)
        along = quaternion_to_matrix(torch.nn.functional.normalize(posed.quaternions, dim=-1))
        colors = light.shaded(
            posed.colors,
            normals,
            along[..., 0],
            torch.nn.functional.normalize(eye - posed.means, dim=-1),
            self.shadow,
            self.gloss,
            self.sharpness,
        )
        return posed._replace(colors=colors)


def synthetic_person(seed: int, head: HeadModel | None = None) -> SyntheticPerson:
    """The same person for the same seed, on whichever head model."""
    head = head or load_head("default")
    rng = np.random.default_rng([seed, 1])
    traits = random_traits(rng)
    return made_person(traits, random_identity(head, rng), head, rng)


def made_person(
    traits: Traits, identity: Tensor, head: HeadModel, rng: np.random.Generator
) -> SyntheticPerson:
    """Someone who looks as `traits` say; what they leave open is drawn."""
    body = scaffold(head, identity)
    parts = [skin.surface(body, traits, rng)]
    parts += accessories.clothes(body, traits, rng)
    parts += [hair.brows(body, traits, rng), hair.lashes(body, traits, rng)]
    parts += hair.head_hair(body, traits, rng)
    parts += [
        part
        for part in (hair.beard(body, traits, rng), accessories.glasses(body, traits, rng))
        if part is not None
    ]
    return _fastened(traits, head, identity, body, joined(parts))


def random_identity(head: HeadModel, rng: np.random.Generator) -> Tensor:
    """Weights of the identity modes; faces are less lopsided than they are different."""
    weights = rng.normal(0, _SPREAD, head.identity_count).clip(-_WIDEST, _WIDEST)
    weights *= 1 - 0.5 * head.identity_asymmetry.numpy()
    return torch.from_numpy(weights).float()


def _fastened(
    traits: Traits, head: HeadModel, identity: Tensor, body: Scaffold, splats: Splats
) -> SyntheticPerson:
    anchor = splats.anchor
    inverse = body.frames[anchor].transpose(0, 2, 1)

    def local(vectors: np.ndarray) -> Tensor:
        return _tensor(np.einsum("nij,nj->ni", inverse, vectors))

    chosen = torch.from_numpy(anchor)
    template = replace(
        body.template,
        triangle=body.template.triangle[chosen],
        barycentrics=body.template.barycentrics[chosen],
        part=body.template.part[chosen],
        layer=body.template.layer[chosen],
        spacing=body.template.spacing[chosen],
    )
    opacity = splats.opacity.clip(0.003, 0.997)
    attributes = Attributes(
        offsets=local(splats.points - body.points[anchor]),
        rotations=matrix_to_quaternion(_tensor(inverse @ splats.axes)),
        log_scales=_tensor(np.log(splats.scales)),
        opacity_logits=_tensor(np.log(opacity / (1 - opacity))),
        colors=_tensor(splats.colors),
    )
    return SyntheticPerson(
        traits=traits,
        head=head,
        identity=identity,
        template=template,
        attributes=attributes,
        normals=local(splats.normals),
        shadow=_tensor(splats.shadow),
        gloss=_tensor(splats.gloss),
        sharpness=_tensor(splats.sharpness),
    )


def _tensor(values: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, np.float32))
