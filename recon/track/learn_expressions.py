"""Learn how each coefficient moves a head's landmarks: corrections of its shapes, over clips.

    python -m recon.track.learn_expressions CLIP... --output FILE

Run it when the authored shapes of the default head have changed; its build script adds what this
writes to them (`expression_corrections.safetensors`).

Alternates between tracking every clip and one ridge regression. At its final pose a frame says in
which direction of the picture every landmark is off; how that follows the frame's coefficients is
what the shapes lack. What stays the same in a clip is the person's and is taken out first. Faces
count with their mirror images, so that left shapes and right ones stay mirror images. A shape is
corrected where it acts already, and never the lids' borders, which slide on the eyeball: so a smile
stays a smile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from jaxtyping import Bool, Float, Int
from safetensors.numpy import save_file

from avatar3d.cli import run_script
from avatar3d.codes import other_side
from avatar3d.errors import UserError
from avatar3d.files import atomic_output
from avatar3d.heads import HeadModel, load_head
from recon.capture.mesh_points import EYES, OVAL
from recon.capture.mirror import MIRROR
from recon.track.code_prior import CodePrior
from recon.track.landmark_shape import LandmarkShape, build_landmark_shape, learned_offsets
from recon.track.learn_offsets import clip_landmarks
from recon.track.observation import LID_FOLD, WEIGHTS, frame_weights
from recon.track.solver import FrameState
from recon.track.support import SupportSettings, solve_support
from recon.track.tracking import landmark_directions, prior_of_shape

NOISE_M = 1.0e-3  # of a landmark in a frame, the motion of the head beside it taken out
INDEPENDENT_FRAMES = 0.15  # neighbours in a clip repeat each other's errors
CORRECTION_SHARE = 0.2  # of a shape's largest motion: how far its correction may well reach
MAX_CORRECTION_M = 2.5e-3
SMOOTH_M = (0.0025, 0.0025, 0.007)  # reach of the mean over neighbours: x, y, depth
# Clips seldom show a coefficient near 1: what a correction of many millimetres says is a guess.
LONGEST_M = 4e-3
REACH_M = 0.012  # how far beside its landmarks a shape may move others
LID_FREE_M = (
    0.004,
    0.012,
)  # distance from the lids' borders where corrections begin, and are whole
OUTLINE_SHARE = 0.3  # the outline slides with the view and the mouth: most of it is no motion
LOWER_SHARE = 0.4  # of the chin's drop: more belongs to the lower lip and the chin
FRAMES = 16  # of a clip
# Shapes that are made of turns or slide on the eyeball, and those that hardly any clip shows.
UNTOUCHED = ("eyeLook", "tongueOut", "jawForward")


@dataclass(frozen=True)
class LearnedExpressions:
    corrections: Float[np.ndarray, "E 478 3"]  # metres at coefficient 1, before joints turn
    residual_px: list[float]  # mean landmark distance at 512, a round


def learn_expressions(
    head: HeadModel,
    clips: Iterable[Float[np.ndarray, "F 478 2"]],
    rounds: int = 3,
    focal_px: float = 1500.0,
    mapped: Callable = map,
) -> LearnedExpressions:
    """`clips` hold landmarks of one person each, px about the centre of a 512 px crop; `mapped`
    may be a pool's `imap`."""
    clips = list(clips)
    settings = SupportSettings(joint_steps=6, final_steps=2)
    bare = build_landmark_shape(head, learned_offsets().get(head.name, 0.0))
    spread = correction_spread(bare, head.expression_names)
    sides = mirrored_names(head.expression_names)
    flip = np.array([-1.0, 1.0, 1.0])
    corrections = np.zeros((head.expression_count, 478, 3))
    residuals = []
    for _ in range(rounds):
        shape = corrected(bare, corrections)
        prior = prior_of_shape(shape, head.expression_names, settings.code)
        system = _Ridge(head.expression_count)
        lengths = []
        for landmarks_px, solved in zip(
            clips, mapped(_Solve(shape, prior, focal_px, settings), clips)
        ):
            identity, focal, state = solved
            person = shape.of_person(identity)
            residual, directions = landmark_directions(person, state, landmarks_px, focal)
            lengths.append(np.linalg.norm(residual, axis=-1).mean())
            weights = frame_weights(residual, landmarks_px, state.pose, person, focal)
            weights = weights / WEIGHTS  # what is hardly seen counts less
            weights = weights / weights.max(axis=1, keepdims=True)
            px = focal / state.pose.translation[:, 2] * NOISE_M
            scale = np.sqrt(weights * INDEPENDENT_FRAMES) / px[:, None]
            lifted = directions * scale[..., None, None]
            wanted = residual * scale[..., None]
            system.add(state.codes, lifted, wanted)
            system.add(
                state.codes[:, sides],
                lifted[:, MIRROR] * flip,
                wanted[:, MIRROR],
            )
        corrections = system.solve(spread, corrections)
        corrections = 0.5 * (corrections + corrections[sides][:, MIRROR] * flip)
        residuals.append(float(np.mean(lengths)))
    return LearnedExpressions(
        saturated(smoothed(bare, head.expression_names, corrections)), residuals
    )


@dataclass(frozen=True)
class _Solve:
    """`solve_support` of one clip; a class, so that it travels to other processes."""

    shape: LandmarkShape
    prior: CodePrior
    focal_px: float
    settings: SupportSettings

    def __call__(self, landmarks_px: np.ndarray) -> tuple[np.ndarray, float, FrameState]:
        return solve_support(self.shape, self.prior, landmarks_px, self.focal_px, self.settings)


class _Ridge:
    """For every landmark: D [E, 3] that explains  residual = directions @ (codes @ D + person's)."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._system = np.zeros((478, 3 * count, 3 * count))
        self._target = np.zeros((478, 3 * count))

    def add(self, codes: np.ndarray, directions: np.ndarray, residual: np.ndarray) -> None:
        own = np.einsum("flij,flik->ljk", directions, directions) + 1e-3 * np.eye(3)
        offset = np.linalg.solve(own, np.einsum("flij,fli->lj", directions, residual)[..., None])
        varying = residual - np.einsum("flij,lj->fli", directions, offset[..., 0])
        codes = codes - codes.mean(0)
        used = np.where(np.abs(codes).max(0) > 1e-3)[0]
        for landmark in range(478):
            block = np.einsum("fe,fij->fiej", codes[:, used], directions[:, landmark])
            block = block.reshape(-1, 3 * len(used))
            at = (3 * used[:, None] + np.arange(3)).ravel()
            self._system[landmark][np.ix_(at, at)] += block.T @ block
            self._target[landmark, at] += block.T @ varying[:, landmark].ravel()

    def solve(self, spread: np.ndarray, before: np.ndarray) -> np.ndarray:
        """The corrections after a round that began with `before`; `spread` [E, 478] metres."""
        result = np.zeros_like(before)
        for landmark in range(478):
            free = np.where(spread[:, landmark] > 1e-6)[0]
            if not len(free):
                continue
            at = (3 * free[:, None] + np.arange(3)).ravel()
            stiffness = np.repeat(spread[free, landmark] ** -2, 3)
            start = before[free, landmark].ravel()
            step = np.linalg.solve(
                self._system[landmark][np.ix_(at, at)] + np.diag(stiffness),
                self._target[landmark, at] - stiffness * start,
            )
            result[free, landmark] = (start + step).reshape(-1, 3)
        return result


def correction_spread(shape: LandmarkShape, names: Sequence[str]) -> Float[np.ndarray, "E 478"]:
    """How far each shape's correction may well reach at each landmark, metres; 0: never."""
    motion = shape.points(np.eye(len(names))) - shape.neutral
    size = np.linalg.norm(motion, axis=-1)
    largest = size.max(axis=1, keepdims=True).clip(1e-9)
    distance2 = ((shape.neutral[:, None] - shape.neutral[None]) ** 2).sum(-1)
    near = np.exp(-distance2 / REACH_M**2)
    lower = below_lips(shape, names)
    near[lower[:, None] != lower] = 0.0
    acts = np.minimum(1.0, 2.0 * (near[None] * (size / largest)[:, None]).max(-1))
    from_lids = np.sqrt(distance2[:, list(EYES)].min(1))
    begin, whole = LID_FREE_M
    free = np.clip((from_lids - begin) / (whole - begin), 0.0, 1.0)
    free[468:] = 0.0
    free[list(LID_FOLD)] = 0.0  # the detector leaves it in place where the skin slides
    free[list(OVAL)] *= OUTLINE_SHARE
    spread = acts * free * np.minimum(CORRECTION_SHARE * largest, MAX_CORRECTION_M)
    spread[[name.startswith(UNTOUCHED) for name in names]] = 0.0
    return spread


def below_lips(shape: LandmarkShape, names: Sequence[str]) -> Bool[np.ndarray, " 478"]:
    """What goes down with the jaw: it touches the rest at the lips, but neither moves the other."""
    opened = shape.points(np.eye(len(names))[[names.index("jawOpen")]])[0]
    drop = shape.neutral[:, 1] - opened[:, 1]
    return drop > LOWER_SHARE * drop.max()


def smoothed(
    shape: LandmarkShape, names: Sequence[str], corrections: Float[np.ndarray, "E 478 3"]
) -> Float[np.ndarray, "E 478 3"]:
    """Means over neighbours on the same side of the lips; over more of them in depth, which mostly
    frontal faces hardly tell."""
    distance2 = ((shape.neutral[:, None] - shape.neutral[None]) ** 2).sum(-1)
    lower = below_lips(shape, names)
    result = np.empty_like(corrections)
    for axis, reach_m in enumerate(SMOOTH_M):
        near = np.exp(-distance2 / reach_m**2) * (lower[:, None] == lower)
        near /= near.sum(1, keepdims=True)
        result[..., axis] = corrections[..., axis] @ near.T
    return result


def saturated(corrections: Float[np.ndarray, "E 478 3"]) -> Float[np.ndarray, "E 478 3"]:
    """Long corrections shortened towards LONGEST_M."""
    length = np.linalg.norm(corrections, axis=-1, keepdims=True).clip(1e-12)
    return corrections * (LONGEST_M * np.tanh(length / LONGEST_M) / length)


def mirrored_names(names: Sequence[str]) -> Int[np.ndarray, " E"]:
    """For each coefficient that of the other side; its own where it has none."""
    index = {name: number for number, name in enumerate(names)}
    return np.array([index.get(other_side(name), index[name]) for name in names])


def corrected(shape: LandmarkShape, corrections: Float[np.ndarray, "E 478 3"]) -> LandmarkShape:
    """The landmarks with corrections added to their shapes; the jaw's turn of a correction, a tenth
    of a millimetre, is left out."""
    return replace(shape, expression=shape.expression + corrections.transpose(1, 2, 0))


def main(
    clips: tyro.conf.Positional[tuple[Path, ...]],
    /,
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])],
    head: str = "default",
    rounds: int = 3,
) -> None:
    """Learn corrections of a head's shapes over clips.

    Args:
        clips: Videos, one person each.
        output: The .safetensors to write.
        head: Head model: a name or the path of its file.
        rounds: How often clips are tracked and corrections solved for.
    """
    if not clips:
        raise UserError("nothing to learn from; name one or more videos, one person each")
    model = load_head(head)
    learned = learn_expressions(
        model, [clip_landmarks(clip, frames=FRAMES) for clip in clips], rounds
    )
    save_corrections(learned.corrections, output)
    errors = " ".join(f"{value:.2f}" for value in learned.residual_px)
    print(f"{model.name}: residual px {errors}; wrote {output}")


def save_corrections(corrections: Float[np.ndarray, "E 478 3"], path: Path) -> None:
    with atomic_output(path) as beside:
        save_file({"corrections": np.ascontiguousarray(corrections, np.float16)}, str(beside))


if __name__ == "__main__":
    run_script(main)
