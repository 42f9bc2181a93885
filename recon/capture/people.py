"""Do the photos show one person? Who does not belong is left out, and said.

Two ways to tell. With dlib's network, where the packages of the extra `identity` are installed, by
faces' embeddings: among 21 photos of six people every pair of one person had a cosine of .949 or
more, every pair of two .937 or less. Without it by landmarks and skin, which tell only flagrant
mixtures apart.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import lru_cache
from importlib.util import find_spec
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from avatar3d.errors import UserError
from recon.capture.opencv import cv2
from recon.capture.prepared import PreparedFrame
from render.metrics.csim import Dlib, csim, packaged_dlib

logger = logging.getLogger(__name__)

# Landmarks that expressions hardly move: eye corners, nose, temples, cheeks.
RIGID = (33, 133, 362, 263, 168, 6, 197, 195, 5, 4, 1, 2, 98, 327, 129, 358, 10, 151, 127, 356, 234,
         454, 93, 323, 132, 361, 117, 346, 50, 280)  # fmt: skip
SKIN = (50, 280, 117, 346, 151, 9)  # cheeks and forehead
# 1.1 times the largest value among 39 pairs of photos of one person.
SHAPE_LIMIT = 0.105
SKIN_LIMIT = 27.0
GREY_CHROMA = 4.0  # below it a photo is black and white, and says nothing of the skin's colour
# Cosines of dlib's embeddings: its authors' limit, a distance of .6, is one of .91.
OTHER_PERSON, DOUBTFUL = 0.91, 0.943
# A photo whose landmarks lie this much farther from the others' than those lie from one another is
# named: none of 21 sets of one person's photos, a fifth of 771 with a stranger among them.
EXCESS = 0.024

Verdict = Callable[[PreparedFrame, PreparedFrame], "str"]  # "same", "doubtful" or "other"


def check_same_person(frames: Sequence[PreparedFrame]) -> list[PreparedFrame]:
    """The photos that may show one person: those that most others resemble.

    A photo of somebody else is left out with a warning that names it; two photos of two people, or
    a set without a majority, are refused. Where a photo is doubtful, a warning names it.
    """
    frames = list(frames)
    if len(frames) < 2:
        return frames
    verdict = _by_embedding(frames) or _by_landmarks
    verdicts = {
        pair: verdict(*(frames[k] for k in pair)) for pair in combinations(range(len(frames)), 2)
    }

    def with_others(index: int, *kinds: str) -> int:
        return sum(verdicts[pair] in kinds for pair in verdicts if index in pair)

    strangers = [
        index for index in range(len(frames)) if with_others(index, "other") > (len(frames) - 1) / 2
    ]
    kept = [index for index in range(len(frames)) if index not in strangers]
    left = [pair for pair in verdicts if verdicts[pair] == "other" and not {*pair} & {*strangers}]
    if len(kept) < 2 or len(kept) <= len(strangers) or left:
        a, b = left[0] if left else next((p for p in verdicts if verdicts[p] == "other"), (0, 0))
        if a != b:
            raise UserError(
                f"{frames[a].source} and {frames[b].source} seem to show different people; "
                f"give photos of one"
            )
    for index in strangers:
        logger.warning(
            "%s seems to show another person than the other %d photos and is left out",
            frames[index].source, len(kept),
        )  # fmt: skip
    _say_doubts([frames[index] for index in kept], verdict)
    return [frames[index] for index in kept]


def _say_doubts(frames: Sequence[PreparedFrame], verdict: Verdict) -> None:
    doubtful = [pair for pair in combinations(frames, 2) if verdict(*pair) != "same"]
    for frame in frames:
        mine = [pair for pair in doubtful if any(frame is other for other in pair)]
        if len(frames) > 2 and len(mine) > (len(frames) - 1) / 2:
            _doubt(frame)
            return
    for a, b in doubtful:
        logger.warning(
            "%s and %s differ unusually much: make sure that they show one person",
            a.source, b.source,
        )  # fmt: skip
    if not doubtful and verdict is _by_landmarks and (odd := odd_one_out(frames)) is not None:
        _doubt(odd)


def _doubt(frame: PreparedFrame) -> None:
    logger.warning(
        "%s is least like the other photos: make sure that it shows the same person, or leave it out",
        frame.source,
    )


def odd_one_out(frames: Sequence[PreparedFrame]) -> PreparedFrame | None:
    """The photo, of three or more, whose face's shape stands out of the others'."""
    if len(frames) < 3:
        return None
    count = len(frames)
    apart = np.zeros((count, count))
    for a, b in combinations(range(count), 2):
        apart[a, b] = apart[b, a] = shape_distance(frames[a].landmarks, frames[b].landmarks)
    pairs = count * (count - 1) / 2
    own = apart.sum(1) / (count - 1)
    rest = (apart.sum() / 2 - apart.sum(1)) / (pairs - (count - 1))
    excess = own - rest
    worst = int(excess.argmax())
    return frames[worst] if excess[worst] > EXCESS else None


def _by_landmarks(a: PreparedFrame, b: PreparedFrame) -> str:
    """Measured on 54 photos of 34 people (39 pairs of one person, 1392 of two): the Procrustes
    distance of rigid landmarks orders pairs rightly in 78 % of cases, the colour of the skin in
    72 %; light, lens and view change both as much as identity does. So two are other people only
    where both exceed what one person ever showed (4 % of the mixed pairs, mostly of a few unusual
    photos; no pair of one person), and doubtful where either does (14 %). Most mixtures pass.
    """
    unlike = shape_distance(a.landmarks, b.landmarks) > SHAPE_LIMIT
    otherwise_coloured = skin_distance(a, b) > SKIN_LIMIT
    return ("same", "doubtful", "other")[unlike + otherwise_coloured]


def _by_embedding(frames: Sequence[PreparedFrame]) -> Verdict | None:
    """The verdict of dlib's network; None where it is not installed."""
    embed = _embedder()
    if embed is None:
        return None
    known = {id(frame): embed(frame.image, frame.landmarks[:, :2]) for frame in frames}

    def verdict(a: PreparedFrame, b: PreparedFrame) -> str:
        cosine = csim(known[id(a)], known[id(b)])
        return "other" if cosine < OTHER_PERSON else "doubtful" if cosine < DOUBTFUL else "same"

    return verdict


@lru_cache(maxsize=1)
def _embedder() -> Dlib | None:
    return Dlib() if find_spec("dlib") and packaged_dlib() else None


def shape_distance(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    """Procrustes distance of two [478, 3] landmark sets at unit size, over the rigid landmarks."""
    normed = []
    for landmarks in (a, b):
        points = landmarks[list(RIGID)].astype(np.float64)
        points -= points.mean(axis=0)
        normed.append(points / np.linalg.norm(points))
    left, singular, right = np.linalg.svd(normed[0].T @ normed[1])
    if np.linalg.det(left @ right) < 0:
        singular[-1] = -singular[-1]
    return float(np.sqrt(max(0.0, 2.0 - 2.0 * singular.sum())))


def skin_distance(a: PreparedFrame, b: PreparedFrame) -> float:
    """Distance of the median skin colours in CIELAB; 0 where either photo is black and white."""
    colours = [_skin_lab(a), _skin_lab(b)]
    if any(np.hypot(*colour[1:]) < GREY_CHROMA for colour in colours):
        return 0.0
    return float(np.linalg.norm(colours[0] - colours[1]))


def _skin_lab(frame: PreparedFrame) -> NDArray[np.float32]:
    lab = cv2.cvtColor(frame.image, cv2.COLOR_RGB2LAB)
    size = lab.shape[0]
    face_height = float(np.linalg.norm(frame.landmarks[152, :2] - frame.landmarks[10, :2]))
    radius = max(2, int(0.03 * face_height))
    patches = []
    for x, y in np.clip(frame.landmarks[list(SKIN), :2].astype(int), 0, size - 1):
        top, left = max(0, y - radius), max(0, x - radius)
        patches.append(lab[top : y + radius, left : x + radius].reshape(-1, 3))
    return np.median(np.concatenate(patches), axis=0)
