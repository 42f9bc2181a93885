"""Each loss against its formula, written out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from avatar3d.errors import UserError
from recon.benchmark.adversarial_2d.content import (
    GRADIENT_WEIGHT,
    PIXEL_WEIGHT,
    RANDOM_WEIGHT,
    SCALES,
    VGG19_BLOCKS,
    VGG19_TAPS,
    VGGFACE_BLOCKS,
    VGGFACE_TAPS,
    ContentPaths,
    Substitute,
    as_torchvision,
    content_loss,
    vgg,
)
from recon.benchmark.adversarial_2d.losses import (
    discriminator_hinge,
    embedding_match,
    feature_match,
    generator_hinge,
)

DRAWN = torch.Generator().manual_seed(7)


def pictures() -> torch.Tensor:
    return torch.rand(2, 2, 3, 32, 32, generator=torch.Generator().manual_seed(3))


def test_hinges_are_their_formulas():
    made, real = torch.randn(2, 9, generator=DRAWN) * 2
    expected = (
        sum(max(0, 1 + float(s)) for s in made) / 9 + sum(max(0, 1 - float(s)) for s in real) / 9
    )
    assert float(discriminator_hinge(made, real)) == pytest.approx(expected, rel=1e-5)
    assert float(generator_hinge(made)) == pytest.approx(-float(made.sum()) / 9, rel=1e-5)
    assert float(discriminator_hinge(torch.tensor([-1.0]), torch.tensor([1.0]))) == 0


def test_matches_are_their_formulas_and_leave_the_goal_alone():
    made = [torch.randn(2, 3, 4, 4, generator=DRAWN, requires_grad=True) for _ in range(2)]
    real = [torch.randn(2, 3, 4, 4, generator=DRAWN, requires_grad=True) for _ in range(2)]
    loss = feature_match(made, real)
    expected = sum(np.abs((m - r).detach().numpy()).mean() for m, r in zip(made, real))
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-5)
    embedding, column = torch.randn(2, 3, 5, generator=DRAWN).requires_grad_().unbind()
    embedding.retain_grad()
    column.retain_grad()
    match = embedding_match(embedding, column)
    assert float(match.detach()) == pytest.approx(
        sum(abs(float(d)) for d in (embedding - column).detach().flatten()) / 15, rel=1e-5
    )
    (loss + match).backward()
    assert all(m.grad is not None for m in made)
    assert all(r.grad is None for r in real)
    assert embedding.grad is not None
    assert column.grad is None or not column.grad.any()


def test_the_substitute_is_its_formula():
    made, truth = pictures()
    content = Substitute()
    halved = lambda p: p.reshape(*p.shape[:2], p.shape[2] // 2, 2, -1, 2).mean((3, 5))  # noqa: E731
    pixels = gradients = features = 0.0
    own, goal = made.double().numpy(), truth.double().numpy()
    for _ in range(SCALES):
        pixels += np.abs(own - goal).mean()
        for axis in (2, 3):
            gradients += np.abs(np.diff(own, axis=axis) - np.diff(goal, axis=axis)).mean()
        own, goal = halved(own), halved(goal)
    both = [made.double().numpy(), truth.double().numpy()]
    for weight in content.filters:
        both = [np.maximum(0, convolved(p, weight.double().numpy())) for p in both]
        features += np.abs(both[0] - both[1]).mean()
        both = [halved(p) for p in both]
    expected = (
        PIXEL_WEIGHT * pixels / SCALES
        + GRADIENT_WEIGHT * gradients / SCALES
        + RANDOM_WEIGHT * features / len(content.filters)
    )
    assert float(content(made, truth)) == pytest.approx(expected, rel=1e-4)
    assert float(content(made, made)) == 0
    assert torch.equal(content(made, truth), Substitute()(made, truth))  # fixed, not drawn anew
    assert "substitute" in content.name


def convolved(value: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """A 3 x 3 convolution with zeros around, as nine shifted products."""
    padded = np.pad(value, ((0, 0), (0, 0), (1, 1), (1, 1)))
    height, width = value.shape[2:]
    parts = [
        np.einsum("bchw,dc->bdhw", padded[:, :, i : i + height, j : j + width], weight[:, :, i, j])
        for i in range(3)
        for j in range(3)
    ]
    return np.sum(parts, 0)


def drawn_weights(blocks: tuple[int, ...]) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(len(blocks) + sum(blocks))
    return {
        name: torch.randn(value.shape, generator=generator, dtype=torch.float32) * 0.03
        for name, value in vgg(blocks).state_dict().items()
    }


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> ContentPaths:
    folder = tmp_path_factory.mktemp("vgg")
    save_file(drawn_weights(VGG19_BLOCKS), str(folder / "vgg19.safetensors"))
    save_file(drawn_weights(VGGFACE_BLOCKS), str(folder / "vggface.safetensors"))
    return ContentPaths(folder / "vgg19.safetensors", folder / "vggface.safetensors")


def test_the_perceptual_loss_is_the_papers_sum(files: ContentPaths):
    made, truth = pictures()
    expected = 0.0
    for blocks, taps, mean, weight in (
        (VGG19_BLOCKS, VGG19_TAPS, (123.68, 116.779, 103.939), 0.15),
        (VGGFACE_BLOCKS, VGGFACE_TAPS, (129.1863, 104.7624, 93.5940), 0.025),
    ):
        weights = drawn_weights(blocks)
        both = [(p * 255 - torch.tensor(mean)[:, None, None])[:, [2, 1, 0]] for p in (made, truth)]
        index, last = 0, max(int(name.split(".")[1]) for name in weights)
        while index <= last:
            name = f"features.{index}"
            if f"{name}.weight" in weights:
                filters, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
                both = [
                    torch.nn.functional.conv2d(p, filters, bias, padding=1).clamp(min=0)
                    for p in both
                ]
                index += 1  # the ReLU's place
                if index in taps:
                    expected += weight * float((both[0] - both[1]).abs().mean())
            else:
                both = [torch.nn.functional.max_pool2d(p, 2) for p in both]
            index += 1
    content = content_loss(files)
    assert float(content(made, truth)) == pytest.approx(expected, rel=1e-4)
    assert "VGG19" in content.name
    assert "VGGFace" in content.name


def test_vggface_is_read_under_its_own_names(files: ContentPaths):
    weights = drawn_weights(VGGFACE_BLOCKS)
    own, index = {}, 0
    for block, layers in enumerate(VGGFACE_BLOCKS, 1):
        for layer in range(1, layers + 1):
            for kind in ("weight", "bias"):
                own[f"conv{block}_{layer}.{kind}"] = weights[f"features.{index}.{kind}"]
            index += 2
        index += 1
    own["fc8.weight"] = torch.zeros(3)
    read = as_torchvision(own, VGGFACE_BLOCKS)
    assert read.keys() == weights.keys()
    assert all(torch.equal(read[name], value) for name, value in weights.items())


def test_gradients_reach_the_made_picture_only(files: ContentPaths):
    for content in (content_loss(), content_loss(files)):
        made, truth = (p.clone().requires_grad_() for p in pictures())
        content(made, truth).backward()
        assert made.grad is not None
        assert bool(made.grad.abs().sum() > 0)
        assert not any(parameter.requires_grad for parameter in content.parameters())


def test_networks_that_are_none_are_said(tmp_path: Path):
    other = tmp_path / "other.safetensors"
    save_file({"features.0.weight": torch.zeros(3)}, str(other))
    for paths in (ContentPaths(vgg19=other), ContentPaths(vggface=other)):
        with pytest.raises(UserError, match=r"other\.safetensors must hold VGG"):
            content_loss(paths)
    with pytest.raises(UserError, match="no file"):
        content_loss(ContentPaths(vgg19=tmp_path / "none.pth"))
