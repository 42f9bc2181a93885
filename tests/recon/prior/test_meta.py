"""What an episode teaches: gradients of the prior through renders, at once and after refinement."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import recon.prior.meta as meta
from avatar3d.avatar import Attributes
from recon.fit.config import RefineConfig
from recon.fit.refine import refine
from recon.fit.start import Confidence, Start
from recon.prior.features import FEATURE_COUNT, anchor_features
from recon.prior.meta import Judge, backward, values_of
from recon.prior.prior import LearnedSteps, Prior, apply_residuals, untrained
from recon.prior.surface import surface_of
from render.losses import prepare_target
from tests.recon.fit.synthetic import scene
from tests.recon.prior.synthetic import episode


def stirred() -> Prior:
    """An untrained prior whose last layers are not zero."""
    torch.manual_seed(0)
    prior = untrained()
    for head in (prior.network.attributes, prior.network.light):
        torch.nn.init.normal_(head.weight, std=0.05)
    steps = LearnedSteps(*(step.clone().requires_grad_() for step in prior.steps))
    return replace(prior, steps=steps)


def answered(prior: Prior):
    surface = surface_of(scene().template)
    one = episode()
    features = anchor_features(one.start, surface, one.support_codes.coefficients)
    assert features.shape == (scene().template.count, FEATURE_COUNT)
    residuals = prior.network(features, surface)
    return apply_residuals(
        one.start, residuals, surface, prior.steps, one.support_codes.coefficients
    )


def test_an_untrained_prior_changes_nothing() -> None:
    template, start = scene().template, episode().start
    moved = untrained().start(start, template, episode().support_codes.coefficients)
    assert moved.learned
    assert moved.basis is None
    for name, value in values_of(start).items():
        torch.testing.assert_close(values_of(moved)[name], value, msg=name)
    for own, same in zip(moved.confidence, start.confidence):
        torch.testing.assert_close(own, same)


def test_gradients_in_two_parts_are_those_of_the_whole() -> None:
    """Render gradients taken at the values, then handed on, against one graph from end to end."""
    prior = stirred()
    judge = Judge(episode(), scene().template)
    start = answered(prior)
    loss, gradients = judge.gradients(start, [0, 2], 1)
    backward(start, gradients)
    by_parts = [p.grad.clone() for p in prior.network.parameters() if p.grad is not None]

    prior.network.zero_grad()
    start = answered(prior)
    whole = (judge.loss(start, 0, 1) + judge.loss(start, 2, 1)) / 2
    whole.backward()
    assert loss == pytest.approx(float(whole.detach()), rel=1e-5)
    at_once = [p.grad for p in prior.network.parameters() if p.grad is not None]
    assert len(at_once) == len(by_parts) > 10
    for ours, theirs in zip(by_parts, at_once):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-7)


def test_what_is_far_off_weighs_more_than_what_is_near(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of the pixels wrong by .2 against all of them by .1: alike in L1, not in squares."""
    truth = torch.full((12, 12, 3), 0.4)
    target = prepare_target(truth, torch.ones(12, 12))
    near, far = truth + 0.1, truth.clone()
    far[:6] += 0.2
    assert (near - truth).abs().mean() == pytest.approx(float((far - truth).abs().mean()))
    assert float(meta._squared(near, target)) == pytest.approx(0.01, rel=1e-4)
    assert float(meta._squared(far, target)) == pytest.approx(0.02, rel=1e-4)
    start, judge = answered(stirred()), Judge(episode(), scene().template)
    whole = float(judge.loss(start, 0, 0).detach())
    monkeypatch.setattr(meta, "_SQUARED_WEIGHT", 0.0)
    assert float(judge.loss(start, 0, 0).detach()) < whole


def test_without_steps_refinement_teaches_what_the_answer_teaches() -> None:
    judge, prior = Judge(episode(), scene().template), stirred()
    still = RefineConfig(iterations=0, iterations_per_frame=0, max_iterations=0)
    start = answered(prior)
    loss, gradients = judge.gradients(start, [1], 0)
    after, same = judge.gradients_after_refinement(start, scene().template, [1], 0, still)
    assert after == pytest.approx(loss, rel=1e-6)
    for name, gradient in gradients.items():
        torch.testing.assert_close(same[name], gradient, msg=name)
    for name in ("look", "opacity", "geometry"):
        assert not same[f"confidence.{name}"].any()


def test_the_slope_by_confidence_is_that_of_longer_steps() -> None:
    """Every colour's way a little longer, its direction as it was: the loss changes as predicted."""
    one, template = episode(), scene().template
    judge, start = Judge(one, template), still(answered(stirred()))
    config = RefineConfig(iterations=12, iterations_per_frame=0, refine_codes=False, basis_rank=0)
    _, gradients = judge.gradients_after_refinement(start, template, [0], 0, config)
    predicted = float((gradients["confidence.look"] * start.confidence.look).sum())

    views = [view.observation(one.valid) for view in one.support]
    ended = refine(template, judge.binding, start, views, one.support_codes, one.camera, config)

    def loss(length: float) -> float:
        way = ended.attributes.colors - start.attributes.colors
        colors = start.attributes.colors + length * way
        there = replace(ended.attributes, colors=colors)
        with torch.no_grad():
            return float(judge.loss(start._replace(attributes=there, basis=ended.basis), 0, 0))

    slope = (loss(1.05) - loss(0.95)) / 0.1
    assert abs(slope) > 1e-5
    assert slope == pytest.approx(predicted, rel=0.1, abs=2e-5)


def still(start: Start) -> Start:
    """The start without its graph."""
    assert start.light is not None
    return start._replace(
        attributes=Attributes(*(value.detach() for value in start.attributes.__dict__.values())),
        confidence=Confidence(*(value.detach() for value in start.confidence)),
        light=start.light.detach(),
    )


def test_what_faces_away_stays_as_the_fit_filled_it() -> None:
    start, prior = episode().start, stirred()
    moved = prior.start(start, scene().template, torch.zeros(1, 52)).attributes
    behind = start.facing < -0.3
    assert behind.any()
    for name in ("offsets", "log_scales", "opacity_logits", "colors"):
        own, same = getattr(moved, name), getattr(start.attributes, name)
        torch.testing.assert_close(own[behind], same[behind], msg=name)
        assert not torch.allclose(own[~behind], same[~behind])
