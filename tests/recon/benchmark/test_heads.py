"""Figures of head models: what is known must come out, and a worse head must score worse."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from avatar3d.codes import ARKIT_INDEX
from avatar3d.errors import UserError
from avatar3d.heads import HeadModel, load_head
from recon.benchmark.head_shapes import (
    LEFT_LID_PAIRS,
    FaceComparison,
    closest_points,
    gap_mm,
    posed,
    similarity,
)
from recon.benchmark.heads import find_photos, run_heads, shape_figures


@pytest.fixture(scope="module")
def head() -> HeadModel:
    return load_head("default")


@pytest.fixture(scope="module")
def larger(head: HeadModel) -> HeadModel:
    """The same head, a fifth larger, turned and elsewhere: the comparison shall not see that."""
    turn = torch.tensor([[0.8, 0.0, 0.6], [0.0, 1.0, 0.0], [-0.6, 0.0, 0.8]])
    return replace(
        head,
        neutral=1.2 * head.neutral @ turn.T + 0.03,
        joints=1.2 * head.joints @ turn.T + 0.03,
        joint_drive=head.joint_drive @ turn.T,
        expression_basis=1.2 * head.expression_basis @ turn.T,
        landmark_offsets=1.2 * head.landmark_offsets @ turn.T,
    )


def test_a_head_equals_itself(head: HeadModel) -> None:
    comparison = FaceComparison(head, head)
    assert comparison.surface_rms_mm < 0.05
    assert comparison.landmark_rms_mm < 1e-3
    for name in ("mouthSmileLeft", "jawOpen", "browInnerUp"):
        face, landmarks = comparison.cosine(name)
        assert face > 0.98, name
        assert landmarks > 0.999, name


def test_size_and_place_do_not_count_in_the_neutral(head: HeadModel, larger: HeadModel) -> None:
    comparison = FaceComparison(head, larger)
    assert comparison.surface_rms_mm < 0.1  # in millimetres of the other head
    assert comparison.landmark_rms_mm < 0.01


def test_shapes_that_go_elsewhere_score_lower(head: HeadModel) -> None:
    basis = head.expression_basis.clone()
    left, frown = ARKIT_INDEX["mouthSmileLeft"], ARKIT_INDEX["mouthFrownLeft"]
    basis[left], basis[frown] = head.expression_basis[frown], -head.expression_basis[frown]
    comparison = FaceComparison(replace(head, expression_basis=basis), head)
    assert comparison.cosine("mouthSmileLeft")[0] < 0.5
    assert comparison.cosine("mouthFrownLeft")[0] < -0.9


def test_gaps_have_signs(head: HeadModel) -> None:
    closed = gap_mm(head, LEFT_LID_PAIRS, eyeBlinkLeft=1.0)
    opened = gap_mm(head, LEFT_LID_PAIRS)
    assert np.abs(closed).max() < 0.25 * opened.max()
    beyond = gap_mm(head, LEFT_LID_PAIRS, eyeBlinkLeft=1.0, eyeBlinkRight=0.0, eyeSquintLeft=1.0)
    assert beyond.min() < closed.min()
    figures = shape_figures(head)
    assert 25 < figures["open_gap_mm"] < 45
    assert figures["close_gap_mm"] < 1.0
    assert figures["blink_gap_mm"] < 0.5


def test_closest_points_against_all_samples() -> None:
    random = np.random.default_rng(0)
    vertices = random.normal(size=(30, 3))
    triangles = np.array([random.choice(30, 3, replace=False) for _ in range(20)])
    points = random.normal(size=(50, 3))
    found, shares = closest_points(vertices, triangles, points)
    reached = np.einsum("nk,nkc->nc", shares, vertices[triangles[found]])
    samples = random.dirichlet((1.0, 1.0, 1.0), size=4000) @ vertices[triangles]  # [F, S, 3]
    nearest = np.linalg.norm(samples[None] - points[:, None, None], axis=-1).min((1, 2))
    assert np.allclose(shares.sum(1), 1.0)
    assert shares.min() >= -1e-9
    assert (np.linalg.norm(reached - points, axis=1) <= nearest + 1e-9).all()


def test_similarity_is_found_again() -> None:
    random = np.random.default_rng(1)
    points = random.normal(size=(20, 3))
    rotation = np.linalg.qr(random.normal(size=(3, 3)))[0]
    rotation *= np.sign(np.linalg.det(rotation))
    scale, found, translation = similarity(points, 2.0 * points @ rotation.T + (1.0, 2.0, 3.0))
    assert np.isclose(scale, 2.0)
    assert np.allclose(found, rotation)
    assert np.allclose(translation, (1.0, 2.0, 3.0))


def test_report_without_photos(head: HeadModel) -> None:
    report = run_heads(head, [], head)
    assert report.summary["shapes_compared"] == 51  # the tongue is no face
    text = report.markdown()
    assert "lid gap" in text
    assert "mouthSmileLeft" in text
    assert np.isfinite(posed(head)).all()


def test_photos_are_told_from_paintings(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for name in ("a.jpg", "b.jpg", "notes.txt"):
        (tmp_path / "photos" / name).write_bytes(b"")
    (tmp_path / "manifest.json").write_text('[{"file": "photos/b.jpg", "category": "painting"}]')
    assert [photo.kind for photo in find_photos(tmp_path)] == ["photo", "painting"]
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(UserError, match="JSON"):
        find_photos(tmp_path)


def test_a_folder_without_pictures_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no pictures"):
        find_photos(tmp_path)
    with pytest.raises(UserError, match="does not exist"):
        find_photos(tmp_path / "nowhere")
