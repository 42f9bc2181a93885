"""Embedder, generator and discriminator: sizes, shapes, and the equations they stand for."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from avatar3d.config import load_preset
from avatar3d.errors import UserError
from recon.benchmark.adversarial_2d.blocks import Adaptive, Down, SelfAttention, adaptive_norm
from recon.benchmark.adversarial_2d.drawing import STROKES, landmark_picture
from recon.benchmark.adversarial_2d.networks import Networks, Sizes
from recon.benchmark.adversarial_2d.personal import embedded
from recon.benchmark.adversarial_2d.train import TrainConfig
from tests.recon.benchmark.adversarial_2d.synthetic import SIZES, settled, support
from tests.recon.benchmark.synthetic import face_landmarks


@lru_cache(maxsize=1)
def networks() -> Networks:
    return settled(Networks.new(SIZES))


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("preset", ["cpu_128", "gpu_256"])
def test_the_presets_make_pictures_of_their_size(preset: str):
    sizes = load_preset(TrainConfig, "adversarial2d", preset).sizes
    with torch.device("meta"):
        made, pictures = Networks.new(sizes), torch.zeros(2, 3, sizes.size_px, sizes.size_px)
        embedding = made.embedder(pictures, pictures)
        drawn = made.generator(pictures, made.generator.coefficients(embedding))
        score, features = made.discriminator(drawn, pictures, embedding)
    assert embedding.shape == (2, sizes.embedding)
    assert drawn.shape == pictures.shape
    assert score.shape == (2,)
    assert [len(f) for f in features] == [2] * len(features)
    assert features[-1].shape[2:] == features[-2].shape[2:] == (4, 4)  # the block at 4 x 4
    if preset == "gpu_256":
        assert sizes == Sizes()
        millions = [count(module) / 1e6 for module in made.modules().values()]
        # Section 3.4 of the paper: 15 million parameters, 38 million, 20 million.
        assert [round(number) for number in millions] == [15, 38, 20]


def test_every_convolution_has_spectral_norm_one():
    seen = 0
    for module in networks().modules().values():
        for layer in module.modules():
            if isinstance(layer, nn.Conv2d):
                assert is_parametrized(layer, "weight")
                largest = torch.linalg.matrix_norm(layer.weight.detach().flatten(1), 2)
                assert abs(float(largest) - 1) < 0.05
                seen += 1
    assert seen > 40


def test_an_embedding_is_the_mean_of_any_number_in_any_order():
    frames = support(4)
    each = [embedded(networks(), type(frames)(*(p[k : k + 1] for p in frames))) for k in range(4)]
    turned = type(frames)(*(planes.flip(0) for planes in frames))
    expected = torch.stack(each).mean(0)
    torch.testing.assert_close(embedded(networks(), frames), expected)
    torch.testing.assert_close(embedded(networks(), turned), expected)


def test_a_score_is_the_projection_on_person_and_common_vector():
    frames, judge = support(3), networks().discriminator
    generator = torch.Generator().manual_seed(0)
    ones, others = torch.randn(2, 3, SIZES.embedding, generator=generator)
    none = torch.zeros_like(ones)
    with torch.no_grad():
        of = lambda columns: judge(*frames, columns)[0]  # noqa: E731
        # V . (W + w0) + b is affine in W, and only b is left where W = -w0.
        torch.testing.assert_close(of(ones + others), of(ones) + of(others) - of(none))
        torch.testing.assert_close(of(none - judge.w0), judge.b.expand(3))
        assert (of(ones) - of(none)).abs().max() > 1e-3


def test_adaptive_norm_is_its_formula():
    generator = torch.Generator().manual_seed(1)
    value = torch.randn(2, 3, 5, 4, generator=generator) * 3 + 1
    affine = torch.randn(2, 2, 3, generator=generator)
    expected = np.empty(value.shape)
    for b in range(2):
        for c in range(3):
            plane = value[b, c].double().numpy()
            normal = (plane - plane.mean()) / np.sqrt(plane.var() + 1e-5)
            expected[b, c] = normal * (1 + float(affine[b, 0, c])) + float(affine[b, 1, c])
    np.testing.assert_allclose(adaptive_norm(value, affine), expected, atol=1e-5)


def test_attention_is_its_formula_and_begins_silent():
    torch.manual_seed(0)
    layer, value = SelfAttention(8), torch.randn(1, 8, 4, 4)
    with torch.no_grad():
        assert torch.equal(layer(value), value)
        layer.gain.fill_(0.7)
        layer.eval()
        pooled = [nn.functional.max_pool2d(k(value), 2)[0] for k in (layer.key, layer.value)]
        gathered = torch.zeros(1, 4, 4, 4)
        for row in range(4):
            for column in range(4):
                query = layer.query(value)[0, :, row, column]
                likes = [query @ pooled[0][:, i, j] for i in range(2) for j in range(2)]
                shares = torch.stack(likes).softmax(0)
                seen = [pooled[1][:, i, j] for i in range(2) for j in range(2)]
                gathered[0, :, row, column] = sum(s * v for s, v in zip(shares, seen))
        torch.testing.assert_close(layer(value), value + 0.7 * layer.back(gathered))


def test_blocks_halve_and_double():
    value = torch.randn(2, 4, 8, 8)
    assert Down(4, 6, first=False, normalised=True)(value).shape == (2, 6, 4, 4)
    up = Adaptive(4, 6, up=True)
    assert up(value, torch.zeros(2, 2, 4), torch.zeros(2, 2, 6)).shape == (2, 6, 16, 16)


def test_coefficients_reach_every_adaptive_layer():
    frames, generator = support(1), networks().generator
    given = torch.zeros(1, 2 * sum(generator.widths), requires_grad=True)
    generator(frames.drawings, given).sum().backward()
    assert given.grad is not None
    parts = given.grad[0].split([2 * width for width in generator.widths])
    assert all(bool(part.abs().sum() > 0) for part in parts)


@pytest.mark.parametrize("bad", [{"size_px": 100}, {"size_px": 16}, {"residuals": 0}])
def test_sizes_that_cannot_be_are_said(bad: dict[str, int]):
    with pytest.raises(UserError, match="got"):
        Sizes(**bad)


@pytest.mark.parametrize("landmarks", STROKES)
def test_a_drawing_moves_with_its_landmarks(landmarks: int):
    shares = face_landmarks()[:landmarks, :2] / 512
    drawn = landmark_picture(shares, 64)
    moved = landmark_picture(shares + np.array([5, -3]) / 64, 64)
    np.testing.assert_array_equal(np.roll(drawn, (-3, 5), (0, 1)), moved)
    colors = {color for _, _, color in STROKES[landmarks]}
    at_full = {
        tuple(int(c) for c in pixel) for pixel in landmark_picture(shares, 512).reshape(-1, 3)
    }
    assert colors <= at_full  # every part is seen


def test_every_stroke_names_landmarks_that_there_are():
    for number, strokes in STROKES.items():
        for points, _, _ in strokes:
            assert len(set(points)) == len(points)
            assert set(points) <= set(range(number))


def test_landmarks_outside_are_cut_off_and_other_counts_refused():
    shares = face_landmarks()[:, :2] / 512
    assert not landmark_picture(shares + 3, 64).any()
    with pytest.raises(ValueError, match="478 or 68"):
        landmark_picture(shares[:100], 64)
