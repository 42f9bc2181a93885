"""`adversarial2d` and `adversarial2d-ff` in the few-shot benchmark.

A talking head without a head: landmarks are drawn, a generator paints the person over them. Pictures
are made at the size of the networks and brought to the benchmark's.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from avatar3d.optional import require
from recon.benchmark.adversarial_2d.content import ContentPaths, content_loss
from recon.benchmark.adversarial_2d.frames import Shown, drawn, shown, together
from recon.benchmark.adversarial_2d.networks import Networks
from recon.benchmark.adversarial_2d.personal import (
    Person,
    PersonalConfig,
    feed_forward,
    fine_tuned,
)
from recon.benchmark.adversarial_2d.weights import read_networks
from recon.benchmark.clip import EVAL_PX, PreparedClip, PreparedFrame
from recon.benchmark.method import Fitted, Method
from recon.capture.inputs import hash_file
from recon.training.device import Device, choose_device

SHIPPED = "research"
# What the paper trained for (section 4): 75 epochs of VoxCeleb2's training part, at 256 px.
PAPER_PEOPLE, PAPER_VIDEOS, PAPER_EPOCHS, PAPER_PX = 5_994, 145_569, 75, 256


class PersonFitted(Fitted):
    def __init__(self, person: Person, size_px: int) -> None:
        self._person, self._size_px = person, size_px

    def render(self, test_index: int, clip: PreparedClip) -> np.ndarray:
        shares = clip.landmarks[test_index][:, :2] / len(clip.valid)
        picture = self._person.picture(drawn(shares, self._size_px))
        return resized(picture, EVAL_PX)


class Adversarial2D(Method):
    """Fine-tuned on the support frames: the paper's FT."""

    name = "adversarial2d"

    def __init__(
        self,
        weights: Path | None = None,
        config: PersonalConfig | None = None,
        content: ContentPaths | None = None,
        device: Device = "auto",
    ) -> None:
        """`weights`: a file of the training's, or a folder of folds; the shipped ones without."""
        self._weights = weights
        self._config = config or PersonalConfig()
        self._content = content_loss(content)
        self._device = choose_device(device)
        self._content.to(self._device)
        require("cv2", extra="recon")  # now, or its import counts as the first frame's

    def about(self, clip_sha256: str) -> Method:
        """With the fold's weights that have not seen the clip's person, where there are folds."""
        if self._weights is None or not self._weights.is_dir():
            return self
        from recon.prior.folds import fold_for

        own = copy.copy(self)
        own._weights = fold_for(self._weights, clip_sha256)
        return own

    def settings(self) -> dict[str, object]:
        common = {"content": self._content.name, "fit": dataclasses.asdict(self._config)}
        if self._weights is not None and self._weights.is_dir():
            return {**common, "weights": self._weights.name, "note": "weights differ by fold"}
        networks, facts, called = load(self._weights)
        return {**common, "weights": called, "note": training_note(networks, facts)}

    def fit(self, support: Sequence[PreparedFrame], clip: PreparedClip) -> Fitted:
        networks, _, _ = load(self._weights)
        networks = networks.to(self._device)
        size_px = networks.sizes.size_px
        frames = together([shown(frame, size_px) for frame in support]).to(self._device)
        return PersonFitted(self._person(networks, frames), size_px)

    def _person(self, networks: Networks, support: Shown) -> Person:
        return fine_tuned(networks, support, self._content, self._config)


class Adversarial2DFeedForward(Adversarial2D):
    """The embedder's answer without fine-tuning: the paper's FF."""

    name = "adversarial2d-ff"

    def _person(self, networks: Networks, support: Shown) -> Person:
        return feed_forward(networks, support)


@lru_cache(maxsize=2)
def load(weights: Path | None) -> tuple[Networks, dict[str, Any], str]:
    """The networks, what is known of their training, and what reports call them."""
    if weights is None:
        package = resources.files("recon.benchmark.adversarial_2d")
        with resources.as_file(package / f"{SHIPPED}.safetensors") as path:
            return (*read_networks(path), f"{SHIPPED} {hash_file(path)[:8]}")
    return (*read_networks(weights), f"{weights.name} {hash_file(weights)[:8]}")


def training_note(networks: Networks, facts: dict[str, Any]) -> str:
    """How far the training went, beside the paper's."""
    steps, batch = facts.get("steps"), facts.get("config", {}).get("batch", 1)
    if not isinstance(steps, int) or not isinstance(batch, int):
        return "its networks' file does not say how they were trained"
    episodes, paper = steps * batch, PAPER_EPOCHS * PAPER_VIDEOS
    return (
        f"meta-learned in {steps:,} steps ({episodes:,} episodes, {episodes / paper:.2%} of the "
        f"paper's {paper / 1e6:.1f} million at the least) on {facts.get('clips', '?')} clips of "
        f"{facts.get('people', '?')} people (the paper: {PAPER_VIDEOS:,} videos of "
        f"{PAPER_PEOPLE:,}) at {networks.sizes.size_px} px (the paper: {PAPER_PX}), on "
        f"{facts.get('device', 'an unknown device')}; content loss: {facts.get('content', '?')}"
    )


def resized(picture: np.ndarray, size_px: int) -> np.ndarray:
    """A picture at the benchmark's size, 0..1."""
    if len(picture) == size_px:
        return picture
    cv2 = require("cv2", extra="recon")
    smaller = size_px < len(picture)
    by = cv2.INTER_AREA if smaller else cv2.INTER_CUBIC
    return np.clip(cv2.resize(picture, (size_px, size_px), interpolation=by), 0, 1)
