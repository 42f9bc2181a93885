"""Training: it learns, it goes on bit by bit after a stop, and two processes do the work of one."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from avatar3d.avatar import Avatar
from avatar3d.errors import UserError
from avatar3d.heads import load_head
from avatar3d.template import Template, make_template
from recon.prior import learn_linear
from recon.prior import train as training
from recon.prior.episodes import Episode, coarser, load_episode, save_episode
from recon.prior.expressions import MOVEMENTS
from recon.prior.features import FEATURE_COUNT
from recon.prior.meta import Judge
from recon.prior.shards import members, write_shards
from recon.prior.synthetic.episodes import synthetic_episode
from recon.prior.train import TrainConfig, averaged, train
from recon.prior.weights import load_prior, read_prior, save_prior
from tests.recon.fit import synthetic as scene
from tests.recon.prior.synthetic import episode
from tests.recon.prior.test_meta import stirred
from tests.support.data import data_file

CONFIG = TrainConfig(
    steps=4, batch=2, queries=1, anchors=scene.COUNT, refined_share=0.3, refine_steps=3,
    warm_up=1, checkpoint_every=2,
)  # fmt: skip


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("episodes")
    paths = [folder / "ada-clip-0.safetensors", folder / "bob-clip-0.safetensors"]
    for path, shots in zip(paths, (1, 2)):
        save_episode(episode(shots, path.name.split("-")[0]), path)
    return paths


def test_an_episode_comes_back_as_it_was(files: list[Path]) -> None:
    saved, read = episode(2, "bob"), load_episode(files[1])
    assert read.person == "bob"
    for name, value in saved.start.attributes.__dict__.items():
        assert torch.equal(getattr(read.start.attributes, name), value), name
    for own, same in zip(read.query_codes, saved.query_codes):
        assert torch.equal(own, same)
    assert all(torch.equal(a.colors, b.colors) for a, b in zip(read.queries, saved.queries))
    assert torch.equal(read.camera.K, saved.camera.K)
    assert read.camera.width == saved.camera.width


def test_a_coarser_episode_is_the_avatars_level_of_detail() -> None:
    one = episode()
    template = scene.scene().template
    avatar = Avatar(template.head, torch.zeros(0), one.start.attributes)
    few = coarser(one, 1000).start.attributes
    for name, value in avatar.level(1000).attributes.__dict__.items():
        torch.testing.assert_close(getattr(few, name), value)


def test_training_lowers_the_loss(files: list[Path]) -> None:
    config = replace(CONFIG, steps=32, batch=1, refined_share=0.0)
    losses = train(files, config).losses
    assert np.mean(losses[-4:]) < 0.8 * np.mean(losses[:4])


def test_synthetic_files_are_drawn_as_often_as_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nine synthetic people beside one who was filmed: by the share, not by their number."""
    import recon.prior.train as module

    monkeypatch.setattr(module, "load_episode", lambda path: path.name)
    mixed = [
        Path(f"{name}-clip-0.safetensors") for name in ("ada", *map("synthetic{}".format, range(9)))
    ]
    template = scene.scene().template

    def share(wanted: float, files: list[Path]) -> float:
        people = module._People(
            files, replace(CONFIG, synthetic_share=wanted), template.head, template
        )
        names = [str(people.draw(step, np.random.default_rng(step))) for step in range(400)]
        return float(np.mean([name.startswith("synthetic") for name in names]))

    assert share(0.3, mixed) == pytest.approx(0.3, abs=0.07)
    assert share(0.0, mixed) == pytest.approx(0.9, abs=0.05)  # all are alike
    assert share(1.0, mixed) == 1
    with pytest.raises(UserError, match="got none"):
        share(0.3, mixed[1:])


def test_a_stopped_run_goes_on_bit_by_bit(
    files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(files, CONFIG)
    checkpoint = tmp_path / "run.checkpoint.safetensors"

    class Stop(Exception):
        pass

    import recon.prior.train as module

    learn, calls = module._learn, []

    def stopping(*arguments):
        calls.append(1)
        if len(calls) > 6:  # in the fourth step; the checkpoint is two steps old
            raise Stop
        return learn(*arguments)

    module._learn = stopping
    try:
        with pytest.raises(Stop):
            train(files, CONFIG, checkpoint=checkpoint)
    finally:
        module._learn = learn
    again = train(files, CONFIG, checkpoint=checkpoint)
    assert again.losses == whole.losses
    for own, same in zip(again.prior.network.parameters(), whole.prior.network.parameters()):
        assert torch.equal(own, same)
    with pytest.raises(UserError, match="made with others"):
        train(files, replace(CONFIG, queries=2), checkpoint=checkpoint)
    another = replace(load_head("default"), name="another")
    monkeypatch.setattr(module, "load_heads", lambda _: [load_head("default"), another])
    with pytest.raises(UserError, match="made with others"):
        train(files, CONFIG, ("default", "another"), checkpoint=checkpoint)


@pytest.mark.slow
def test_two_processes_do_as_one(files: list[Path], tmp_path: Path) -> None:
    output = tmp_path / "prior.safetensors"
    options = [
        str(files[0].parent), "-o", str(output), "--config.steps", "3", "--config.batch", "2",
        "--config.queries", "1", "--config.anchors", str(scene.COUNT), "--config.warm-up", "1",
        "--config.refined-share", "0",
    ]  # fmt: skip
    command = [
        sys.executable, "-W", "ignore", "-m", "torch.distributed.run", "--standalone",
        "--nproc-per-node", "2",
        "-m", "recon.prior.train", *options,
    ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert re.search(r"wrote .*prior\.safetensors", done.stdout)
    alone = train(
        files, replace(CONFIG, steps=3, warm_up=1, refined_share=0.0, checkpoint_every=200)
    )
    together = read_prior(output)
    # Half precision in the file; gradients summed in another order, which Adam's first steps, of 2e-3
    # whatever the gradient's size, make larger where it is nearly zero: there, at one weight in a
    # thousand at most, by up to a step.
    weights = [
        torch.cat([value.detach().flatten() for value in prior.network.parameters()])
        for prior in (together, averaged(alone))
    ]
    apart = ~torch.isclose(*weights, rtol=2e-3, atol=1e-4)
    assert apart.float().mean() < 1e-3
    torch.testing.assert_close(*weights, rtol=2e-3, atol=2e-3)
    with safe_open(str(output.with_suffix(".checkpoint.safetensors")), "pt") as checkpoint:
        losses = checkpoint.get_tensor("more.losses")
    torch.testing.assert_close(losses.tolist(), alone.losses, rtol=1e-4, atol=0.0)


def test_who_is_hard_to_draw_counts_no_more(
    files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same slope of a loss four times as great: a quarter of the logarithm's."""
    episode, template = load_episode(files[0]), scene.scene().template

    class Told:
        loss = 0.1

        def __init__(self, *_) -> None: ...

        def gradients(self, start, *_):
            return self.loss, {"colors": torch.ones_like(start.attributes.colors)}

    monkeypatch.setattr(training, "Judge", Told)
    slopes = []
    for Told.loss in (0.1, 0.4):
        prior = stirred()
        rng = np.random.default_rng(0)
        config = replace(CONFIG, refined_share=0.0)
        templates = {episode.head: template}
        assert training._learn(prior, episode, templates, rng, config) == Told.loss
        slopes.append(prior.network.attributes.bias.grad)
    assert slopes[0] is not None
    assert slopes[1] is not None
    assert slopes[0].abs().max() > 0
    torch.testing.assert_close(slopes[0], 4 * slopes[1])


def test_weights_come_back_in_half_precision(files: list[Path], tmp_path: Path) -> None:
    prior = train(files, replace(CONFIG, steps=1)).prior
    path = tmp_path / "mine.safetensors"
    save_prior(prior, path, {"people": 2})
    read = read_prior(path)
    assert read.name == "mine"
    for own, same in zip(read.network.parameters(), prior.network.parameters()):
        torch.testing.assert_close(own, same.detach().half().float())
    assert load_prior(str(path)).name == "mine"


def test_weights_from_before_the_expression_basis_say_what_they_said(tmp_path: Path) -> None:
    """Fewer inputs, fewer outputs: what came later is zero."""
    prior, path = stirred(), tmp_path / "old.safetensors"
    inputs, outputs = FEATURE_COUNT - len(MOVEMENTS), 13
    tensors = {name: value.detach().half() for name, value in prior.network.state_dict().items()}
    tensors |= {f"steps.{name}": value.detach() for name, value in prior.steps._asdict().items()}
    tensors["enter.0.weight"] = tensors["enter.0.weight"][:, :inputs].contiguous()
    for name in ("attributes.weight", "attributes.bias"):
        tensors[name] = tensors[name][:outputs].contiguous()
    save_file(tensors, str(path), {"format": "1"})
    one, template = episode(), scene.scene().template
    codes = one.support_codes.coefficients
    answers = [read_prior(path).start(one.start, template, c) for c in (codes, 1 - codes)]
    assert answers[0].basis is None
    assert torch.equal(answers[0].attributes.rotations, one.start.attributes.rotations)
    assert torch.equal(answers[0].attributes.colors, answers[1].attributes.colors)
    assert not torch.allclose(answers[0].attributes.colors, one.start.attributes.colors)


def test_bad_weights_are_refused_in_words(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    from recon.prior.prior import untrained

    missing, text, other, broken = (tmp_path / f"{n}.safetensors" for n in "abcd")
    text.write_text("not weights")
    save_file({"network": torch.zeros(3)}, str(other))
    prior = untrained()
    with torch.no_grad():
        next(iter(prior.network.parameters())).fill_(float("nan"))
    save_prior(prior, broken, {})
    for path, words in (
        (missing, "cannot be read"),
        (text, "cannot be read"),
        (other, "its tensors are others"),
        (broken, "finite"),
    ):
        with pytest.raises(UserError, match=words):
            read_prior(path)


def test_a_batch_that_processes_cannot_share_is_refused(
    files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(UserError, match="multiple of the processes"):
        train(files, CONFIG)


@pytest.mark.parametrize("packed", [False, True])
def test_an_episode_of_a_head_that_training_was_not_told_of_is_refused_before_the_first_step(
    packed: bool, files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By whichever process: one that failed when it draws it would leave the others waiting."""
    import recon.prior.train as module

    path = tmp_path / "ada-other-0.safetensors"
    save_episode(replace(episode(1, "ada"), head="other"), path)
    given = [*files, path]
    if packed:
        (shard,) = write_shards(given, tmp_path / "shards")
        given = members(shard)
    monkeypatch.setattr(module, "_learn", lambda *_: pytest.fail("a step was taken"))
    with pytest.raises(UserError, match=r"made on the head 'other'.*--head"):
        train(given, CONFIG)
    with pytest.raises(UserError, match=r"made on the head 'other'.*--head"):
        learn_linear.learn(given, tmp_path / "fits")


def test_an_episode_of_another_format_is_refused_before_it_is_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import recon.prior.train as module

    monkeypatch.setattr(module, "load_episode", lambda _: pytest.fail("it was drawn"))
    path = tmp_path / "ada-default-0.safetensors"
    save_file({"K": torch.eye(3)}, path, {"format": "3", "person": "ada"})
    with pytest.raises(UserError, match="format"):
        train([path], CONFIG)


def test_a_head_is_named_once(files: list[Path]) -> None:
    with pytest.raises(UserError, match="must differ, got default, default"):
        train(files, CONFIG, ("default", "default"))


def test_one_prior_learns_from_episodes_of_two_heads(
    files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch of both, each judged on its own head's template."""
    import recon.prior.train as module

    ict = data_file("mesh/ict/ict_facekit_packed.npz")
    head = load_head(ict)
    other = synthetic_episode(3, make_template(head, scene.COUNT), head, size_px=128, queries=1)
    path = tmp_path / "synthetic3-ict-0.safetensors"
    save_episode(other, path)
    judged = []

    def judge(episode: Episode, template: Template) -> Judge:
        judged.append((episode.head, template.head.name))
        return Judge(episode, template)

    monkeypatch.setattr(module, "Judge", judge)
    config = replace(CONFIG, steps=1, refined_share=0.0, synthetic_share=0.5)
    losses = train([files[0], path], config, ("default", str(ict))).losses
    assert sorted(judged) == [("default", "default"), ("ict", "ict")]
    assert np.isfinite(losses).all()
    with pytest.raises(UserError, match="made on the head 'ict'"):
        train([path], CONFIG)
