"""Episodes in shards: the same ones as in their own files, and the same training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from avatar3d.errors import UserError
from recon.prior.episodes import episode_files, load_episode, person_of, save_episode
from recon.prior.shards import write_shards
from recon.prior.train import train
from tests.recon.prior.synthetic import episode
from tests.recon.prior.test_training import CONFIG

PEOPLE = ("ada", "bob", "cy")


@pytest.fixture(scope="module")
def loose(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("loose")
    for shots, person in enumerate(PEOPLE, start=1):
        save_episode(episode(shots, person), folder / f"{person}-clip-0.safetensors")
    return folder


def _bytes(folder: Path) -> int:
    return max(file.stat().st_size for file in folder.iterdir())


def test_every_episode_lies_in_one_shard_and_comes_back_whole(loose: Path, tmp_path: Path) -> None:
    files = episode_files(loose)
    shards = write_shards(files, tmp_path, megabytes=2.1e-6 * _bytes(loose))
    assert len(shards) == 2
    packed = episode_files(tmp_path)
    assert [file.name for file in packed] == [file.name for file in files]
    assert [person_of(file) for file in episode_files(tmp_path, hold_out=("bob",))] == ["ada", "cy"]
    for own, within in zip(files, packed):
        one, other = load_episode(own), load_episode(within)
        assert one.person == other.person
        assert torch.equal(one.identity, other.identity)
        assert len(one.support) == len(other.support)
        for a, b in zip((*one.support, *one.queries), (*other.support, *other.queries)):
            assert torch.equal(a.colors, b.colors)
        for a, b in zip(one.query_codes, other.query_codes):
            assert torch.equal(a, b)


def test_training_from_shards_is_the_same_bit_by_bit(loose: Path, tmp_path: Path) -> None:
    write_shards(episode_files(loose), tmp_path)
    config = replace(CONFIG, steps=2)
    assert (
        train(episode_files(loose), config).losses == train(episode_files(tmp_path), config).losses
    )


def test_a_stopped_packing_goes_on_and_other_shards_are_not_mixed_in(
    loose: Path, tmp_path: Path
) -> None:
    files = episode_files(loose)
    limit = 1.1e-6 * _bytes(loose)
    shards = write_shards(files, tmp_path, megabytes=limit)
    whole = shards[1].read_bytes()
    shards[1].unlink()
    kept = shards[0].stat().st_mtime_ns
    assert write_shards(files, tmp_path, megabytes=limit) == shards
    assert shards[1].read_bytes() == whole
    assert shards[0].stat().st_mtime_ns == kept
    with pytest.raises(UserError, match="no shards of other episodes"):
        write_shards(files[:2], tmp_path, megabytes=limit)


def test_damaged_shards_are_refused_in_words(loose: Path, tmp_path: Path) -> None:
    (shard,) = write_shards(episode_files(loose), tmp_path)
    cut = tmp_path / "cut"
    cut.mkdir()
    (cut / shard.name).write_bytes(shard.read_bytes()[:1000])
    with pytest.raises(UserError, match="cannot be read as a shard"):
        episode_files(cut)
    other = tmp_path / "other"
    other.mkdir()
    (other / shard.name).write_bytes(next(loose.iterdir()).read_bytes())
    with pytest.raises(UserError, match="must be a shard of episodes"):
        episode_files(other)
    missing = episode_files(tmp_path)[0].with_name("eve-clip-0.safetensors")
    with pytest.raises(UserError, match="must hold the episode eve"):
        load_episode(missing)
