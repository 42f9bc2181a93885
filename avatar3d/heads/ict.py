"""ICT-FaceKit (Li et al. 2020, MIT) from the user's copy, as a `HeadModel`.

A copy is a checkout (a folder, or the .zip that GitHub makes of one) with an OBJ file a shape, or
one packed .npz with `neutral` [V,3] in centimetres, quads `faces` [Q,4] (-1 where a triangle), and
identity and expression displacements as int16 with a scale a mode. ICT's shapes are split left and
right where ARKit's are whole (browInnerUp, cheekPuff): the halves are added up.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file

from avatar3d.codes import ARKIT_NAMES
from avatar3d.errors import UserError
from avatar3d.heads.model import PART_INDEX, HeadModel
from avatar3d.heads.storage import HeadFacts
from avatar3d.npz import read_npz
from avatar3d.smooth import smoothstep

VERTICES, QUADS = 26719, 26384
SOURCE = "https://github.com/ICT-VGL/ICT-FaceKit"
LICENCE = "MIT (University of Southern California, Institute for Creative Technologies)"
# Quad ranges of ICT-FaceKit's documentation.
_QUADS = {
    "face": (0, 9230),
    "head": (9230, 11144),
    "mouth": (11144, 13226),
    "gums": (14034, 17006),
    "upper_teeth": (17006, 19250),
    "lower_teeth": (19250, 21496),
    "left_eyeball": (21496, 23094),
    "right_eyeball": (23094, 24692),
}
_EYE_VERTICES = {"left": (21451, 23021), "right": (23021, 24591)}
# sha256 of the published neutral mesh: its vertices as little-endian float32, in centimetres. What
# OBJ files say otherwise (line ends, texture points) does not change it.
NEUTRAL_SHA256 = "92e87293b7e3c5bf2c013b94f15c0cf06f429cf046df6edfbfb719f77dd76781"
_IDENTITY_COUNT = 60  # the modes after these move less than a tenth of a millimetre
_EYE_YAW, _EYE_PITCH = 0.55, 0.45  # radians at a coefficient of 1
_LANDMARKS = Path(__file__).with_name("ict_landmarks.safetensors")


@dataclass(frozen=True)
class IctShapes:
    """What an ICT-FaceKit copy holds, in its own centimetres."""

    neutral: np.ndarray  # [26719, 3]
    quads: np.ndarray  # [26384, 4], -1 where a triangle
    uv: np.ndarray  # [U, 2]
    quads_uv: np.ndarray  # [26384, 4]
    identity: np.ndarray  # [I, 26719, 3] displacements
    expressions: dict[str, np.ndarray]  # ICT's names: [26719, 3] displacements

    def missing(self) -> list[str]:
        """ARKit's names that no shape here makes."""
        return [name for name in ARKIT_NAMES if not set(_sources(name)) & set(self.expressions)]

    def is_published(self) -> bool:
        """Whether the neutral mesh is, number by number, the one that ICT-FaceKit has published."""
        numbers = np.ascontiguousarray(self.neutral, "<f4").tobytes()
        return hashlib.sha256(numbers).hexdigest() == NEUTRAL_SHA256

    def extra(self) -> list[str]:
        """ICT's names that ARKit has not."""
        used = {source for name in ARKIT_NAMES for source in _sources(name)}
        return sorted(set(self.expressions) - used)


def read_ict(path: Path) -> HeadModel:
    """Read a packed file, a checkout, or a checkout's .zip; `UserError` when it is something else."""
    return build_ict(read_ict_shapes(path))


def read_ict_shapes(path: Path) -> IctShapes:
    """As `read_ict`, before anything is made of it."""
    if path.is_dir() or path.suffix.lower() == ".zip":
        from avatar3d.heads.ict_checkout import read_checkout

        return check_ict(read_checkout(path), path)
    return check_ict(_read_packed(path), path)


def check_ict(shapes: IctShapes, path: Path) -> IctShapes:
    """The shapes, or a `UserError` where they are not ICT-FaceKit's."""
    if shapes.neutral.shape != (VERTICES, 3) or shapes.quads.shape != (QUADS, 4):
        raise UserError(
            f"{path} has {len(shapes.neutral):,} vertices and {len(shapes.quads):,} faces, "
            f"ICT-FaceKit has {VERTICES:,} and {QUADS:,}; it is a model of another topology"
        )
    if shapes.quads.max() >= VERTICES or shapes.quads[:, :3].min() < 0:
        raise UserError(f"{path} has faces that point outside its vertices; it is damaged")
    if shapes.quads_uv.shape != (QUADS, 4) or shapes.quads_uv.max() >= len(shapes.uv):
        raise UserError(f"{path} has faces that point outside its texture points; it is damaged")
    for name, array in {
        "the neutral head": shapes.neutral, "the identity modes": shapes.identity,
        **shapes.expressions,
    }.items():  # fmt: skip
        if array.shape[-2:] != (VERTICES, 3):
            raise UserError(f"{path}: {name} has shape {list(array.shape)}; it is damaged")
        if not np.isfinite(array).all():
            raise UserError(f"{path} has NaN or infinite values in {name}; it is damaged")
    return shapes


def _read_packed(path: Path) -> IctShapes:
    try:
        if not path.is_file():
            raise UserError("there is no such file")
        packed = read_npz(path)
        expressions = dict(
            zip(map(str, packed["expression_names"]), _dequantise(packed, "expression"))
        )
        return IctShapes(
            packed["neutral"].astype(np.float32),
            packed["faces"],
            packed["uv"],
            packed["faces_uv"],
            _dequantise(packed, "identity")[:_IDENTITY_COUNT],
            expressions,
        )
    except (UserError, KeyError, ValueError) as error:
        reason = str(error).removeprefix(f"{path} ")
        raise UserError(
            f"{path} is not a packed ICT-FaceKit head ({reason}); expected an .npz with neutral, "
            "faces, identity_q and expression_q"
        ) from None


def build_ict(shapes: IctShapes) -> HeadModel:
    """The full head: face, teeth, eyes, tongue, with joints and landmarks added."""
    neutral_cm, quads = shapes.neutral, shapes.quads
    identity, expressions = shapes.identity, shapes.expressions
    triangles, quad_of_triangle = _triangulate(quads)
    wanted = np.zeros(len(quads), bool)
    for start, end in _QUADS.values():
        wanted[start:end] = True
    triangles, quad_of_triangle = (
        triangles[wanted[quad_of_triangle]],
        quad_of_triangle[wanted[quad_of_triangle]],
    )
    kept, triangles = np.unique(triangles, return_inverse=True)
    triangles = triangles.reshape(-1, 3)

    eyes_cm = {
        side: (neutral_cm[a:b].min(0) + neutral_cm[a:b].max(0)) / 2
        for side, (a, b) in _EYE_VERTICES.items()
    }
    origin_cm = (eyes_cm["left"] + eyes_cm["right"]) / 2
    origin_cm[0] = 0.0
    to_head = lambda points_cm: ((points_cm - origin_cm) * 0.01).astype(np.float32)  # noqa: E731

    basis = np.zeros((len(ARKIT_NAMES), len(kept), 3), np.float32)
    for index, name in enumerate(ARKIT_NAMES):
        for source in _sources(name):
            if source in expressions:
                basis[index] += expressions[source][kept] * 0.01

    # The vertical joints by eye on the mean head: skull on C1, neck on C7.
    joints = np.stack(
        [
            to_head(np.array([0.0, -19.0, -4.0])),
            to_head(np.array([0.0, -12.0, -4.5])),
            to_head(np.array([0.0, -2.0, -1.0])),
            to_head(np.array([0.0, -0.5, 1.5])),
            to_head(eyes_cm["left"]),
            to_head(eyes_cm["right"]),
        ]
    )
    joint_identity = np.zeros((len(identity), len(joints), 3), np.float32)
    for joint, side in ((4, "left"), (5, "right")):
        start, end = _EYE_VERTICES[side]
        joint_identity[:, joint] = identity[:, start:end].mean(1) * 0.01

    drive = np.zeros((len(ARKIT_NAMES), len(joints), 3), np.float32)
    for joint, side, outward in ((4, "Left", 1.0), (5, "Right", -1.0)):
        drive[ARKIT_NAMES.index(f"eyeLookOut{side}"), joint, 1] = outward * _EYE_YAW
        drive[ARKIT_NAMES.index(f"eyeLookIn{side}"), joint, 1] = -outward * _EYE_YAW
        drive[ARKIT_NAMES.index(f"eyeLookUp{side}"), joint, 0] = -_EYE_PITCH
        drive[ARKIT_NAMES.index(f"eyeLookDown{side}"), joint, 0] = _EYE_PITCH

    landmarks = load_file(str(_LANDMARKS))
    renumber = np.full(len(neutral_cm), -1, np.int64)
    renumber[kept] = np.arange(len(kept))
    tensor = torch.from_numpy
    return HeadModel(
        name="ict",
        expression_names=ARKIT_NAMES,
        neutral=tensor(to_head(neutral_cm[kept])),
        triangles=tensor(triangles.astype(np.int64)),
        triangle_part=tensor(_parts(quad_of_triangle, neutral_cm[kept][triangles].mean(1))),
        uv=tensor(_vertex_uv(shapes, kept)),
        identity_basis=tensor(identity[:, kept] * np.float32(0.01)),
        expression_basis=tensor(basis),
        joints=tensor(joints),
        joint_identity=tensor(joint_identity),
        skin_weights=tensor(_skin_weights(neutral_cm, kept)),
        joint_drive=tensor(drive),
        landmark_triangles=_find_triangles(triangles, renumber[landmarks["corners"]]),
        landmark_barycentrics=tensor(landmarks["barycentrics"]),
        landmark_offsets=tensor(landmarks["offsets"]),
        ibug_triangles=_find_triangles(triangles, renumber[landmarks["ibug_corners"]]),
        ibug_barycentrics=tensor(landmarks["ibug_barycentrics"]),
        mirror=tensor(_mirror(neutral_cm[kept])),
    )


def ict_facts(shapes: IctShapes) -> HeadFacts:
    """What there is to say of a copy: also which of the 52 it lacks and what it has beyond."""
    missing, extra = shapes.missing(), shapes.extra()
    notes = [
        "of ARKit's 52 shapes " + (f"missing: {', '.join(missing)}" if missing else "none missing"),
        f"not among them: {', '.join(extra)}" if extra else "no others",
        f"{len(shapes.identity)} identity modes kept",
        "its neutral mesh is the published one, by its hash"
        if shapes.is_published()
        else "its neutral mesh is not the published one",
    ]
    return HeadFacts(SOURCE, LICENCE, "ICT-FaceKit, face model light", "; ".join(notes))


def _dequantise(packed: dict[str, np.ndarray], kind: str) -> np.ndarray:
    return packed[f"{kind}_q"].astype(np.float32) * packed[f"{kind}_scale"].reshape(-1, 1, 1)


def _triangulate(quads: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Triangles [F,3] of quads [Q,4], and the quad that each came from."""
    first, second = quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]
    has_second = quads[:, 3] >= 0
    triangles = np.concatenate([first, second[has_second]])
    source = np.concatenate([np.arange(len(quads)), np.where(has_second)[0]])
    order = np.argsort(source, kind="stable")
    return triangles[order], source[order]


def _sources(arkit_name: str) -> list[str]:
    """ICT's names of one ARKit shape: `_L` and `_R` for sides, both where ARKit has one shape."""
    for suffix, short in (("Left", "_L"), ("Right", "_R")):
        if arkit_name.endswith(suffix) and arkit_name not in (
            "mouthLeft",
            "mouthRight",
            "jawLeft",
            "jawRight",
        ):
            return [arkit_name.removesuffix(suffix) + short]
    return [arkit_name, f"{arkit_name}_L", f"{arkit_name}_R"]


def _parts(quad: np.ndarray, centre_cm: np.ndarray) -> np.ndarray:
    part = np.full(len(quad), PART_INDEX["face"], np.int64)
    for name, (start, end) in _QUADS.items():
        if name in PART_INDEX:
            part[(quad >= start) & (quad < end)] = PART_INDEX[name]
    x, y, z = centre_cm.T
    skin = quad < _QUADS["head"][1]
    head = skin & (quad >= _QUADS["head"][0])
    part[head] = PART_INDEX["scalp"]
    part[skin & (y > 9.0)] = PART_INDEX["scalp"]
    part[skin & (np.abs(x) > 6.9) & (y > -2.6) & (y < 4.3) & (z < 2.6 + 0.1 * y) & (z > -2.2)] = (
        PART_INDEX["ears"]
    )
    below_jaw = skin & (y + 0.55 * np.maximum(z, 0.0) < -5.5) & (z < 6.5 + 0.4 * (y + 12))
    part[below_jaw | (head & (y < -4.0))] = PART_INDEX["neck"]
    part[skin & (y < -13.0)] = PART_INDEX["bust"]
    gums = (quad >= _QUADS["gums"][0]) & (quad < _QUADS["gums"][1])
    # Gums and tongue are one range: the tongue is what lies inside the dental arch.
    part[gums & (np.abs(x) < 2.2) & (z < 8.6) & (y > -5.0) & (y < -2.2)] = PART_INDEX["tongue"]
    return part


def _skin_weights(neutral_cm: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Bust, neck and skull by height, tilted so that the chin belongs to the skull."""
    height = neutral_cm[:, 1] + 0.35 * np.maximum(neutral_cm[:, 2], 0.0)
    skull = smoothstep((height + 9.5) / 5.0)
    bust = 1.0 - smoothstep((height + 17.0) / 6.0)
    weights = np.zeros((len(neutral_cm), 6), np.float32)
    weights[:, 0] = bust
    weights[:, 1] = (1.0 - bust) * (1.0 - skull)
    weights[:, 2] = (1.0 - bust) * skull
    for joint, side in ((4, "left"), (5, "right")):
        start, end = _EYE_VERTICES[side]
        weights[start:end] = 0.0
        weights[start:end, joint] = 1.0
    return weights[kept]


def _vertex_uv(shapes: IctShapes, kept: np.ndarray) -> np.ndarray:
    """One uv a vertex: at a seam, the last corner's."""
    uv = np.zeros((len(shapes.neutral), 2), np.float32)
    valid = shapes.quads >= 0
    uv[shapes.quads[valid]] = shapes.uv[shapes.quads_uv[valid]]
    return uv[kept]


def _mirror(points: np.ndarray) -> np.ndarray:
    from scipy.spatial import KDTree

    _, index = KDTree(points).query(points * np.array([-1.0, 1.0, 1.0]))
    return np.asarray(index, np.int64)


def _find_triangles(triangles: np.ndarray, corners: np.ndarray) -> torch.Tensor:
    """Indices of the triangles with these corners, [L,3] -> [L]."""
    index = {tuple(triangle): number for number, triangle in enumerate(triangles.tolist())}
    return torch.tensor([index[tuple(corner)] for corner in corners.tolist()])
