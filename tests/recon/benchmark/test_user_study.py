"""A study from pictures to a score; the page must not know what its key knows."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from avatar3d.errors import UserError
from recon.benchmark.user_study import make_study, score_study, wilson

cv2 = pytest.importorskip("cv2", reason="needs the extra recon")


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    """Two clips; a picture's red says what it is: 1 truth, 2 ours, 3 the other."""
    for clip in ("a", "b"):
        for red, column in enumerate(("truth", "ours_T8", "warp2d_T8"), start=1):
            folder = tmp_path / "frames" / clip / column
            folder.mkdir(parents=True)
            for index in range(6):
                picture = np.full((8, 8, 3), (index, 0, red), np.uint8)
                cv2.imwrite(str(folder / f"{index:05d}.png"), picture)
    (tmp_path / "frames" / "c" / "truth").mkdir(parents=True)
    return tmp_path / "frames"


def read_page(folder: Path) -> dict:
    text = (folder / "index.html").read_text()
    block = text.split('<script id="study" type="application/json">')[1].split("</script>")[0]
    return json.loads(block)


def colors(folder: Path, names: list[str]) -> tuple[list[int], list[int]]:
    pictures = [cv2.imread(str(folder / "pictures" / name)) for name in names]
    return [int(p[0, 0, 2]) for p in pictures], [int(p[0, 0, 0]) for p in pictures]


def answered(folder: Path, file: Path, choose, person: str) -> Path:
    page = read_page(folder)
    answers = {q["id"]: {"choice": choose(q), "seconds": 1.5} for q in page["questions"]}
    file.write_text(json.dumps({"study": page["id"], "participant": person, "answers": answers}))
    return file


def test_triplets_hold_two_real_frames_and_a_made_one(frames: Path, tmp_path: Path) -> None:
    study = tmp_path / "study"
    key = make_study(frames, study, ["ours_T8"], "triplets", 40)
    page = read_page(study)
    places = set()
    for question in page["questions"]:
        kinds, indices = colors(study, question["choices"])
        assert sorted(kinds) == [1, 1, 2]
        assert len(set(indices)) == 3, "three moments"
        places.add(kinds.index(2))
    assert places == {0, 1, 2}, "shuffled"
    assert "ours" not in (study / "index.html").read_text()
    assert key == tmp_path / "study.key.json"

    def made(question: dict) -> int:
        return colors(study, question["choices"])[0].index(2)

    sharp = answered(study, tmp_path / "sharp.json", made, "sharp")
    fooled = answered(study, tmp_path / "fooled.json", lambda q: (made(q) + 1) % 3, "fooled")
    (row,) = score_study(key, [sharp, fooled])
    assert row["told"] == 0.5
    assert (row["least_of_people"], row["most_of_people"]) == (0, 1)
    assert (row["people"], row["answers"]) == (2, 80)
    assert row["low"] < 0.5 < row["high"]
    assert score_study(key, [sharp])[0]["told"] == 1


def test_a_person_answers_in_a_browser(frames: Path, tmp_path: Path, chromium: Any) -> None:
    """Opened from the disk: by mouse and keys, left and gone on with, saved, scored."""
    study = tmp_path / "study"
    key = make_study(frames, study, ["ours_T8"], "triplets", 5)
    questions = read_page(study)["questions"]
    made = [colors(study, question["choices"])[0].index(2) for question in questions]
    context = chromium.new_context(viewport={"width": 390, "height": 700})
    page = context.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))

    def shown(number: int) -> None:
        page.get_by_text(f"{number + 1} of 5", exact=True).wait_for()
        page.wait_for_function("performance.now() - shownSince >= SOONEST_MS")
        sizes = page.eval_on_selector_all("#asking img", "all => all.map((i) => i.naturalWidth)")
        assert sizes == [8, 8, 8]

    page.goto((study / "index.html").as_uri())
    page.get_by_role("button", name="Begin").click()
    shown(0)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    # A double click answers one question, not the next one too.
    page.locator("#choices button").nth(made[0]).dblclick()
    shown(1)
    page.keyboard.press("9")  # no such picture
    page.keyboard.press(str(made[1] + 1))
    shown(2)
    # A browser writes behind, on a busy machine by seconds: what was answered a moment before may
    # come back later, or have to be given again.
    went_on_at = 0
    for _ in range(20):
        page.reload()
        page.get_by_role("button", name="Begin").click()
        asked = page.locator("#count")
        asked.filter(has_text=re.compile(r"^\d of 5$")).wait_for()
        went_on_at = int((asked.text_content() or "")[0]) - 1
        if went_on_at:
            break
        page.wait_for_timeout(500)
    assert went_on_at in (1, 2), "the answers before are kept"
    for number in range(went_on_at, 5):
        shown(number)
        page.keyboard.press(str(made[number] + 1))
    with page.expect_download() as download:
        page.get_by_role("button", name="Save answers").click()
    answers = tmp_path / download.value.suggested_filename
    download.value.save_as(answers)
    (row,) = score_study(key, [answers])
    assert (row["told"], row["answers"]) == (1, 5)
    times_s = [answer["seconds"] for answer in json.loads(answers.read_text())["answers"].values()]
    assert min(times_s) >= 0.25
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Delete them").click()
    page.get_by_role("button", name="Begin").click()
    shown(0)
    # What is kept is spoilt: from the start, and it says when pictures are missing.
    page.evaluate("localStorage.setItem(kept, '{')")
    for name in {name for question in questions for name in question["choices"]}:
        (study / "pictures" / name).unlink(missing_ok=True)
    page.reload()
    page.get_by_role("button", name="Begin").click()
    page.get_by_text("A picture cannot be shown").wait_for()
    context.close()
    assert problems == []


def test_pairs_compare_two_methods_of_one_moment(frames: Path, tmp_path: Path) -> None:
    study = tmp_path / "study"
    key = make_study(frames, study, ["ours_T8", "warp2d_T8"], "pairs", 20)
    for question in read_page(study)["questions"]:
        kinds, indices = colors(study, [*question["shown"], *question["choices"]])
        assert kinds[0] == 1
        assert sorted(kinds[1:]) == [2, 3]
        assert len(set(indices)) == 1

    def ours(question: dict) -> int:
        return colors(study, question["choices"])[0].index(2)

    rows = score_study(key, [answered(study, tmp_path / "one.json", ours, "one")])
    assert {row["method"]: row["chosen"] for row in rows} == {"ours_T8": 1, "warp2d_T8": 0}


def test_wilsons_interval_is_the_published_one() -> None:
    # Wilson 1927 through Newcombe 1998, table I: 81 of 263.
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert wilson(0, 20) == pytest.approx((0, 0.1611), abs=1e-4)
    assert wilson(20, 20)[1] == 1


def test_what_does_not_fit_is_said_in_words(frames: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="two methods"):
        make_study(frames, tmp_path / "s", ["ours_T8"], "pairs", 5)
    with pytest.raises(UserError, match="--keep-frames"):
        make_study(frames, tmp_path / "s", ["nobody_T8"], "triplets", 5)
    key = make_study(frames, tmp_path / "s", ["ours_T8"], "triplets", 5)
    other = make_study(frames, tmp_path / "t", ["ours_T8"], "triplets", 6)
    answers = answered(tmp_path / "s", tmp_path / "answers.json", lambda q: 0, "one")
    with pytest.raises(UserError, match="answers to the study"):
        score_study(other, [answers])
    with pytest.raises(UserError, match="repeats"):
        score_study(key, [answers, answers])
    with pytest.raises(UserError, match="no file"):
        score_study(key, [])
    good = json.loads(answers.read_text())
    for bad in ({"q000": {"choice": 7}}, {"q999": {"choice": 0}}, {"q000": 1}, [1], None):
        answers.write_text(json.dumps({**good, "answers": bad}))
        with pytest.raises(UserError):
            score_study(key, [answers])
    for content in (b"{", b"\xff\xfe", b"[]"):
        answers.write_bytes(content)
        with pytest.raises(UserError, match="saved answers"):
            score_study(key, [answers])
