"""The folded head gives what its definition gives, on heads with and without pose correctives."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from avatar3d.codes import ExpressionCode
from avatar3d.heads import HeadModel, load_head


@pytest.fixture(scope="module", params=["default", "with correctives"])
def head(request: pytest.FixtureRequest) -> HeadModel:
    head = load_head("default")
    if request.param == "default":
        return head
    random = torch.Generator().manual_seed(4)
    return replace(
        head,
        pose_correctives=1e-3 * torch.randn(36, len(head.neutral), 3, generator=random),
        joint_expression=1e-3 * torch.randn(52, 6, 3, generator=random),
    )


def codes(count: int, coefficients: int = 52) -> ExpressionCode:
    random = torch.Generator().manual_seed(count)

    def unit(*shape: int) -> Tensor:
        return torch.nn.functional.normalize(torch.randn(*shape, generator=random), dim=-1)

    sparse = torch.rand(count, coefficients, generator=random)
    return ExpressionCode(
        torch.where(sparse > 0.7, sparse, torch.zeros(())),
        unit(count, 4),
        torch.randn(count, 3, generator=random),
        unit(count, 4),
    )


@pytest.mark.parametrize("count", [1, 3, 4, 17])
@pytest.mark.parametrize("coefficients", [30, 52, 60])
def test_it_is_the_definition(head: HeadModel, count: int, coefficients: int):
    identity = torch.randn(head.identity_count, generator=torch.Generator().manual_seed(1))
    batch = codes(count, coefficients)
    folded = head.folded(identity)
    truth = head.vertices(identity, batch)
    torch.testing.assert_close(folded.vertices(batch), truth, atol=2e-6, rtol=0)
    torch.testing.assert_close(folded.vertices(batch.at(0)), truth[0], atol=2e-6, rtol=0)
    nested = ExpressionCode(*(value[None] for value in batch))
    assert folded.vertices(nested).shape == (1, *truth.shape)


def test_an_empty_batch(head: HeadModel):
    assert head.folded().vertices(ExpressionCode.neutral(0)).shape == (0, len(head.neutral), 3)


def test_gradients_take_the_definition(head: HeadModel):
    code = ExpressionCode.neutral()
    code.coefficients.requires_grad_()
    folded = head.folded()
    folded.vertices(code).sum().backward()
    assert code.coefficients.grad is not None
    doubled = ExpressionCode(*(value.detach().double() for value in code))
    if head.pose_correctives is None:
        with pytest.raises(RuntimeError):  # as the definition: one dtype
            folded.vertices(doubled)
