from __future__ import annotations

import gzip

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load

from avatar3d.container import read_container
from tests.support.avatars import plain_avatar
from viewer.asset import encode_web_asset, smallest_three, write_web_asset

# 30,000 Gaussians of a photo are 0.65 MB; noise cannot be packed as well, so it bounds them all.
LARGEST_MB_AT_30K = 1.6


def test_same_avatar_same_bytes_and_a_sound_container(tmp_path):
    path = tmp_path / "a.a3dweb"
    write_web_asset(plain_avatar(), path)
    content = path.read_bytes()
    assert content == encode_web_asset(plain_avatar())
    unpacked = tmp_path / "unpacked"
    unpacked.write_bytes(gzip.decompress(content))
    arrays, metadata = read_container(unpacked)
    assert metadata["format"] == "avatar3d-web"
    assert metadata["count"] == len(arrays["corners"]) == plain_avatar().count


def test_an_asset_of_noise_is_within_the_bound():
    noise = plain_avatar(30_000, rank=0)
    assert len(encode_web_asset(noise)) < LARGEST_MB_AT_30K * 1e6


def test_what_is_read_back_is_what_the_avatar_has():
    avatar = plain_avatar()
    content = gzip.decompress(encode_web_asset(avatar))
    arrays = load(content)
    rig = avatar.binding.rig
    shapes = np.zeros((len(arrays["shape_counts"]), len(arrays["vertices"]), 3), np.float32)
    shape = np.repeat(np.arange(len(shapes)), arrays["shape_counts"])
    steps = arrays["shape_steps"][shape, None]
    shapes[shape, arrays["shape_vertices"]] = arrays["shape_offsets"] * steps
    expected = rig.expression_basis.unflatten(-1, (-1, 3)).numpy()
    assert np.abs(shapes - expected).max() < 2e-6
    assert np.array_equal(arrays["vertices"], rig.neutral.numpy())
    assert np.abs(arrays["skin_weights"] / 65535 - rig.skin_weights.numpy()).max() < 1e-5
    anchors = arrays["triangles"][arrays["corners"]]
    assert np.array_equal(anchors, avatar.binding.anchor_corners.numpy())
    uv = arrays["barycentrics"] / 65535
    assert np.abs(uv - avatar.template.barycentrics[:, 1:].numpy()).max() < 1e-5


@given(st.lists(st.floats(-1, 1), min_size=4, max_size=4).filter(lambda q: np.linalg.norm(q) > 0.1))
def test_rotations_survive_within_a_tenth_of_a_degree(values: list[float]):
    q = torch.tensor([values], dtype=torch.float64)
    q = torch.nn.functional.normalize(q, dim=-1)
    (packed,) = smallest_three(q.float()).tolist()
    which = packed >> 30
    small = [((packed >> shift & 1023) / 1023 * 2 - 1) / 2**0.5 for shift in (20, 10, 0)]
    small.insert(which, max(0.0, 1 - sum(x * x for x in small)) ** 0.5)
    cosine = abs(sum(a * b for a, b in zip(small, q[0].tolist())))
    assert 2 * np.degrees(np.arccos(min(1.0, cosine))) < 0.3


def test_a_prefix_is_smaller_and_shares_the_anchors():
    avatar = plain_avatar()
    whole, part = (load(gzip.decompress(encode_web_asset(avatar, n))) for n in (None, 700))
    assert len(part["corners"]) == 700
    assert np.array_equal(part["barycentrics"], whole["barycentrics"][:700])
    assert np.array_equal(part["colors"].shape, (700, 3))
