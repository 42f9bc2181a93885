"""A new person: feed-forward, fine-tuned, in the benchmark, and files that are no networks."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from avatar3d.errors import UserError
from recon.benchmark.adversarial_2d.baseline import (
    Adversarial2D,
    Adversarial2DFeedForward,
    resized,
    training_note,
)
from recon.benchmark.adversarial_2d.content import content_loss
from recon.benchmark.adversarial_2d.networks import Networks
from recon.benchmark.adversarial_2d.personal import (
    PersonalConfig,
    batches,
    feed_forward,
    fine_tuned,
)
from recon.benchmark.adversarial_2d.weights import read_networks, save_networks
from recon.benchmark.clip import EVAL_PX
from recon.benchmark.method import METHODS, get_method
from recon.benchmark.run import run_fewshot
from tests.recon.benchmark.adversarial_2d.synthetic import SIZES, clip, settled, support
from tests.recon.benchmark.synthetic import fixed_detector

FEW = PersonalConfig(epochs=10, batch=2, learning_rate=2e-3)


@pytest.fixture(scope="module")
def networks() -> Networks:
    return settled(Networks.new(SIZES), rounds=10)


@pytest.fixture(scope="module")
def weights(networks: Networks, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("networks") / "small.safetensors"
    facts = {"steps": 1000, "people": 2, "clips": 3, "config": {"batch": 4}, "device": "a CPU"}
    save_networks(networks, path, {**facts, "content": "none"})
    return path


def test_fine_tuning_comes_nearer_to_the_support_and_leaves_the_networks_alone(networks: Networks):
    frames, content = support(4), content_loss()
    before = {n: v.clone() for n, v in networks.generator.state_dict().items()}
    judge = {n: v.clone() for n, v in networks.discriminator.state_dict().items()}
    people = [feed_forward(networks, frames), fine_tuned(networks, frames, content, FEW)]
    far = []
    for person in people:
        made = [person.picture(drawing[None]) for drawing in frames.drawings]
        truth = frames.pictures.permute(0, 2, 3, 1).numpy()
        far.append(np.abs(np.stack(made) - truth).mean())
    assert far[1] < 0.8 * far[0]
    for module, kept in ((networks.generator, before), (networks.discriminator, judge)):
        assert all(torch.equal(v, kept[n]) for n, v in module.state_dict().items())
    assert all(parameter.requires_grad for parameter in networks.generator.parameters())


def test_no_step_of_fine_tuning_is_feed_forward(networks: Networks):
    frames = support(2)
    plain = feed_forward(networks, frames)
    still = fine_tuned(networks, frames, content_loss(), replace(FEW, most_steps=0))
    drawing = frames.drawings[:1]
    np.testing.assert_array_equal(plain.picture(drawing), still.picture(drawing))


def test_the_same_frames_make_the_same_person(networks: Networks):
    frames, few = support(2), replace(FEW, most_steps=3)
    one, again = (fine_tuned(networks, frames, content_loss(), few) for _ in range(2))
    assert torch.equal(one.coefficients, again.coefficients)
    assert not torch.equal(one.coefficients, feed_forward(networks, frames).coefficients)


@pytest.mark.parametrize("frames", [1, 3, 8])
def test_every_epoch_shows_every_frame_once(frames: int):
    config = PersonalConfig(epochs=6, batch=2)
    order = torch.cat(batches(frames, config)).tolist()
    for start in range(0, len(order) - frames + 1, frames):
        assert sorted(order[start : start + frames]) == list(range(frames))
    assert all(6 <= shown <= 7 for shown in Counter(order).values())
    assert len(batches(frames, replace(config, most_steps=2))) == 2


@pytest.mark.parametrize("kind", [Adversarial2D, Adversarial2DFeedForward])
def test_it_stands_in_the_benchmark(kind: type[Adversarial2D], weights: Path):
    assert kind.name in METHODS
    method = kind(weights, replace(FEW, most_steps=2), device="cpu")
    report = run_fewshot([clip()], [method], (1,), detector=fixed_detector)
    (row,) = report.rows
    assert row["method"] == kind.name
    assert np.isfinite(row["psnr_crop"])
    json.dumps(report.settings)
    text = report.markdown()
    assert f"- {kind.name}: meta-learned in 1,000 steps (4,000 episodes, 0.04% of the" in text
    assert "5,994" in text


def test_pictures_are_the_benchmarks_size(weights: Path):
    one = clip()
    frames = [one.frame(index) for index in one.support[4]]
    fitted = Adversarial2DFeedForward(weights, device="cpu").fit(frames, one)
    picture = fitted.render(one.test[0], one)
    assert picture.shape == (EVAL_PX, EVAL_PX, 3)
    assert picture.dtype == np.float32
    assert 0 <= picture.min() <= picture.max() <= 1
    flat = np.full((64, 64, 3), 0.25, np.float32)
    for size in (32, 64, 128):
        np.testing.assert_allclose(resized(flat, size), np.full((size, size, 3), 0.25), atol=1e-6)


def test_a_clip_gets_the_fold_that_has_not_seen_it(networks: Networks, tmp_path: Path):
    for fold, digits in enumerate(("a" * 12, "b" * 12)):
        save_networks(networks, tmp_path / f"fold_{fold}.safetensors", {"left_out": [digits]})
    method = Adversarial2D(tmp_path, device="cpu")
    assert "fold_1" in str(method.about("b" * 64).settings()["weights"])
    with pytest.raises(UserError, match="no fold"):
        method.about("c" * 64)
    assert method.settings()["weights"] == tmp_path.name


def test_the_shipped_networks_are_small_and_say_how_they_were_made():
    method = get_method("adversarial2d")
    settings = method.settings()
    assert "of the paper's" in str(settings["note"])
    path = Path(__file__).parents[4] / "recon/benchmark/adversarial_2d/research.safetensors"
    assert path.stat().st_size <= 6_000_000
    networks, facts = read_networks(path)
    assert facts["held_out"] == 8
    assert networks.sizes.size_px == 128


def test_a_training_that_is_not_told_is_said(networks: Networks):
    assert "does not say" in training_note(networks, {})


def test_bad_networks_are_refused_in_words(networks: Networks, weights: Path, tmp_path: Path):
    text, empty, torn = (tmp_path / f"{name}.safetensors" for name in ("text", "empty", "torn"))
    text.write_text("no networks")
    save_file({"a": torch.zeros(2)}, str(empty))
    torn.write_bytes(weights.read_bytes()[:-100])
    broken = settled(Networks.new(SIZES), rounds=1)
    with torch.no_grad():
        broken.discriminator.w0.fill_(float("nan"))
    save_networks(broken, tmp_path / "nan.safetensors", {})
    with safe_open(str(weights), "pt") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    sizes = json.loads(metadata["sizes"])

    def written(name: str, **changed: str) -> Path:
        path = tmp_path / f"{name}.safetensors"
        save_file(tensors, str(path), {**metadata, **changed})
        return path

    cases = [
        (tmp_path / "none.safetensors", "no file"),
        (tmp_path, "is a folder"),
        (text, "cannot be read"),
        (torn, "cannot be read"),
        (empty, "got kind unknown"),
        (tmp_path / "nan.safetensors", "finite"),
        (written("later", format="9"), "format 9"),
        (written("wider", sizes=json.dumps({**sizes, "widest": 24})), "holds others"),
        (written("larger", sizes=json.dumps({**sizes, "size_px": 1 << 40})), "how large"),
        (written("vast", sizes=json.dumps({**sizes, "residuals": 10**9})), "how large"),
        (written("real", sizes=json.dumps({**sizes, "widest": 16.0})), "how large"),
        (written("list", sizes="[]"), "how large"),
        (written("unknown", sizes=json.dumps({**sizes, "code": 1})), "how large"),
        (written("facts", facts="[1]"), "how large"),
    ]
    for path, words in cases:
        with pytest.raises(UserError, match=words) as refused:
            read_networks(path)
        assert "\n" not in str(refused.value)
