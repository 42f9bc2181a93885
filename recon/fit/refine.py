"""Photometric refinement: a few hundred steps that make the avatar match its support frames.

L1 + SSIM on the matted crop, L1 on the matte and on how much fine detail there is
(`recon.fit.texture`), one frame a step, attributes under Adam. Pose and
code of the frame are refined with it, because landmarks alone leave more than a decibel behind.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor

from avatar3d.avatar import Attributes, ExpressionBasis
from avatar3d.binding import Binding
from avatar3d.camera import Camera
from avatar3d.codes import ExpressionCode
from avatar3d.fused.anchors import anchors_of
from avatar3d.fused.gradient import Members
from avatar3d.template import SKIN, Template
from recon.fit.colors import MAX_ALBEDO
from recon.fit.config import RefineConfig
from recon.fit.frame_pose import FramePose, Light
from recon.fit.observation import Observation
from recon.fit.pose import pose_gaussians, spread
from recon.fit.regularity import Smoothness
from recon.fit.shots import Shots
from recon.fit.start import Start
from recon.fit.steps import Regularity, Steps
from recon.fit.target import BACKGROUNDS
from recon.fit.texture import agreement, coarse_grey, texture_energy
from render.losses import photometric_loss
from render.rasterize import rasterize

_SKIN_FOOTPRINT_M = 0.0013
_EXPRESSIVE = (
    "face", "eyelids", "left_eyeball", "right_eyeball",
    "upper_teeth", "lower_teeth", "gums", "mouth", "tongue",
)  # fmt: skip
# Longer strokes, in footprints, of a lid lie across the line where it meets the other; those of an
# eyeball draw lashes that turn with the gaze, and those of teeth the gap between the lips.
_SHORT = ("eyelids", "left_eyeball", "right_eyeball", "upper_teeth", "lower_teeth")
_SHORT_SCALE = 1.3
_SWINGING_SCALE = 0.7  # footprints: no narrower, unless it starts so, where frames agree on nothing
_ELSEWHERE = 0.3  # of the face's freedom


@dataclass(frozen=True)
class Refined:
    attributes: Attributes
    basis: ExpressionBasis | None
    codes: ExpressionCode  # [F, ...] of the support frames, refined on their pixels
    losses: list[float]  # one an iteration


def refine(
    template: Template,
    binding: Binding,
    start: Start,
    observations: Sequence[Observation],
    codes: ExpressionCode,
    camera: Camera,
    config: RefineConfig,
    progress: Callable[[int, int], None] | None = None,
    hidden: Sequence[np.ndarray] | None = None,
    steady: Tensor | None = None,
) -> Refined:
    """Refine attributes, expression basis and the frames' codes from a start, on the device where the
    start's attributes lie; binding, codes and camera must lie there too.

    hidden: of each frame, a mask [N] of the anchors that stand behind the head there. They are left
    out, so that a hole in the skin shows the backdrop: seen through it, the dark back of the head is
    the cheapest way to draw a pore.
    steady: [N, 1] how far the frames agree on an anchor (`recon.fit.steadiness`), 1 if not given.
    """
    device = start.attributes.colors.device
    shots = Shots(observations, camera, config.close_ups, config.seed)
    model = _Model(template, start, codes, config, steady)
    anchors = anchors_of(binding)
    light = Light(start.light, template.lit.to(device))
    poses = [
        FramePose(codes.at(index), light, config.pose_rates) for index in range(len(observations))
    ]
    order = _FrameOrder(len(observations), config.seed)
    visible = [torch.from_numpy(~mask).float().to(device) for mask in hidden or ()]
    losses = []
    texture_weight = config.texture_weight_for(len(observations))
    steps = config.iterations_for(len(observations))
    for iteration in range(steps):
        decay = 0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * iteration / steps))
        refine_pose = config.refine_codes and iteration >= config.refine_codes_after * steps
        frame = order.next()
        pose = poses[frame]
        shot = shots.take(frame, iteration // len(observations) % len(BACKGROUNDS))
        frames, code, shade = pose.frames(anchors, refine_pose)
        gaussians = pose_gaussians(
            frames, code, model.attributes, model.basis, shade, model.members
        )
        if visible:
            gaussians = gaussians._replace(opacities=gaussians.opacities * visible[frame])
        rendering = rasterize(gaussians, shot.camera, background=shot.background)
        loss = photometric_loss(rendering.colors, shot.picture, config.ssim_weight)
        alpha_loss = ((rendering.alpha - shot.matte).abs() * shot.weight).sum()
        texture = (texture_energy(rendering.colors) - shot.texture).abs()
        agreed = agreement(coarse_grey(rendering.colors.detach()), shot.coarse)
        texture_loss = (texture * shot.texture_weight * agreed).sum()
        total = loss + config.alpha_weight * alpha_loss + texture_weight * texture_loss
        total.backward()
        model.step(decay)
        if refine_pose:
            pose.step(decay)
        losses.append(float(loss.detach()))
        if progress:
            progress(iteration + 1, steps)
    return Refined(
        attributes=model.detached_attributes(),
        basis=model.detached_basis(),
        codes=ExpressionCode.stack([pose.code() for pose in poses]),
        losses=losses,
    )


class _Model:
    """Attributes and basis on their way from the start, with their regularity and limits."""

    def __init__(
        self,
        template: Template,
        start: Start,
        codes: ExpressionCode,
        config: RefineConfig,
        steady: Tensor | None,
    ) -> None:
        self.attributes = Attributes(
            *(
                getattr(start.attributes, f.name).clone().requires_grad_()
                for f in fields(Attributes)
            )
        )
        self.members = Members(_seen(start), template.count)
        self._told = start.basis
        self.basis = _start_basis(codes.coefficients, self.members, config.basis_rank, start.basis)
        device = self.attributes.colors.device
        self._smoothness = Smoothness(template, device)
        footprint_m = torch.from_numpy(start.footprint_m).to(device)[:, None]
        footprint = footprint_m.log()
        low, high = (footprint + math.log(limit) for limit in config.scale_range)
        short = template.is_part(*_SHORT).to(device)[:, None]
        high = torch.where(short, high.clamp(max=footprint + math.log(_SHORT_SCALE)), high)
        values, rates = self.attributes, config.learning_rates
        look, opacity, geometry = start.confidence
        if steady is not None:
            steady = steady.to(device)
            opacity = opacity * steady
            start_scales = start.attributes.log_scales
            floor = (footprint + math.log(_SWINGING_SCALE)).minimum(start_scales).maximum(low)
            low = torch.lerp(low.expand_as(floor), floor, 1 - steady)
        # Hair and sheet are coarser than skin: they move in steps of their own size.
        coarse = footprint_m / _SKIN_FOOTPRINT_M
        reach_m = geometry * coarse.clamp(0.5, 4.0)
        logit, reach = config.max_opacity_logit, config.max_offset_m
        share = 1.0 / len(codes.coefficients)
        hold = config.learned_color_prior if start.learned else config.color_prior
        color = Regularity(share * config.color_smoothness, share * hold)
        self._steps = [
            Steps(values.offsets, reach_m, rates.offsets, _around(values.offsets.detach(), reach)),
            Steps(values.rotations, geometry, rates.rotations),
            Steps(values.log_scales, geometry, rates.log_scales, (low, high)),
            Steps(values.opacity_logits, opacity[:, 0], rates.opacity_logits, (-logit, logit)),
            Steps(values.colors, look, rates.colors, (0.0, MAX_ALBEDO), color),
        ]
        if self.basis is not None:
            free = torch.where(_moved_by_expression(template), 1.0, _ELSEWHERE)[:, None].to(device)
            chosen = torch.from_numpy(self.members.anchors).to(device)
            told = 0 if start.basis is None else len(start.basis.offsets)
            pace = _pace(self.basis, codes.coefficients, told)
            self._steps += [
                Steps(self.basis.offsets, pace * (free * reach_m)[chosen], rates.basis_offsets),
                Steps(self.basis.colors, pace * (free * look)[chosen], rates.basis_colors),
            ]

    def step(self, decay: float) -> None:
        for steps in self._steps:
            steps.take(self._smoothness, decay)

    def detached_attributes(self) -> Attributes:
        return Attributes(*(getattr(self.attributes, f.name).detach() for f in fields(Attributes)))

    def detached_basis(self) -> ExpressionBasis | None:
        """Of all anchors. What a prior says of those that no frame shows stays."""
        if self.basis is None:
            return None
        offsets, colors = self.basis.offsets.detach(), self.basis.colors.detach()
        basis = replace(self.basis, offsets=offsets, colors=colors)
        basis = spread(basis, self.members, len(self.attributes.colors))
        if self._told is not None:
            unseen = torch.ones(len(self.attributes.colors), dtype=torch.bool)
            unseen[torch.from_numpy(self.members.anchors)] = False
            for rows, told in (
                (basis.offsets, self._told.offsets),
                (basis.colors, self._told.colors),
            ):
                rows[: len(told), unseen] = told[:, unseen]
        return basis


def _around(start: Tensor, reach: float) -> tuple[Tensor, Tensor]:
    """Limits of +-reach that let what starts beyond them stay there."""
    return start.clamp(max=-reach), start.clamp(min=reach)


class _FrameOrder:
    """Every frame once, in random order, before any comes again."""

    def __init__(self, count: int, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        self._count = count
        self._queue: list[int] = []

    def next(self) -> int:
        if not self._queue:
            self._queue = self._random.permutation(self._count).tolist()
        return self._queue.pop()


def _seen(start: Start) -> np.ndarray:
    """The anchors that some frame sees, in order: others learn nothing of expressions."""
    return torch.nonzero(start.confidence.geometry[:, 0])[:, 0].cpu().numpy()


def _moved_by_expression(template: Template) -> Tensor:
    """Mask [N] of the anchors that the expression basis moves freely.

    Hair and clothes swing with the clip, not with the face: a basis that may explain them learns
    by which frames they did. Not at all is worse at 32 frames, by .1 dB of the head.
    """
    return template.is_part(*_EXPRESSIVE) & (template.layer == SKIN)


def _start_basis(
    coefficients: Tensor, members: Members, rank: int, told: ExpressionBasis | None
) -> ExpressionBasis | None:
    """What a prior tells, and a basis whose weights are the frames' principal codes, whitened, which
    changes nothing yet. Its rows are the members'."""
    own = _own_basis(coefficients, members.count, rank)
    if told is None:
        return own
    chosen = torch.from_numpy(members.anchors)
    rows = [told.offsets[:, chosen].detach(), told.colors[:, chosen].detach()]
    projection, limits = told.projection, told.limits
    if own is not None:
        rows = [
            torch.cat([first, more.detach()])
            for first, more in zip(rows, (own.offsets, own.colors))
        ]
        projection = torch.cat([projection, own.projection], dim=1)
        limits = torch.cat([limits, own.limits], dim=1)
    offsets, colors = (values.requires_grad_() for values in rows)
    return ExpressionBasis(told.mean, projection, offsets, colors, limits)


def _pace(basis: ExpressionBasis, coefficients: Tensor, told: int) -> Tensor:
    """How far frames with coefficients [F, E] teach each of a basis's rows, [K, 1, 1] 0..1: their own
    wholly, and the first ones, which were told, as much as the frames make that movement.

    Adam makes whole steps of whatever gradient there is, and of a movement that no frame makes it is
    noise: eyes come to stare at every pout.
    """
    varied = basis.weights(coefficients).std(0, unbiased=False).clamp(max=1.0)
    varied[told:] = 1.0
    return varied[:, None, None]


def _own_basis(coefficients: Tensor, count: int, rank: int) -> ExpressionBasis | None:
    frames = len(coefficients)
    mean = coefficients.mean(0)
    _, singular, directions = torch.linalg.svd(coefficients - mean, full_matrices=False)
    # A direction that the frames hardly vary along cannot be learned from them.
    rank = min(rank, frames // 4, int((singular > 0.05 * math.sqrt(frames)).sum()))
    if rank == 0:
        return None
    scale = singular[:rank] / math.sqrt(frames) + 0.03
    projection = directions[:rank].T / scale
    weights = (coefficients - mean) @ projection
    return ExpressionBasis(
        mean=mean,
        projection=projection,
        limits=torch.stack([weights.min(0).values, weights.max(0).values]),
        offsets=mean.new_zeros(rank, count, 3, requires_grad=True),
        colors=mean.new_zeros(rank, count, 3, requires_grad=True),
    )
