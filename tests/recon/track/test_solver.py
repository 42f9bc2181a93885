"""The bounded step against a slow projected gradient; the prior's majoriser against its cost."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avatar3d.codes import ARKIT_INDEX, ARKIT_NAMES
from recon.track.code_prior import CodePrior, CodePriorSettings
from recon.track.solver import POSE, bounded_step

PRIOR = CodePrior(ARKIT_NAMES, np.full(52, 100.0), CodePriorSettings())


def _projected_gradient(hessian: np.ndarray, gradient: np.ndarray, codes: np.ndarray) -> np.ndarray:
    low = np.concatenate([np.full(POSE, -np.inf), -codes])
    high = np.concatenate([np.full(POSE, np.inf), 1 - codes])
    move = np.zeros_like(gradient)
    rate = 1 / np.linalg.eigvalsh(hessian)[-1]
    for _ in range(20_000):
        move = np.clip(move + rate * (gradient - hessian @ move), low, high)
    return move


@pytest.mark.parametrize("seed", range(5))
def test_bounded_step_is_the_minimum_in_the_box(seed: int) -> None:
    rng = np.random.default_rng(seed)
    basis = rng.normal(size=(40, POSE + 20))
    hessian = basis.T @ basis + 5 * np.eye(POSE + 20)
    gradient = rng.normal(size=POSE + 20) * 30
    codes = np.clip(rng.normal(0.2, 0.4, 20), 0, 1)
    truth = _projected_gradient(hessian, gradient, codes)
    # The step is damped by a thousandth.
    np.testing.assert_allclose(bounded_step(hessian, gradient, codes), truth, atol=5e-3)


code_pairs = st.integers(0, 2**32 - 1).map(
    lambda seed: np.random.default_rng(seed).uniform(size=(2, 1, 52)) ** 3
)


@settings(max_examples=30, deadline=None)
@given(code_pairs)
def test_the_prior_is_majorised(pair: np.ndarray) -> None:
    here, there = pair
    slope, curvature = PRIOR.linearise(here)
    move = there - here
    model = PRIOR.cost(here) + (slope * move).sum(-1)
    model += 0.5 * np.einsum("fi,fij,fj->f", move, curvature, move)
    # mouthClose above jawOpen is a hinge, whose tangent lies below where it switches on.
    switched = PRIOR.cost(there) <= model + 1e-9
    hinge_on = (
        there[0, ARKIT_INDEX["mouthClose"]] > there[0, ARKIT_INDEX["jawOpen"]]
        and here[0, ARKIT_INDEX["mouthClose"]] <= here[0, ARKIT_INDEX["jawOpen"]]
    )
    assert switched.all() or hinge_on


def test_the_prior_prefers_plain_codes() -> None:
    def cost(**values: float) -> float:
        codes = np.zeros((1, 52))
        for name, value in values.items():
            codes[0, ARKIT_INDEX[name]] = value
        return float(PRIOR.cost(codes)[0])

    both = cost(mouthSmileLeft=0.5, mouthSmileRight=0.5)
    assert both < 2 * cost(mouthSmileLeft=0.5)
    assert cost(eyeLookInLeft=0.5, eyeLookOutRight=0.5) < cost(eyeLookInLeft=0.5)
    assert cost(jawOpen=0.5) < cost(jawForward=0.5)
    assert cost(mouthClose=0.4, jawOpen=0.5) < cost(mouthClose=0.4)
    alone = cost(mouthSmileLeft=0.5) + cost(mouthFrownLeft=0.5)
    assert cost(mouthSmileLeft=0.5, mouthFrownLeft=0.5) > alone
