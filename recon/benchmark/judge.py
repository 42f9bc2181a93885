"""One clip's judge: what a network or a tracker says of renders of its person.

Identity is asked of a face embedder, likeness of LPIPS and Inception, pose and expression of the
tracker on the default head. The tracker learns the person from the support frames of the largest T,
whatever a method was shown: it is an instrument, the same for all.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch

from avatar3d.codes import ExpressionCode
from avatar3d.heads import load_head
from recon.benchmark.clip import EVAL_PX, PreparedClip
from recon.benchmark.networks import Networks
from recon.benchmark.scores import Scores, Truth
from recon.track.frames import track_frames
from recon.track.support import track_support
from recon.track.tracking import Tracking
from render.metrics.csim import csim
from render.metrics.motion import aed, apd

PERSON_FRAMES = 8  # their embeddings' mean stands for the person
NAN = float("nan")


class ClipJudge:
    """Figures of renders of one clip's person; what is asked twice is computed once."""

    def __init__(self, clip: PreparedClip, truths: Sequence[Truth], networks: Networks) -> None:
        self.clip = clip
        self._truths = {truth.index: truth for truth in truths}
        self._networks = networks
        self._embeddings: dict[int, np.ndarray | None] = {}
        self._codes: dict[int, ExpressionCode | None] = {}

    def figures(self, render: np.ndarray, truth: Truth, found: np.ndarray | None) -> Scores:
        """Of a render [256, 256, 3] and the landmarks found on it; nan where one cannot be told."""
        networks, scores = self._networks, Scores()
        if networks.lpips is not None:
            pair = torch.from_numpy(render), torch.from_numpy(truth.picture)
            scores["lpips"] = networks.lpips(*pair)
        if networks.embedder is not None:
            own, other = self.embed(render, found), self._embedding(truth)
            scores["csim"] = NAN if own is None or other is None else csim(own, other)
            scores["csim_person"] = self.likeness(own)
        code, asked = self.code(found), self._code(truth)
        told = None if code is None or asked is None else (code, asked)
        scores["apd"] = apd(*told) if told else NAN
        scores["aed"] = aed(*told) if told else NAN
        return scores

    def embed(self, picture: np.ndarray, landmarks: np.ndarray | None) -> np.ndarray | None:
        """The identity that a picture shows; None where nothing can tell it."""
        if self._networks.embedder is None or landmarks is None:
            return None
        return self._networks.embedder(picture, landmarks[:, :2])

    def likeness(self, embedding: np.ndarray | None) -> float:
        """Cosine with the person of the clip, by the mean over some of its frames."""
        person = self._person
        return NAN if embedding is None or person is None else csim(embedding, person)

    def code(self, landmarks: np.ndarray | None) -> ExpressionCode | None:
        """Pose and expression by landmarks [478, 2] in px of the compared picture."""
        if landmarks is None:
            return None
        return self.code_in_crop(landmarks[:, :2] * (len(self.clip.valid) / EVAL_PX))

    def code_in_crop(self, landmarks: np.ndarray) -> ExpressionCode:
        """The same in px of the stored crop."""
        return track_frames(self._tracking, landmarks[None, :, :2]).at(0)

    def features(self, pictures: Sequence[np.ndarray]) -> np.ndarray | None:
        """Inception's, [N, 2048]; None without its weights."""
        if self._networks.inception is None or not pictures:
            return None
        network = self._networks.inception
        rows = [network(torch.from_numpy(picture)).numpy() for picture in pictures]
        return np.stack(rows).astype(np.float16)

    @cached_property
    def truth_features(self) -> np.ndarray | None:
        return self.features([truth.picture for truth in self._truths.values()])

    @cached_property
    def _person(self) -> np.ndarray | None:
        some = list(self._truths.values())[:: max(1, len(self._truths) // PERSON_FRAMES)]
        found = [self._embedding(truth) for truth in some]
        known = [embedding for embedding in found if embedding is not None]
        return np.mean(known, axis=0) if known else None

    @cached_property
    def _tracking(self) -> Tracking:
        frames = list(self.clip.support[max(self.clip.support)])
        return track_support(
            self.clip.landmarks[frames], len(self.clip.valid), load_head("default")
        )

    def _embedding(self, truth: Truth) -> np.ndarray | None:
        if truth.index not in self._embeddings:
            self._embeddings[truth.index] = self.embed(truth.picture, truth.landmarks)
        return self._embeddings[truth.index]

    def _code(self, truth: Truth) -> ExpressionCode | None:
        if truth.index not in self._codes:
            self._codes[truth.index] = self.code(truth.landmarks)
        return self._codes[truth.index]
