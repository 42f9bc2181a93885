"""Learn what the detector answers when a head does what: corrections of `linear_face`.

    python -m recon.track.learn_response --head default

Painted heads (`painted_head.py`) of random people show random codes while they turn; the detector
looks at them as at a clip. Pose, identity and code are known, so what is left between where the
landmarks should be and where they are found is the detector's own doing. One ridge regression a
landmark explains it by the code: three dimensions a coefficient, and for each head an offset that
does not depend on the code. The result is made symmetric. Run it again when a head has changed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from safetensors.numpy import save_file

from avatar3d.camera import Camera
from avatar3d.cli import run_script
from avatar3d.codes import ARKIT_INDEX, ARKIT_NAMES, ExpressionCode, other_side
from avatar3d.geometry import quaternion_to_matrix
from avatar3d.heads import HeadModel, load_head
from avatar3d.live_link_face import head_rotation
from avatar3d.progress import tracked
from avatar3d.smooth import smoothstep
from recon.capture.facemesh import LANDMARK_COUNT, open_face_mesh
from recon.capture.mirror import MIRROR
from recon.track.linear_face import (
    ALL_LANDMARKS,
    RESPONSE,
    SQUARED_INDEX,
    TURNS,
    LinearFace,
    learned_response,
    linear_face,
    turn_features,
)
from recon.track.live_solver import LiveState, frame_weights
from recon.track.painted_head import PaintedHead, random_paint

SIZE_PX, FOCAL_PX, DISTANCE_M = 384, 1000.0, 0.72
CORRECTION_SIGMA_M = 1.5e-3  # how far a coefficient's correction is expected to reach
OFFSET_SIGMA_M = 3e-3
INDEPENDENT_FRAMES = 0.15  # neighbours in a clip err alike: a frame counts as so much of one
_TURN_DEG = np.array([24.0, 10.0, 6.0])  # yaw, pitch, roll: standard deviations
_MAX_YAW_DEG = 40.0
# What moves together in random codes: both sides of a shape, or a shape without sides.
_SINGLE = (
    "jawOpen", "jawOpen", "jawLeft", "jawRight", "jawForward", "mouthLeft", "mouthRight",
    "mouthFunnel", "mouthPucker", "mouthRollLower", "mouthRollUpper", "mouthShrugLower",
    "mouthShrugUpper", "browInnerUp", "cheekPuff", "mouthClose",
)  # fmt: skip


@dataclass(frozen=True)
class RenderedClip:
    """What the detector found in pictures of a head whose codes are known."""

    codes: ExpressionCode  # [F]
    landmarks: Float[np.ndarray, "F 478 3"]  # px, NaN where it found nothing
    identity: torch.Tensor  # [I]
    camera: Camera


def render_clip(
    head: HeadModel, codes: ExpressionCode, seed: int, size_px: int = SIZE_PX
) -> RenderedClip:
    """Draw a random painted head in `codes` [F, ...] and let the detector follow it."""
    rng = np.random.default_rng(seed)
    identity = torch.from_numpy(rng.normal(0, 0.8, head.identity_count)).float()
    painted = PaintedHead(head, identity, random_paint(rng))
    camera = Camera.frontal(FOCAL_PX * size_px / SIZE_PX, size_px, DISTANCE_M)
    mesh = open_face_mesh(tracking=True)
    rows = []
    for index in range(len(codes.coefficients)):
        picture = painted.picture(codes.at(index), camera)
        for _ in range(1 if index else 3):  # its region of interest settles
            found = mesh(picture)
        rows.append(found[0] if found else np.full((LANDMARK_COUNT, 3), np.nan, np.float32))
    mesh.close()
    return RenderedClip(codes, np.stack(rows), identity, camera)


def random_codes(head: HeadModel, frames: int, seed: int, every: int = 5) -> ExpressionCode:
    """Expressions come and go every `every` frames, the head turns slowly; a sixth is at rest."""
    rng = np.random.default_rng(seed)
    keys = _random_keys(rng, head.expression_count, frames // every + 2)
    at, share = np.divmod(np.arange(frames) / every, 1)
    share = np.clip(1.5 * share, 0, 1)[:, None]
    coefficients = (1 - share) * keys[at.astype(int)] + share * keys[at.astype(int) + 1]
    turns = rng.normal(size=(frames // 15 + 3, 3)) * _TURN_DEG
    turns[:, 0] = np.clip(turns[:, 0], -_MAX_YAW_DEG, _MAX_YAW_DEG)
    at, share = np.divmod(np.arange(frames) / 15, 1)
    share = smoothstep(share)[:, None]
    angles = np.radians((1 - share) * turns[at.astype(int)] + share * turns[at.astype(int) + 1])
    rotation = head_rotation(torch.from_numpy(angles).float())
    return ExpressionCode(
        torch.from_numpy(coefficients).float(), rotation, torch.zeros(frames, 3), rotation.clone()
    )


def _random_keys(rng: np.random.Generator, count: int, keys: int) -> np.ndarray:
    pairs = [
        (name, name.removesuffix("Left") + "Right")
        for name in ARKIT_NAMES
        if name.endswith("Left") and not name.startswith(("eyeLook", "jaw", "mouthLeft"))
    ]
    groups = [*pairs, *((name,) for name in _SINGLE)]
    values = np.zeros((keys, count))
    for key in values:
        for choice in rng.choice(len(groups), rng.integers(0, 7), replace=False):
            amount = rng.uniform(0.15, 1.0)
            for name in groups[choice]:
                key[ARKIT_INDEX[name]] = np.clip(amount + rng.normal(0, 0.08), 0, 1)
            if rng.random() < 0.2:
                key[ARKIT_INDEX[groups[choice][rng.integers(len(groups[choice]))]]] = 0
        aside = rng.uniform(-1, 1) * (rng.random() < 0.6)
        up = rng.uniform(-1, 1) * (rng.random() < 0.5)
        for name, amount in (
            ("eyeLookInLeft", aside), ("eyeLookOutRight", aside), ("eyeLookOutLeft", -aside),
            ("eyeLookInRight", -aside), ("eyeLookUpLeft", up), ("eyeLookUpRight", up),
            ("eyeLookDownLeft", -up), ("eyeLookDownRight", -up),
        ):  # fmt: skip
            key[ARKIT_INDEX[name]] = max(amount, 0.0)
        close, jaw = ARKIT_INDEX["mouthClose"], ARKIT_INDEX["jawOpen"]
        key[close] = min(key[close], key[jaw])
    values[::6] = 0.0
    return values


def learn_response(head: HeadModel, clips: Iterable[RenderedClip]) -> Float[np.ndarray, "478 3 C"]:
    """Corrections: columns of the 52 of ARKit, of the squares and of the turns, metres."""
    clips = list(clips)
    face = linear_face(head, ALL_LANDMARKS, corrected=False)
    columns = len(ARKIT_NAMES) + len(SQUARED_INDEX) + TURNS
    own = 3 * columns  # unknowns of a landmark before the heads' offsets
    system = np.zeros((LANDMARK_COUNT, own + 3 * len(clips), own + 3 * len(clips)))
    target = np.zeros((LANDMARK_COUNT, own + 3 * len(clips)))
    for number, clip in enumerate(clips):
        _accumulate(face, clip, own + 3 * number, system, target)
    stiffness = np.full(system.shape[1], OFFSET_SIGMA_M**-2)
    stiffness[:own] = CORRECTION_SIGMA_M**-2
    system = INDEPENDENT_FRAMES * system + np.diag(stiffness)
    solved = np.linalg.solve(system, INDEPENDENT_FRAMES * target[..., None])[..., 0]
    learned = solved[:, :own].reshape(LANDMARK_COUNT, 3, columns)
    sides, signs = _mirrored_columns()
    mirrored = learned[MIRROR][:, :, sides] * np.array([-1.0, 1.0, 1.0])[:, None] * signs
    return (learned + mirrored) / 2


def _accumulate(
    face: LinearFace, clip: RenderedClip, offset: int, system: np.ndarray, target: np.ndarray
) -> None:
    """Add one clip's frames to the normal equations of every landmark."""
    person = face.of_person(clip.identity.double().numpy())
    viewmat, focal_px = clip.camera.viewmat.double().numpy(), float(clip.camera.K[0, 0])
    turns = quaternion_to_matrix(clip.codes.head_rotation.double()).numpy()
    places = clip.codes.head_translation.double().numpy()
    own = np.arange(offset, offset + 3)
    for index in np.flatnonzero(np.isfinite(clip.landmarks[:, 0, 0])):
        code = clip.codes.coefficients[index].double().numpy()
        rotation = viewmat[:3, :3] @ turns[index]
        translation = viewmat[:3, :3] @ places[index] + viewmat[:3, 3]
        state = LiveState(rotation, translation, code)
        at = person.points(code, state.view) @ rotation.T + translation
        observed = clip.landmarks[index, :, :2].astype(np.float64) - clip.camera.width / 2
        residual = observed - focal_px * at[:, :2] / at[:, 2:]
        by_point = np.zeros((len(at), 2, 3))
        by_point[:, 0, 0] = by_point[:, 1, 1] = focal_px / at[:, 2]
        by_point[:, :, 2] = -focal_px * at[:, :2] / at[:, 2:] ** 2
        by_head = by_point @ rotation  # [L, 2, 3]
        weights, _ = frame_weights(person, observed, residual, focal_px, state)
        weights = weights / person.weights
        by_squares = code[list(SQUARED_INDEX)] ** 2
        active = np.concatenate([code[: len(ARKIT_NAMES)], by_squares, turn_features(state.view)])
        used = np.flatnonzero(active)
        rows = (by_head[..., None] * active[used]).reshape(len(at), 2, -1)
        rows = np.concatenate([rows, by_head], axis=2)
        columns = len(active)
        unknowns = np.concatenate([(np.arange(3)[:, None] * columns + used).ravel(), own])
        weighted = rows * weights[:, None, None]
        system[:, unknowns[:, None], unknowns] += weighted.transpose(0, 2, 1) @ rows
        target[:, unknowns] += (weighted * residual[..., None]).sum(1)


def _mirrored_columns() -> tuple[list[int], Float[np.ndarray, " C"]]:
    """The column of the other side, and its sign: what turns aside turns to the other one."""
    codes = [ARKIT_INDEX[other_side(name)] for name in ARKIT_NAMES]
    squares = [SQUARED_INDEX.index(ARKIT_INDEX[other_side(ARKIT_NAMES[i])]) for i in SQUARED_INDEX]
    count = len(codes) + len(squares)
    columns = [*codes, *(len(codes) + index for index in squares)]
    signs = np.concatenate([np.ones(count), turn_features(np.array([-1.0, 0.5, 0.5]))
                            / turn_features(np.array([1.0, 0.5, 0.5]))])  # fmt: skip
    return [*columns, *range(count, count + TURNS)], signs


def save_response(
    head_name: str, learned: Float[np.ndarray, "478 3 C"], path: Path = RESPONSE
) -> None:
    """Add or replace one head's corrections in the file of all."""
    tensors = {name: value.astype(np.float16) for name, value in learned_response().items()}
    tensors[head_name] = learned.astype(np.float16)
    save_file(tensors, str(path))
    learned_response.cache_clear()
    linear_face.cache_clear()


def main(head: str = "default", people: int = 10, frames: int = 360) -> None:
    """Learn the detector's response to a head's codes.

    Args:
        head: Head model: a name or the path of its file.
        people: How many painted heads.
        frames: Pictures of each.
    """
    model = load_head(head)
    clips = [
        render_clip(model, random_codes(model, frames, seed), seed)
        for seed in tracked(range(people), "draw and detect")
    ]
    learned = learn_response(model, clips)
    save_response(model.name, learned)
    print(f"{model.name}: corrections {1e3 * np.sqrt((learned**2).sum(1).mean()):.2f} mm rms")


if __name__ == "__main__":
    run_script(main)
