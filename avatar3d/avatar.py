"""`Avatar`: a head's shape and the look of its Gaussians; codes in, Gaussians in the world out."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from avatar3d.binding import Binding, Frames
from avatar3d.codes import ExpressionCode
from avatar3d.fused.stage import Stage, why_not_fused
from avatar3d.gaussians import Gaussians
from avatar3d.geometry import quaternion_multiply, rotate
from avatar3d.heads import HeadModel
from avatar3d.light import shade
from avatar3d.template import Template, make_template

PosePath = Literal["auto", "torch", "fused"]


@dataclass(frozen=True)
class Attributes:
    """What differs between people, at the template's anchors. All tensors are float32."""

    offsets: Tensor  # [N, 3] metres in the anchor's frame (tangent, bitangent, normal)
    rotations: Tensor  # [N, 4] wxyz in the anchor's frame
    log_scales: Tensor  # [N, 3] ln metres along the rotated axes
    opacity_logits: Tensor  # [N]
    colors: Tensor  # [N, 3] sRGB albedo in 0..1 (under the light; as photographed when baked)

    def prefix(self, count: int) -> Attributes:
        return Attributes(*(getattr(self, f.name)[:count] for f in fields(self)))


@dataclass(frozen=True)
class ExpressionBasis:
    """A low-rank change of the attributes with the code: wrinkles, the mouth's inside.

    weights(code) = (coefficients - mean) @ projection, held within what the support frames showed,
    because beyond it nothing was learned; attributes += sum_k weights_k * basis_k.
    """

    mean: Tensor  # [E]
    projection: Tensor  # [E, K]
    offsets: Tensor  # [K, N, 3] metres
    colors: Tensor  # [K, N, 3]
    limits: Tensor  # [2, K] least and greatest weights

    def weights(self, coefficients: Tensor) -> Tensor:
        """Weights [..., K] of coefficients [..., E]."""
        count = min(coefficients.shape[-1], len(self.mean))
        weights = (coefficients[..., :count] - self.mean[:count]) @ self.projection[:count]
        return torch.minimum(torch.maximum(weights, self.limits[0]), self.limits[1])

    def change(self, weights: Tensor) -> tuple[Tensor, Tensor]:
        """What weights [..., K] add to offsets and to colours, [..., N, 3] each."""
        return (
            torch.einsum("...k,knc->...nc", weights, self.offsets),
            torch.einsum("...k,knc->...nc", weights, self.colors),
        )


@dataclass(frozen=True)
class Avatar:
    """A person's head that moves: `avatar.gaussians(code)`."""

    head: HeadModel
    identity: Tensor  # [I] weights of the head's identity modes
    attributes: Attributes
    basis: ExpressionBasis | None = None
    light: Tensor | None = (
        None  # [9, 3] SH irradiance in the world (see `avatar3d.light`), or baked
    )
    provenance: dict[str, Any] = field(default_factory=dict)  # inputs, tool, settings, consent

    @property
    def count(self) -> int:
        return self.attributes.offsets.shape[0]

    @cached_property
    def template(self) -> Template:
        return make_template(self.head, self.count)

    @cached_property
    def binding(self) -> Binding:
        return Binding(self.template, self.identity)

    def gaussians(self, code: ExpressionCode, *, path: PosePath = "auto") -> Gaussians:
        """The avatar's Gaussians in the world for one code or a batch, ready to rasterize.

        path: "torch" is the definition, differentiable in the code and, where they require it, in
            the attributes. "fused" gives the same within rounding on a CPU, without gradients and
            many times as fast. "auto" takes it where it can: float32 on the CPU, no gradient
            wanted, Numba installed.
        """
        if path not in ("auto", "torch", "fused"):
            raise ValueError(f"path is 'auto', 'torch' or 'fused', got {path!r}")
        if path != "torch":
            obstacle = why_not_fused(self, code)
            if obstacle is None:
                return self._stage().gaussians(code)
            if path == "fused":
                raise ValueError(f"the fused path cannot pose this: {obstacle}")
        return pose_gaussians(
            self.binding.frames(code),
            code,
            self.attributes,
            basis=self.basis,
            light=self.light,
            lit=self.template.lit,
        )

    def _stage(self) -> Stage:
        """The fused path's arrays, laid out at its first use."""
        stage = self.__dict__.get("_laid_out")
        if stage is None or not stage.is_current(self):
            stage = self.__dict__["_laid_out"] = Stage(self)
        return stage

    def __getstate__(self) -> dict[str, Any]:
        """What copies and other processes get: the person, not what was derived from it."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def level(self, count: int) -> Avatar:
        """A coarser avatar: the first `count` Gaussians, grown to cover what the others did."""
        if count >= self.count:
            return self
        attributes = self.attributes.prefix(count)
        growth = 0.5 * float(torch.log(torch.tensor(self.count / count)))
        attributes = replace(attributes, log_scales=attributes.log_scales + growth)
        basis = self.basis and replace(
            self.basis, offsets=self.basis.offsets[:, :count], colors=self.basis.colors[:, :count]
        )
        return replace(self, attributes=attributes, basis=basis)

    def save(self, path: str | Path) -> None:
        """Write a `.avatar` file; it appears whole or not at all."""
        from avatar3d.asset import write_avatar

        write_avatar(self, Path(path))

    @staticmethod
    def load(path: str | Path, head: HeadModel | None = None) -> Avatar:
        """Read a `.avatar` file; `head` is needed only for heads that are not on this machine."""
        from avatar3d.asset import read_avatar

        return read_avatar(Path(path), head)


def pose_gaussians(
    frames: Frames,
    code: ExpressionCode,
    attributes: Attributes,
    basis: ExpressionBasis | None = None,
    light: Tensor | None = None,
    lit: Tensor | None = None,
) -> Gaussians:
    """Attributes on posed anchors -> Gaussians in the world.

    mean = p + R offset; rotation = R r; scales along tangent and bitangent grow with the skin.
    The light [9, 3] multiplies the colours of the anchors in `lit` [N] (all, when None).
    """
    offsets, colors = attributes.offsets, attributes.colors
    if basis is not None:
        moved, tinted = basis.change(basis.weights(code.coefficients))
        offsets, colors = offsets + moved, colors + tinted
    means = frames.positions + rotate(frames.rotations, offsets)
    local = torch.nn.functional.normalize(attributes.rotations, dim=-1)
    quaternions = quaternion_multiply(frames.quaternions, local)
    growth = torch.cat([frames.stretch, torch.ones_like(frames.stretch[..., :1])], dim=-1)
    if light is not None:
        colors = colors * shade(light, frames.rotations[..., :, 2], lit)
    batch = means.shape[:-2]
    return Gaussians(
        means=means,
        quaternions=quaternions,
        scales=attributes.log_scales.exp() * growth,
        opacities=attributes.opacity_logits.sigmoid().expand(*batch, -1),
        colors=colors.clamp(min=0.0).expand(*batch, -1, -1),
    )
