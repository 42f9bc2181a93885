"""Tracked support frames -> avatar: look, start, refine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from avatar3d.avatar import Avatar
from avatar3d.binding import Binding
from avatar3d.codes import ExpressionCode
from avatar3d.geometry import quaternion_to_matrix
from avatar3d.template import Template, make_template
from recon.fit.config import RefineConfig
from recon.fit.eyes import with_whole_eyes
from recon.fit.hues import with_even_hues
from recon.fit.lids import with_lids, with_opaque_eyes
from recon.fit.light import shading
from recon.fit.observation import (
    Observation,
    Sighting,
    a_few,
    area_with_closed_eyes,
    sight,
)
from recon.fit.outline import within_outline
from recon.fit.refine import refine
from recon.fit.seams import without_seams
from recon.fit.start import Start, start_attributes
from recon.fit.steadiness import steadiness
from recon.fit.strays import with_even_scalp, without_strays
from recon.fit.teeth import with_own_mouth, with_plain_teeth
from recon.fit.unseen_back import with_plain_back
from recon.fit.unseen_hair import with_hair_all_round
from recon.track.calibrate import calibrate
from recon.track.tracking import Tracking


@dataclass(frozen=True)
class FitConfig:
    """What the fit makes: how many Gaussians, from pictures of what size, refined how."""

    gaussian_count: int = 40_000
    # How firmly the light is held to neutral; None bakes it into the colours.
    light_ridge: float | None = 0.1
    refine: RefineConfig = field(default_factory=RefineConfig)


class Prior(Protocol):
    """What other people taught: `recon.prior.Prior`, which stands above the fit."""

    def start(self, start: Start, template: Template, coefficients: Tensor) -> Start:
        """The start as it should be, given support frames with coefficients [F, E]."""
        ...


@dataclass(frozen=True)
class Fit:
    avatar: Avatar
    codes: ExpressionCode  # [F, ...] of the support frames, refined
    tracking: Tracking  # for new frames: with landmarks given, calibrated to the refined codes
    start: Avatar  # before refinement: what refinement must beat
    losses: list[float]


def fit_avatar(
    tracking: Tracking,
    observations: Sequence[Observation],
    config: FitConfig | None = None,
    progress: Callable[[int, int], None] | None = None,
    landmarks: np.ndarray | None = None,
    prior: Prior | None = None,
) -> Fit:
    """An avatar of the tracked person from their support frames.

    With the frames' `landmarks` [F, 478, 3] (px of the tracking's camera) the tracker learns where
    this person's landmarks lie once pixels have put head and expression in place, so that frames
    which have landmarks only land there too. A `prior` moves the start to where those of other
    people had to go.
    """
    config = config or FitConfig()
    template = make_template(tracking.head, config.gaussian_count)
    binding = Binding(template, tracking.identity)
    with torch.no_grad():
        sightings = look_at(observations, template, binding, tracking)
        frontal = most_frontal(tracking.codes)
        start = start_attributes(template, sightings, frontal, config.light_ridge)
        look = start.confidence.look
        start = with_prior(prior, template, start, tracking.codes.coefficients, sightings)
        hidden = [sighting.behind_the_head(template) for sighting in sightings]
        steady = steadiness(template, start.attributes, sightings, hidden)
    refined = refine(
        template, binding, start, observations, tracking.codes, tracking.camera, config.refine,
        progress=progress, hidden=hidden, steady=steady,
    )  # fmt: skip
    unrefined = Avatar(
        tracking.head, tracking.identity, start.attributes, start.basis, light=start.light
    )
    avatar = replace(unrefined, attributes=refined.attributes, basis=refined.basis)
    with torch.no_grad():
        few = list(a_few(range(len(observations))))
        refined_few = replace(tracking, codes=refined.codes.at(torch.tensor(few)))
        placed = look_at([observations[frame] for frame in few], template, binding, refined_few)
        avatar = finished(avatar, start, look, refined.codes, placed)
    if landmarks is not None:
        tracking = calibrate(tracking, landmarks, refined.codes)
    return Fit(
        avatar=avatar,
        codes=refined.codes,
        tracking=tracking,
        start=unrefined,
        losses=refined.losses,
    )


def with_prior(
    prior: Prior | None,
    template: Template,
    start: Start,
    coefficients: Tensor,
    sightings: Sequence[Sighting],
) -> Start:
    """Where refinement starts: what a prior answers, but for what it cannot know of eyes and mouth."""
    if prior is not None:
        learned = prior.start(start, template, coefficients)
        learned = with_own_mouth(template, learned, start)
        start = with_opaque_eyes(template, learned, start)
    start = with_whole_eyes(template, start, sightings)
    return with_plain_teeth(template, start, sightings)


def finished(
    avatar: Avatar,
    start: Start,
    look: Tensor,
    codes: ExpressionCode,
    sightings: Sequence[Sighting],
) -> Avatar:
    """What the frames show is learned; now what they do not show, or as briefly as a blink, is made
    to go with it.

    look: [N, 1] how well the frames show each anchor's colour, 0..1, before any prior. codes: of
    the frames. sightings: of a few of them, at these codes.
    """
    template = avatar.template
    still = avatar.gaussians(ExpressionCode.neutral()).means
    attributes = with_even_hues(template, avatar.attributes)
    attributes = without_strays(template, still, attributes, len(codes.coefficients))
    attributes = with_even_scalp(template, attributes)
    shade = torch.from_numpy(shading(start.light, start.normals.numpy(), template.lit.numpy()))
    attributes = without_seams(template, attributes, look, shade)
    attributes = with_plain_back(template, attributes, look, shade)
    resting = avatar.binding.frames(ExpressionCode.neutral())
    attributes = with_hair_all_round(template, attributes, resting, look, shade)
    attributes = within_outline(template, attributes, look[:, 0].numpy(), sightings)
    avatar = replace(avatar, attributes=attributes)
    return with_lids(avatar, codes, look[:, 0].numpy())


def look_at(
    observations: Sequence[Observation],
    template: Template,
    binding: Binding,
    tracking: Tracking,
) -> list[Sighting]:
    """The anchors as every support frame shows them, at the tracked codes."""
    surface = template.head.rig(tracking.identity)
    closed_eyes = area_with_closed_eyes(binding)
    return [
        sight(
            observation,
            template,
            binding,
            surface,
            tracking.codes.at(index),
            tracking.camera,
            closed_eyes,
        )
        for index, observation in enumerate(observations)
    ]


def most_frontal(codes: ExpressionCode) -> int:
    """The frame [F] whose face looks most nearly into the camera; yaw counts more than pitch."""
    forward = quaternion_to_matrix(codes.head_rotation)[:, :, 2]
    return int((forward[:, 0].abs() + 0.5 * forward[:, 1].abs()).argmin())
