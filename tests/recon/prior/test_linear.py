"""The linear prior and the folds, on an episode of a person who is nobody."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from avatar3d.errors import UserError
from recon.benchmark.ours import Ours
from recon.prior import folds, learn_linear, linear
from recon.prior.episodes import save_episode
from recon.prior.surface import surface_of
from recon.prior.weights import load_any
from tests.recon.fit import synthetic as scene
from tests.recon.prior.synthetic import episode


def line(anchors: int = 100, value: float = 0.0) -> linear.Line:
    """Says `value` of every colour of everybody."""
    weights = torch.zeros(linear.FEATURES, anchors, linear.FIELDS)
    weights[0, :, :3] = value
    ones = torch.ones(linear.FEATURES)
    middle = torch.cat([torch.zeros(1), 0.5 * ones[1:]])
    return linear.Line(weights, middle, ones, torch.ones(anchors, 3), torch.tensor([1.0, 0.5, 0.2]))


def test_what_is_said_of_everybody_is_said_of_one() -> None:
    template, start = scene.scene().template, episode().start
    told = linear.LinearPrior(line(value=0.05)).start(start, template, torch.zeros(1, 52))
    moved = told.attributes.colors - start.attributes.colors
    torch.testing.assert_close(moved, torch.full_like(moved, 0.05), atol=1e-5, rtol=0)
    torch.testing.assert_close(told.attributes.offsets, start.attributes.offsets)
    later = linear.LinearPrior(line(value=0.05)).start(start, template, torch.zeros(8, 52))
    less = later.attributes.colors - start.attributes.colors
    torch.testing.assert_close(less, 0.2 * moved, atol=1e-5, rtol=0)
    still = linear.LinearPrior(line()).start(start, template, torch.zeros(1, 52))
    torch.testing.assert_close(still.attributes.colors, start.attributes.colors)


def test_shares_are_interpolated_in_the_logarithm() -> None:
    shares = torch.tensor([1.0, 0.6, 0.2])
    found = [linear.share_at(count, shares) for count in (1, 2, 3, 8, 32)]
    assert found == sorted(found, reverse=True)
    assert found[0] == 1
    assert found[2:] == pytest.approx([0.6, 0.2, 0.2])
    assert 0.6 < found[1] < 0.9


def test_a_residual_takes_the_start_to_the_fit_under_its_own_light() -> None:
    start = episode().start
    fitted = replace(start.attributes, colors=(start.attributes.colors + 0.02))
    moved = linear.residual(start, start._replace(attributes=fitted))
    torch.testing.assert_close(moved[:, :3], torch.full_like(moved[:, :3], 0.02))
    assert not moved[:, 3:].any()
    assert start.light is not None
    brighter = start._replace(light=2 * start.light, attributes=replace(
        start.attributes, colors=start.attributes.colors / 2))  # fmt: skip
    assert linear.residual(start, brighter)[:, :3].abs().max() < 1e-5, "the same look"


def test_ridge_learns_the_mean_and_what_goes_with_a_feature() -> None:
    torch.manual_seed(0)
    pattern = torch.randn(40, linear.FIELDS)
    rows = []
    for person in range(60):
        features = torch.randn(linear.FEATURES)
        features[0] = 1.0
        moved = 0.3 + features[2] * pattern + 0.01 * torch.randn(40, linear.FIELDS)
        rows.append((f"p{person}", features, moved))
    learned = learn_linear._regression(rows, {3: [], 8: []})
    asked = (rows[0][1] - learned.middle) / learned.spread
    told = torch.einsum("k,kmf->mf", asked, learned.weights)
    error = float((told - rows[0][2]).square().mean() / rows[0][2].square().mean())
    assert error < 0.1
    # The same rows of a person given twice count once.
    twice = learn_linear._regression([*rows, *rows[:1]], {3: [], 8: []})
    torch.testing.assert_close(twice.weights, learned.weights)
    again = learn_linear._regression(
        rows, {3: [(pattern, 0.5 * pattern)], 8: [(pattern, -pattern)]}
    )
    torch.testing.assert_close(again.shares, torch.tensor([1.0, 0.5, 0.0]))


def test_files_of_linear_priors(tmp_path: Path) -> None:
    path = tmp_path / "mine.safetensors"
    learn_linear.save_linear(line(value=0.25), path, {"people": 2})
    read = load_any(str(path))
    assert isinstance(read, linear.LinearPrior)
    assert read.name == "mine"
    assert float(read.line.weights[0, 0, 0]) == 0.25
    bad = {name: value.contiguous() for name, value in line()._asdict().items()}
    for name, value in (
        ("weights", torch.zeros(2, 2)),
        ("freedom", torch.full((100, 3), torch.nan)),
    ):
        save_file({**bad, name: value}, str(path), {"format": "1", "kind": "linear"})
        with pytest.raises(UserError, match=r"mine\.safetensors must hold"):
            linear.read_linear(path)
    path.write_bytes(b"nothing")
    with pytest.raises(UserError, match="cannot be read"):
        linear.read_linear(path)


def fill(folder: Path, people: int = 4) -> list[Path]:
    """Episodes of `people` persons, a clip each."""
    folder.mkdir()
    for index in range(people):
        digest = hashlib.sha256(str(index).encode()).hexdigest()[:12]
        save_episode(episode(1, f"p{index}"), folder / f"p{index}-{digest}-0.safetensors")
    return sorted(folder.iterdir())


def test_a_linear_prior_is_learned_from_episodes(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(learn_linear, "make_template", lambda *_: scene.scene().template)
    monkeypatch.setattr(learn_linear, "RefineConfig", short_refinement)
    files = fill(tmp_path / "episodes", 2)
    learned = learn_linear.learn(files, tmp_path / "fits")
    assert learned.weights.shape[1] == scene.scene().template.count
    assert float(learned.weights[0].abs().max()) > 0
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "fits").iterdir()}
    assert len(kept) == 2
    again = learn_linear.learn(files, tmp_path / "fits")
    torch.testing.assert_close(again.weights, learned.weights)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept, "fits are kept"
    surface_of(scene.scene().template)
    with pytest.raises(UserError, match="two people"):
        learn_linear.learn(files[:1], tmp_path / "fits")


def short_refinement():
    from recon.fit.config import RefineConfig as Config

    return Config(iterations=2, iterations_per_frame=0, max_iterations=2)


def test_people_are_dealt_evenly_and_for_good() -> None:
    names = [f"p{index}" for index in range(23)]
    dealt = folds.deal(names, 5)
    counts = [list(dealt.values()).count(fold) for fold in range(5)]
    assert sorted(counts) == [4, 4, 5, 5, 5]
    assert folds.deal(reversed(names), 5) == dealt
    for wrong in (1, 24):
        with pytest.raises(UserError, match="folds"):
            folds.deal(names, wrong)


def test_each_clip_gets_the_fold_that_has_not_seen_its_person(tmp_path: Path, monkeypatch) -> None:
    files = fill(tmp_path / "episodes")
    learned_from: list[set[str]] = []

    def learn(mine, fits, head):
        learned_from.append({file.name.split("-")[0] for file in mine})
        return line()

    monkeypatch.setattr(folds, "learn", learn)
    folder = tmp_path / "folds"
    folds.train_folds(files, folder, 2, only=[0], kind="linear")
    folds.train_folds(files, folder, 2, kind="linear")
    folds.train_folds(files, folder, 2, kind="linear")
    assert len(learned_from) == 2, "each fold is trained once"
    assert learned_from[0] | learned_from[1] == {"p0", "p1", "p2", "p3"}
    assert not learned_from[0] & learned_from[1]
    for file in files:
        person, digest, _ = file.stem.split("-")
        chosen = folds.fold_for(folder, digest + "0" * 52)
        assert person not in learned_from[int(chosen.stem[-1])]
        assert "p0" not in json.dumps(folds._left_out(chosen)), "names stay out of the weights"
        method = Ours(prior=str(folder)).about(digest + "0" * 52)
        assert method.settings()["prior"].startswith(chosen.name)  # type: ignore[union-attr]
    with pytest.raises(UserError, match="no fold"):
        folds.fold_for(folder, "f" * 64)
    with pytest.raises(UserError, match="plan"):
        folds.train_folds(files[:3], folder, 2, kind="linear")
    (folder / "fold_0.safetensors").write_bytes(b"x")
    with pytest.raises(UserError, match="train it anew"):
        folds.fold_for(folder, "f" * 64)
    (tmp_path / "none").mkdir()
    with pytest.raises(UserError, match="has none"):
        folds.fold_for(tmp_path / "none", "f" * 64)


def test_the_shipped_one_loads_and_is_small() -> None:
    shipped = load_any("linear")
    assert isinstance(shipped, linear.LinearPrior)
    assert 1 >= float(shipped.line.shares[1]) >= float(shipped.line.shares[2]) >= 0
    path = Path(linear.__file__).with_name("linear.safetensors")
    assert path.stat().st_size < 2e6
