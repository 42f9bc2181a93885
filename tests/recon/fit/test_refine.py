"""Refinement on a tiny scene whose truth is an avatar: it nears it, and leaves alone what it
cannot see."""

from __future__ import annotations

from dataclasses import fields, replace
from functools import lru_cache

import numpy as np
import torch

from avatar3d.avatar import Attributes
from avatar3d.codes import ExpressionCode
from recon.fit.config import PoseRates, RefineConfig
from recon.fit.observation import Observation, sample
from recon.fit.refine import Refined, refine
from recon.fit.start import Start, start_attributes
from render.rasterize import rasterize
from tests.recon.fit.synthetic import CAMERA, COUNT, look, photograph, scene, turned
from tests.support.avatars import plain_avatar

CONFIG = RefineConfig(iterations=40, basis_rank=0, refine_codes=False)


@lru_cache(maxsize=1)
def truth() -> tuple[list[Observation], ExpressionCode]:
    """Two pictures of a motley head."""
    template = scene().template
    avatar = plain_avatar(COUNT)
    pattern = 0.5 + 0.3 * torch.sin(90 * template.neutral_points())
    covering = template.spacing.clamp(4e-4, 1e-2).log()[:, None].expand(-1, 3)
    attributes = replace(
        avatar.attributes, colors=pattern, log_scales=covering, opacity_logits=torch.full((COUNT,), 4.0)
    )  # fmt: skip
    codes = [turned(0.1), turned(-0.15, jawOpen=0.3)]
    shots = [photograph(replace(avatar, attributes=attributes), code) for code in codes]
    return shots, ExpressionCode.stack(codes)


@lru_cache(maxsize=1)
def start() -> Start:
    observations, codes = truth()
    sightings = [look(o, codes.at(index)) for index, o in enumerate(observations)]
    return start_attributes(scene().template, sightings, 0)


def refined(config: RefineConfig = CONFIG, codes: ExpressionCode | None = None) -> Refined:
    template, binding = scene()
    observations, tracked = truth()
    return refine(template, binding, start(), observations, codes or tracked, CAMERA, config)


def test_the_start_is_sound():
    attributes = start().attributes
    for field in fields(Attributes):
        value = getattr(attributes, field.name)
        assert value.shape[0] == COUNT
        assert value.dtype == torch.float32
        assert value.isfinite().all()
    for confidence in start().confidence:
        assert confidence.shape == (COUNT, 1)
        assert 0 <= confidence.min() < confidence.max() <= 1


def test_the_loss_falls():
    losses = refined().losses
    assert len(losses) >= 20
    # Frames and backgrounds alternate: four steps see each once.
    assert np.mean(losses[-4:]) < 0.8 * np.mean(losses[:4])


def test_what_no_frame_shows_stays_nearly_where_it_was():
    before, after = start().attributes, refined().attributes
    look_confidence = start().confidence.look[:, 0]
    seen, unseen = look_confidence > 0.9, look_confidence == look_confidence.min()
    assert seen.sum() > 300
    assert unseen.sum() > 300
    for name in ("offsets", "colors", "log_scales"):
        moved = (getattr(after, name) - getattr(before, name)).norm(dim=-1)
        assert moved[unseen].mean() < 0.2 * moved[seen].mean(), name


def test_limits_hold():
    after, footprint = refined().attributes, torch.from_numpy(start().footprint_m)
    low, high = CONFIG.scale_range
    relative = after.log_scales.exp() / footprint[:, None]
    assert relative.max() < high * 1.001
    assert relative.min() > low * 0.999
    assert after.offsets.abs().max() <= CONFIG.max_offset_m
    assert after.opacity_logits.abs().max() <= CONFIG.max_opacity_logit
    assert after.colors.min() >= 0


def test_where_frames_disagree_nothing_is_narrowed_or_looked_through():
    template, binding = scene()
    observations, codes = truth()
    steady = (torch.arange(COUNT) % 2).float()[:, None]
    swinging = steady[:, 0] == 0
    after = refine(
        template, binding, start(), observations, codes, CAMERA, CONFIG, steady=steady
    ).attributes
    before, footprint = start().attributes, torch.from_numpy(start().footprint_m)[:, None]
    least = torch.minimum(0.7 * footprint, before.log_scales.exp())
    scales = after.log_scales.exp()
    assert (scales >= 0.999 * least)[swinging].all()
    assert (scales < 0.8 * least)[~swinging].any()
    assert torch.equal(after.opacity_logits[swinging], before.opacity_logits[swinging])
    assert not torch.equal(after.opacity_logits[~swinging], before.opacity_logits[~swinging])


def test_a_seed_decides_everything():
    config = replace(CONFIG, iterations=10, basis_rank=2, refine_codes=True)
    one, again = refined(config), refined(config)
    assert one.losses == again.losses
    for field in fields(Attributes):
        a, b = (getattr(result.attributes, field.name) for result in (one, again))
        assert torch.equal(a, b), field.name
    for a, b in zip(one.codes, again.codes):
        assert torch.equal(a, b)


def test_codes_stay_when_they_are_not_refined():
    _, tracked = truth()
    for a, b in zip(refined(replace(CONFIG, iterations=4)).codes, tracked):
        torch.testing.assert_close(a, b)


def test_a_shifted_pose_is_brought_back():
    """The tracked head stands two millimetres aside; its pixels say so."""
    _, tracked = truth()
    aside = tracked.head_translation + torch.tensor([0.002, 0.0, 0.0])
    rates = PoseRates(translation=4e-4)  # in 60 steps; those of a fit are smaller
    config = replace(
        CONFIG, iterations=60, refine_codes=True, refine_codes_after=0.0, pose_rates=rates
    )
    # The attributes' start was made with the true poses, so only the pose is wrong.
    codes = refined(config, tracked._replace(head_translation=aside)).codes
    error = (codes.head_translation - tracked.head_translation)[:, 0].abs()
    assert error.mean() < 0.0013
    assert codes.coefficients.min() >= 0
    assert codes.coefficients.max() <= 1


def test_progress_is_told():
    template, binding = scene()
    observations, codes = truth()
    seen: list[tuple[int, int]] = []
    config = replace(CONFIG, iterations=3)
    result = refine(
        template, binding, start(), observations, codes, CAMERA, config,
        progress=lambda done, of: seen.append((done, of)),
    )  # fmt: skip
    total = len(result.losses)
    assert seen == [(done, total) for done in range(1, total + 1)]


def test_dark_specks_are_drawn_by_colour_not_by_holes_in_the_skin():
    """With the back of the head left out, a hole in the skin shows the backdrop and is no pore."""
    template, binding = scene()
    colors = np.full((96, 96, 3), 0.7, np.float32)
    colors[np.random.default_rng(0).random((96, 96)) < 0.15] = 0.05
    plain = photograph(plain_avatar(COUNT), turned())
    speckled = replace(plain, colors=colors)
    sighting = look(speckled, turned())
    first = start_attributes(template, [sighting], 0)
    back = sighting.behind_the_head(template)
    dark = torch.where(torch.from_numpy(back)[:, None], 0.02, first.attributes.colors)
    first = first._replace(attributes=replace(first.attributes, colors=dark))
    codes = ExpressionCode.stack([turned()])
    firm = replace(CONFIG, color_prior=60.0, texture_weight=2.0, iterations=60)

    def open_skin(hidden: list[np.ndarray] | None) -> float:
        found = refine(
            template, binding, first, [speckled], codes, CAMERA, firm, hidden=hidden
        ).attributes
        skin = template.is_part("face") & torch.from_numpy(sighting.normals[:, 2] > 0.3)
        frames = binding.frames(turned())
        avatar = plain_avatar(COUNT)
        gaussians = replace(avatar, attributes=found, basis=None, light=None).gaussians(turned())
        alone = gaussians._replace(opacities=gaussians.opacities * skin)
        alpha = rasterize(alone, CAMERA, background=torch.zeros(3)).alpha.numpy()
        cheeks = skin & (frames.positions[:, 1] < -0.02) & (frames.positions[:, 1] > -0.05)
        pixels, _ = sighting.project(frames.positions[cheeks].numpy())
        return float((1 - sample(alpha, pixels)).mean())

    assert open_skin([back]) < 0.7 * open_skin(None)
