"""What the benchmark asks of a method, and the list of those it knows."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from avatar3d.errors import UserError
from recon.benchmark.clip import PreparedClip, PreparedFrame

# name -> "module:class", imported when asked for, so that a method's packages load only with it.
METHODS: dict[str, str] = {
    "ours": "recon.benchmark.ours:Ours",
    "ours-ff": "recon.benchmark.ours:OursFeedForward",
    "ours-linear": "recon.benchmark.ours:OursLinear",
    "ours-noprior": "recon.benchmark.ours:OursWithoutPrior",
    "ours-unaided": "recon.benchmark.ours:OursUnaided",
    "ours-pixels": "recon.benchmark.ours:OursOnPixels",
    "ours_start": "recon.benchmark.ours:OursStart",
    "copy": "recon.benchmark.copy:Copy",
    "warp2d": "recon.benchmark.warp_2d:Warp2D",
    "adversarial2d": "recon.benchmark.adversarial_2d.baseline:Adversarial2D",
    "adversarial2d-ff": "recon.benchmark.adversarial_2d.baseline:Adversarial2DFeedForward",
}

# What follows a method's name where its fit is left out: the report counts against it.
START = "_start"


class Fitted(ABC):
    """A person as a method has learned them from the support frames of one clip."""

    @abstractmethod
    def render(self, test_index: int, clip: PreparedClip) -> Float[np.ndarray, "256 256 3"]:
        """The person in the pose of frame `test_index`, on white, 0..1.

        `clip` carries landmarks up to and with that frame, and the support frames' pixels. Frames
        are asked for in ascending order, so an implementation may carry state from one to the next.
        """

    def drive(
        self, index: int, driven: PreparedClip, driver: PreparedClip
    ) -> Float[np.ndarray, "256 256 3"]:
        """The person in the motion of another person's frame `index`, on white, 0..1.

        `driven` has the driver's landmarks brought to this person's place and size, and only the
        support frames' pixels: enough for methods that follow landmarks. `driver` is the other
        person's clip, for methods that carry motion over by themselves; its pixels are not to be
        looked at.
        """
        return self.render(index, driven)

    def figures(self) -> dict[str, float]:
        """More numbers for the report's row (stages' seconds, counts); names in snake_case."""
        return {}


class Method(ABC):
    """One way from support frames to pictures of the same person in other poses."""

    name: str
    # A method that looks at the test frame's pixels is another column, and the report says so.
    sees_test_pixels: bool = False

    def settings(self) -> dict[str, object]:
        """What was chosen, for the report; plain values that JSON can hold. A sentence under `note`
        stands beside the tables."""
        return {}

    def about(self, clip_sha256: str) -> Method:
        """The method as it may be used on a clip file: with weights that have not seen its person,
        where it has several."""
        return self

    @abstractmethod
    def fit(self, support: Sequence[PreparedFrame], clip: PreparedClip) -> Fitted:
        """Learn the person. `clip` carries the landmarks of its first half and no other pixels
        than those of `support`. What is computed here counts as the seconds of the fit."""


def get_method(name: str) -> Method:
    """A method of METHODS with its default settings."""
    return method_class(name)()


def method_class(name: str) -> type[Method]:
    """The class behind a name of METHODS, loaded now."""
    if name not in METHODS:
        raise UserError(
            f"there is no benchmark method called {name!r}; choose from {', '.join(METHODS)}"
        )
    module, _, attribute = METHODS[name].partition(":")
    return getattr(importlib.import_module(module), attribute)
