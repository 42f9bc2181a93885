"""The mean of two priors: between them weight by weight, and a file like theirs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from avatar3d.errors import UserError
from recon.prior.mean import main
from recon.prior.prior import LearnedSteps, Prior, untrained
from recon.prior.weights import read_prior, save_prior


def _shifted(by: float) -> Prior:
    prior = untrained()
    with torch.no_grad():
        for index, value in enumerate(prior.network.parameters()):
            value.add_(by * (1 + index % 3))
    return replace(prior, steps=LearnedSteps(*(value + by for value in prior.steps)))


def test_the_mean_lies_between(tmp_path: Path) -> None:
    paths = [tmp_path / "old.safetensors", tmp_path / "new.safetensors"]
    for path, by in zip(paths, (0.25, -0.125)):
        save_prior(_shifted(by), path, {"people": path.stem})
    main(tuple(paths), output=tmp_path / "mean.safetensors")
    old, new, mean = (read_prior(path) for path in (*paths, tmp_path / "mean.safetensors"))
    for own, a, b in zip(*(p.network.parameters() for p in (mean, old, new))):
        torch.testing.assert_close(own, (a + b) / 2, atol=1e-3, rtol=1e-3)
    for own, a, b in zip(mean.steps, old.steps, new.steps):
        torch.testing.assert_close(own, (a + b) / 2, atol=1e-3, rtol=1e-3)
    with safe_open(str(tmp_path / "mean.safetensors"), "pt") as file:
        facts = json.loads(file.metadata()["facts"])
    assert [facts["people"] for facts in facts["mean_of"]] == ["old", "new"]


def test_one_prior_has_no_mean(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="two priors or more, got 1"):
        main((tmp_path / "one.safetensors",), output=tmp_path / "mean.safetensors")
    assert not list(tmp_path.iterdir())
