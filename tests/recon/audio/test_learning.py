"""Cross-validation is fair, refitting learns, a person is only changed for the better."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from avatar3d.errors import UserError
from avatar3d.heads import load_head
from recon.audio.crossvalidate import (
    Predictor,
    best_threshold,
    constant,
    cross_validate,
    f1,
    folds,
    loudness,
    score,
)
from recon.audio.material import Lesson, aligned, aligned_by_others, correlation
from recon.audio.outputs import MEASURES, UNTAUGHT, run
from recon.audio.personal import agreement, personalise, refit, targets
from tests.avatar3d.audio.voices import random_voice
from tests.recon.audio.lessons import made_lesson

HEAD = load_head("default")
VOICE = random_voice()
PEOPLE = [made_lesson(name, 6.0, seed) for seed, name in enumerate("aabcd")]


def _taught(lessons: list[Lesson], trust: float = 10.0):
    hidden = np.concatenate([run(VOICE.network, one.bands)[1] for one in lessons])
    wanted = np.concatenate([targets(one) for one in lessons])
    return refit(VOICE.network, hidden, wanted, trust, from_nothing=True)


def test_nobody_is_taught_and_judged() -> None:
    seen: list[tuple[set[str], str]] = []

    def spy(taught: list[Lesson]) -> Predictor:
        people = {one.identity for one in taught}

        def predict(lesson: Lesson):
            if lesson.identity not in people:
                seen.append((people, lesson.identity))
            return lesson.measures, None, -lesson.measures[:, 0]

        return predict

    scores = cross_validate(spy, PEOPLE, HEAD)
    assert sorted({person for _, person in seen}) == ["a", "b", "c", "d"]
    assert scores.mean == pytest.approx(1.0)
    assert scores.closure_f1 > 0.95
    groups = folds(PEOPLE)
    assert sum(len(group) for group in groups) == 4
    assert {"a"} in groups  # with most speech, alone


def test_what_can_be_learned_is_learned_on_others() -> None:
    def learned(taught: list[Lesson]) -> Predictor:
        head = _taught(taught)

        def predict(lesson: Lesson):
            hidden = run(VOICE.network, lesson.bands)[1]
            said = hidden @ head.weight.detach().numpy().T + head.bias.detach().numpy()
            return said[:, MEASURES], None, -said[:, MEASURES][:, 0]

        return predict

    assert cross_validate(learned, PEOPLE, HEAD).mean > 0.8
    assert cross_validate(constant, PEOPLE, HEAD).mean == 0
    assert cross_validate(loudness, PEOPLE, HEAD).mean < 0.8


def test_the_constant_guess_is_always_closed() -> None:
    scores = cross_validate(constant, PEOPLE, HEAD)
    assert scores.closure_f1 == pytest.approx(scores.always_closed_f1, abs=0.03)


def test_untaught_channels_and_the_energy_are_left_alone() -> None:
    head, before = _taught(PEOPLE), VOICE.network.head
    for row in [*UNTAUGHT, 27]:
        assert (head.weight[row] == before.weight[row]).all()
    assert (head.weight[0] != before.weight[0]).any()


def test_endless_trust_keeps_the_old_head_but_for_its_mean() -> None:
    hidden = run(VOICE.network, PEOPLE[0].bands)[1]
    head = refit(VOICE.network, hidden, targets(PEOPLE[0]), 1e12)
    np.testing.assert_allclose(
        head.weight.detach().numpy(), VOICE.network.head.weight.numpy(), atol=1e-5
    )


def test_a_person_is_learned_from_a_clip_and_not_from_noise() -> None:
    clip = made_lesson("x", 14.0, 7)
    personal = personalise(VOICE, clip)
    assert personal.trust is not None
    assert personal.after > personal.before + 0.15
    assert personal.model.onnx is None
    said = run(personal.model.network, clip.bands)[0][:, MEASURES]
    assert agreement(said, clip.measures) > personal.before + 0.15

    rng = np.random.default_rng(0)
    good = run(personal.model.network, clip.bands)[0][:, MEASURES]
    # A model that is right already, and a clip whose first part is noise: nothing to learn.
    misleading = replace(
        clip,
        measures=np.concatenate([rng.standard_normal((480, 7)), good[480:]]).astype(np.float32),
    )
    kept = personalise(personal.model, misleading)
    assert kept.after >= kept.before
    if kept.trust is None:
        assert kept.model is personal.model


def test_a_clip_that_is_too_short_is_refused() -> None:
    with pytest.raises(UserError, match="at least 5 s"):
        personalise(VOICE, made_lesson("x", 3.0, 1))


@pytest.mark.parametrize("shift", [-12, 0, 9])
def test_the_offset_of_the_sound_is_found(shift: int) -> None:
    head = _taught(PEOPLE)
    voice = random_voice()
    voice.network.head = head
    clip = made_lesson("x", 10.0, 21)
    moved, found = aligned(clip.moved(shift), voice.network)
    assert found["offset_s"] == pytest.approx(-0.02 * shift)
    inside = slice(50, -50)
    np.testing.assert_allclose(moved.measures[inside], clip.measures[inside])


def test_the_others_find_offsets_that_nobody_knew() -> None:
    """Shifted clips come back to their places by what the rest of the people say, none by itself."""
    shifts = dict(zip((one.sha256 for one in PEOPLE), (-6, 0, 3, 0, 0)))
    shifted = [replace(one.moved(shifts[one.sha256]), raw=None) for one in PEOPLE]
    found = aligned_by_others(shifted, VOICE.network)[1]
    assert {key: round(one["offset_s"] / 0.02) for key, one in found.items()} == {
        key: -shift for key, shift in shifts.items()
    }
    noise = np.random.default_rng(0).standard_normal(PEOPLE[0].measures.shape)
    liar = replace(PEOPLE[0], identity="e", measures=noise.astype(np.float32))
    alone = aligned_by_others([liar, *PEOPLE[1:]], VOICE.network)[1][liar.sha256]
    assert alone["agreement"] < 0.2  # its own noise was not learned


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40))
def test_f1_is_its_definition(pairs: list[tuple[bool, bool]]) -> None:
    said, truth = (np.array(values) for values in zip(*pairs))
    hits = sum(a and b for a, b in pairs)
    precision = hits / max(sum(said), 1)
    recall = hits / max(sum(truth), 1)
    wanted = 2 * precision * recall / (precision + recall) if hits else 0.0
    assert f1(said, truth) == pytest.approx(wanted)


def test_the_best_threshold_separates_what_can_be_separated() -> None:
    rng = np.random.default_rng(0)
    closed = rng.random(2000) < 0.2
    logits = np.where(closed, 2.0, -1.0) + 0.3 * rng.standard_normal(2000)
    assert -0.5 < best_threshold(logits, closed) < 1.5


def test_scores_weigh_clips_by_their_length() -> None:
    long, short = made_lesson("a", 12.0, 1), made_lesson("b", 3.0, 2)
    wrong = (short, (-short.measures, None, short.measures[:, 0]), 0.0)
    right = (long, (long.measures, None, -long.measures[:, 0]), 0.0)
    scores = score([right, wrong], HEAD)
    share = (len(long) - 25) / (len(long) + len(short) - 50)
    assert scores.mean == pytest.approx(2 * share - 1, abs=1e-6)
    assert correlation(np.zeros(9), np.arange(9.0)) == 0
