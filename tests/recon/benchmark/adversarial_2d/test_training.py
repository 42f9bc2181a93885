"""The meta-learning: it learns, and goes on bit by bit after a stop."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import recon.benchmark.adversarial_2d.train as module
from avatar3d.errors import UserError
from recon.benchmark.adversarial_2d.content import content_loss
from recon.benchmark.adversarial_2d.frames import FrameFile, make_frames, shown
from recon.benchmark.adversarial_2d.personal import embedded
from recon.benchmark.adversarial_2d.train import Run, by_person, draw, train
from recon.benchmark.adversarial_2d.weights import read_networks, save_networks
from recon.prior.datasets import PersonClip
from recon.prior.folds import fold_for
from recon.training.device import choose_device
from tests.recon.benchmark.adversarial_2d.synthetic import SIZES, TRAINING, clip, frame_files

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return frame_files(tmp_path_factory.mktemp("frames"))


def run(files: list[Path], config=TRAINING, checkpoint: Path | None = None) -> Run:
    return train(files, config, content_loss(), CPU, checkpoint)


def same(one: Run, other: Run) -> bool:
    pairs = [
        (own.state_dict(), its.state_dict())
        for own, its in zip(one.networks.modules().values(), other.networks.modules().values())
    ] + [(one.columns.state_dict(), other.columns.state_dict())]
    return all(torch.equal(own[name], its[name]) for own, its in pairs for name in own)


def test_frames_come_back_as_they_were(files: list[Path]):
    saved, read = clip(), FrameFile(files[0])
    places = sorted(saved.images)
    assert (read.count, read.size_px) == (len(places), SIZES.size_px)
    got = read.read(np.array([2, 0]))
    for row, place in enumerate((2, 0)):
        expected = shown(saved.frame(places[place]), SIZES.size_px)
        torch.testing.assert_close(got.pictures[row], expected.pictures[0], atol=0.5 / 255, rtol=0)
        assert torch.equal(got.drawings[row], expected.drawings[0])


def test_a_stopped_run_goes_on_bit_by_bit(
    files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    whole = run(files)
    checkpoint = tmp_path / "run.checkpoint.safetensors"

    class Stop(Exception):
        pass

    learn, calls = module.learn, []

    def stopping(*arguments):
        calls.append(1)
        if len(calls) > 3:  # in the fourth step; the checkpoint is a step old
            raise Stop
        return learn(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(module, "learn", stopping)
        with pytest.raises(Stop):
            run(files, checkpoint=checkpoint)
    again = run(files, checkpoint=checkpoint)
    assert again.losses == whole.losses
    assert same(again, whole)
    # Adam's memory too: what comes after the end is the same.
    for own, its in ((again.makers, whole.makers), (again.judge, whole.judge)):
        for a, b in zip(own.state.values(), its.state.values()):
            assert all(torch.equal(torch.as_tensor(a[k]), torch.as_tensor(b[k])) for k in b)
    with pytest.raises(UserError, match="made with others"):
        run(files, replace(TRAINING, frames=4), checkpoint)
    with pytest.raises(UserError, match="made with others"):
        run(files[:1], TRAINING, checkpoint)


def test_a_run_out_of_time_stops_between_steps(files: list[Path], tmp_path: Path):
    checkpoint = tmp_path / "late.checkpoint.safetensors"
    assert train(files, TRAINING, content_loss(), CPU, checkpoint, until=0.0).step == 0
    assert same(run(files, checkpoint=checkpoint), run(files))


def test_a_small_episode_can_be_learned_by_heart(files: list[Path]):
    config = replace(
        TRAINING, steps=40, batch=1, frames=2, fewer=False, mirrored=0.0, decay_from=1.0
    )
    content = np.array(run(files[:1], config).losses)[:, 0]
    assert content[-5:].mean() < 0.7 * content[:5].mean()


def test_draws_depend_on_seed_and_step_alone(files: list[Path]):
    clips, people = [FrameFile(file) for file in files], by_person(files)
    one, again = (draw(people, clips, TRAINING, 3) for _ in range(2))
    for a, b in zip(one[:2], again[:2]):
        assert all(torch.equal(x, y) for x, y in zip(a, b))
    later = [draw(people, clips, TRAINING, step)[1].pictures for step in range(4, 10)]
    assert not any(torch.equal(one[1].pictures, other) for other in later)
    counts = {len(draw(people, clips, TRAINING, s)[0].pictures) for s in range(20)}
    assert counts == {2, 4}  # K of 1 or 2, in a batch of two


def test_no_frame_is_asked_for_that_was_shown(files: list[Path]):
    config = replace(TRAINING, frames=4, fewer=False, mirrored=0.0)
    clips, people = [FrameFile(file) for file in files], by_person(files)
    for step in range(10):
        support, target, rows = draw(people, clips, config, step)
        assert len(rows) == len(target.pictures) == 2
        groups = support.pictures.unflatten(0, (2, 4))
        for shown_, asked in zip(groups, target.pictures):
            assert not any(torch.equal(frame, asked) for frame in shown_)


def test_the_columns_begin_where_the_embedder_knows_the_clips(files: list[Path]):
    one = run(files, replace(TRAINING, steps=2))  # no step with the discriminator yet
    networks, clips = one.networks, [FrameFile(file) for file in files]
    kept = {name: value.clone() for name, value in networks.embedder.state_dict().items()}
    module.begin_columns(one, clips)
    assert all(torch.equal(v, kept[name]) for name, v in networks.embedder.state_dict().items())
    networks.embedder.eval()
    for row, clip_ in enumerate(clips):
        expected = embedded(networks, clip_.read(np.array([0, clip_.count - 1])))[0]
        torch.testing.assert_close(one.columns["W"][row].detach(), expected)
    centred = one.columns["W"].detach() + networks.discriminator.w0.detach()
    torch.testing.assert_close(centred.mean(0), torch.zeros(SIZES.embedding), atol=1e-6, rtol=0)


def test_mixed_precision_stays_near_full(files: list[Path]):
    one = replace(TRAINING, steps=1, content_only=0)
    full, mixed = run(files, one).losses, run(files, replace(one, bfloat16=True)).losses
    np.testing.assert_allclose(mixed, full, rtol=0.05, atol=0.02)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
def test_a_gpu_learns_the_same(files: list[Path]):
    content = content_loss()
    there = train(files, replace(TRAINING, steps=2), content, torch.device("cuda")).losses
    content.to(CPU)
    here = run(files, replace(TRAINING, steps=2)).losses
    np.testing.assert_allclose(there, here, rtol=0.02, atol=0.02)


def test_the_command_writes_what_the_benchmark_reads(
    files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "load_preset", lambda *_: TRAINING)
    module.main(files[0].parent, tmp_path / "fold_1.safetensors", fold=(1, 2), device="cpu")
    networks, facts = read_networks(tmp_path / "fold_1.safetensors")
    assert networks.sizes == SIZES
    assert (facts["steps"], facts["people"], facts["clips"]) == (5, 1, 1)
    (left_out,) = facts["left_out"]
    # The prior's own way to a clip's fold finds it.
    assert fold_for(tmp_path, left_out + "0" * 52).name == "fold_1.safetensors"


def test_weights_hold_no_person_and_come_back_in_half_precision(files: list[Path], tmp_path: Path):
    trained = run(files, replace(TRAINING, steps=1)).networks
    save_networks(trained, tmp_path / "mine.safetensors", {"steps": 1})
    read, facts = read_networks(tmp_path / "mine.safetensors")
    assert facts == {"steps": 1}
    for own, its in zip(trained.modules().values(), read.modules().values()):
        expected = {name: value.half().float() for name, value in own.state_dict().items()}
        assert expected.keys() == its.state_dict().keys()  # and none of them is W
        assert all(torch.equal(v, expected[name]) for name, v in its.state_dict().items())
        assert not its.training


def test_bad_frames_are_refused_in_words(files: list[Path], tmp_path: Path):
    with pytest.raises(UserError, match="must hold frames of 64 px"):
        run(files, replace(TRAINING, sizes=replace(SIZES, size_px=64)))
    with pytest.raises(UserError, match="got none"):
        run([])
    torn = tmp_path / "ada-0-0.safetensors"
    torn.write_bytes(files[0].read_bytes()[:1000])
    with pytest.raises(UserError, match="cannot be read so"):
        FrameFile(torn)
    (refused,) = make_frames([PersonClip("eve", tmp_path / "no.mp4")], tmp_path / "made", 32)
    assert "no file" in refused


def test_a_device_that_is_not_there_is_said():
    assert choose_device("cpu") == CPU
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match="use cpu"):
            choose_device("cuda")
