"""What is known about expression codes before a face is seen: few are active, and together.

Landmarks leave many codes open: a smile is also dimple + stretch + cheek, a moved jaw also a moved
mouth. The prior decides between them, so that a code means the same on every face and drives
another head as the name says. All strengths are relative to what a coefficient does to the
landmarks (its curvature s^2 in the data term), so that small shapes are not used to soak up the
errors of the model, and one table serves all heads:

    sum_i price_i sparsity s_i eps log(1 + e_i/eps)          few active (reweighted L1, Candes 2008)
  + 1/2 shrinkage price_i s_i^2 e_i^2                        rarely large
  + 1/2 symmetry s^2 (left - right)^2                        faces are nearly symmetric
  + 1/2 gaze s^2 (e_a - e_b)^2                               both eyes look the same way
  + exclusion s^2 e_a e_b                                    antagonists are not used at once
  + 1/2 lips s^2 max(0, mouthClose - jawOpen)^2              lips close over an open jaw only
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

# Price of a coefficient, 1 where not named. High: seen poorly in landmarks, or easily confused.
PRICES: dict[str, float] = {
    "eyeBlink": 0.4, "eyeLook": 0.6, "eyeSquint": 1.5, "eyeWide": 1.0,
    "jawOpen": 0.5, "jawForward": 12.0, "jawLeft": 2.0, "jawRight": 2.0,
    "mouthClose": 2.0, "mouthSmile": 0.7, "mouthDimple": 1.7, "mouthStretch": 1.5,
    "mouthUpperUp": 0.7, "mouthLowerDown": 1.2, "mouthLeft": 1.7, "mouthRight": 1.7,
    "mouthShrugLower": 1.7, "mouthShrugUpper": 4.0, "mouthPress": 3.0,
    "cheekPuff": 3.0, "cheekSquint": 2.0, "noseSneer": 1.7, "tongueOut": 10.0,
}  # fmt: skip
ANTAGONISTS: tuple[tuple[str, str], ...] = (
    ("eyeLookIn", "eyeLookOut"), ("eyeLookUp", "eyeLookDown"), ("eyeBlink", "eyeWide"),
    ("eyeSquint", "eyeWide"), ("mouthSmile", "mouthFrown"), ("browDown", "browOuterUp"),
    ("mouthStretch", "mouthPucker"), ("mouthStretch", "mouthFunnel"),
    ("mouthSmile", "mouthPucker"), ("mouthSmile", "mouthFunnel"), ("mouthDimple", "mouthPucker"),
    ("mouthLeft", "mouthRight"), ("jawLeft", "jawRight"),
    ("mouthRollLower", "mouthLowerDown"), ("mouthRollUpper", "mouthUpperUp"),
    ("mouthRollLower", "mouthFunnel"), ("mouthRollUpper", "mouthFunnel"),
    ("mouthRollLower", "mouthShrugLower"), ("mouthRollUpper", "mouthShrugUpper"),
    ("mouthPress", "jawOpen"), ("cheekPuff", "jawOpen"), ("mouthShrugUpper", "jawOpen"),
    ("mouthShrugLower", "jawOpen"), ("mouthPress", "mouthLowerDown"), ("mouthPress", "mouthUpperUp"),
    ("mouthClose", "mouthFunnel"),
)  # fmt: skip
# Both eyes turn together: the pairs that are equal, left eye's first.
GAZE: tuple[tuple[str, str], ...] = (
    ("eyeLookInLeft", "eyeLookOutRight"), ("eyeLookOutLeft", "eyeLookInRight"),
    ("eyeLookUpLeft", "eyeLookUpRight"), ("eyeLookDownLeft", "eyeLookDownRight"),
)  # fmt: skip
# One side of these does not imply the other.
ASYMMETRIC = ("eyeLookIn", "eyeLookOut", "jaw", "mouthLeft", "mouthRight")


@dataclass(frozen=True)
class CodePriorSettings:
    sparsity: float = 0.6  # sigmas of the data that a coefficient must explain before it is used
    epsilon: float = 0.15  # above this a coefficient is in use, and more of it costs little
    shrinkage: float = 0.004
    symmetry: float = 0.1
    gaze: float = 3.0
    exclusion: float = 0.15
    lips: float = 1.0


# For an avatar and its own person: codes follow the landmarks closely, and mean less. On the few-shot
# benchmark's clips, against the strengths above for support frames and a sparsity of .35 for others:
# face +.1 dB with one support frame and +.2 with eight, head +.2, lips .05 px nearer (still weaker
# priors gained nothing more); but known codes of painted heads come back with an error of .083
# instead of .058, with 17 coefficients in use for the true 5 and not 11, so codes that are to move
# others keep to the stronger prior.
CLOSE = CodePriorSettings(sparsity=0.1, shrinkage=0.001, symmetry=0.03, exclusion=0.03)


class CodePrior:
    """The prior of the module's text for one head; gradient and a positive curvature at a code."""

    def __init__(
        self,
        names: tuple[str, ...],
        curvature: Float[np.ndarray, " E"],
        settings: CodePriorSettings,
    ) -> None:
        index = {name: number for number, name in enumerate(names)}
        size2 = np.maximum(curvature, 1e-3 * curvature.max())
        price = np.array([_price(name) for name in names])
        self.epsilon = settings.epsilon
        self.l1 = settings.sparsity * price * np.sqrt(size2)
        self.quadratic = np.diag(settings.shrinkage * price * size2)
        for a, b in _sides(index):
            self._couple(a, b, settings.symmetry * min(size2[a], size2[b]))
        for left, right in GAZE:
            a, b = index[left], index[right]
            self._couple(a, b, settings.gaze * min(size2[a], size2[b]))
        self.exclusion = np.zeros_like(self.quadratic)
        for a, b in _antagonists(index):
            strength = settings.exclusion * min(size2[a], size2[b])
            self.exclusion[a, b] += strength
            self.exclusion[b, a] += strength
        self.close, self.jaw = index["mouthClose"], index["jawOpen"]
        self.lips = settings.lips * size2[self.close]

    def scaled(self, factor: float) -> CodePrior:
        """The same prior, that much stronger."""
        other = copy.copy(self)
        for name in ("l1", "quadratic", "exclusion", "lips"):
            setattr(other, name, factor * getattr(self, name))
        return other

    def _couple(self, a: int, b: int, strength: float) -> None:
        self.quadratic[[a, b], [a, b]] += strength
        self.quadratic[[a, b], [b, a]] -= strength

    def cost(self, codes: Float[np.ndarray, "F E"]) -> Float[np.ndarray, " F"]:
        sparse = self.l1 * self.epsilon * np.log1p(codes / self.epsilon)
        pairs = 0.5 * ((codes @ (self.quadratic + self.exclusion)) * codes).sum(-1)
        ajar = np.maximum(codes[:, self.close] - codes[:, self.jaw], 0)
        return sparse.sum(-1) + pairs + 0.5 * self.lips * ajar**2

    def linearise(
        self, codes: Float[np.ndarray, "F E"]
    ) -> tuple[Float[np.ndarray, "F E"], Float[np.ndarray, "F E E"]]:
        """Gradient, and the curvature of a convex function that touches the cost from above there.

        The log is concave: its tangent lies above it, so it adds no curvature. Of e_a e_b =
        ((e_a + e_b)^2 - e_a^2 - e_b^2)/2 the negative squares are replaced by their tangents.
        """
        gradient = self.l1 * self.epsilon / (codes + self.epsilon)
        gradient = gradient + codes @ (self.quadratic + self.exclusion)
        curvature = self.quadratic + self.exclusion + np.diag(self.exclusion.sum(1))
        curvature = np.repeat(curvature[None], len(codes), axis=0)
        ajar = np.maximum(codes[:, self.close] - codes[:, self.jaw], 0)
        gradient[:, self.close] += self.lips * ajar
        gradient[:, self.jaw] -= self.lips * ajar
        pair, open_ = [self.close, self.jaw], self.lips * (ajar > 0)
        for row, column, sign in ((0, 0, 1), (1, 1, 1), (0, 1, -1), (1, 0, -1)):
            curvature[:, pair[row], pair[column]] += sign * open_
        return gradient, curvature


def _price(name: str) -> float:
    fitting = [prefix for prefix in PRICES if name.startswith(prefix)]
    return PRICES[max(fitting, key=len)] if fitting else 1.0


def _sides(index: dict[str, int]) -> Iterator[tuple[int, int]]:
    """Left and right of the shapes that faces mostly use on both sides."""
    for name, number in index.items():
        other = index.get(name.removesuffix("Left") + "Right")
        if name.endswith("Left") and other is not None and not name.startswith(ASYMMETRIC):
            yield number, other


def _antagonists(index: dict[str, int]) -> Iterator[tuple[int, int]]:
    """Pairs of ANTAGONISTS: those with sides exclude each other on the same side only."""
    for first, second in ANTAGONISTS:
        for side in ("Left", "Right"):
            a = index.get(first, index.get(first + side))
            b = index.get(second, index.get(second + side))
            if a is not None and b is not None:
                yield a, b
            if first in index and second in index:
                break
