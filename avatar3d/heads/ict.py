"""ICT-FaceKit (Li et al. 2020, MIT) from the user's packed copy, as a `HeadModel`.

The packed file is an .npz with `neutral` [V,3] in centimetres, quads `faces` [Q,4] (-1 where a
triangle), and identity and expression displacements as int16 with a scale a mode. Its shapes are
split left and right where ARKit's are whole (browInnerUp, cheekPuff): the halves are added up.
Missing there: tongueOut, which stays still.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file

from avatar3d.codes import ARKIT_NAMES
from avatar3d.errors import UserError
from avatar3d.heads.model import PART_INDEX, HeadModel

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
_IDENTITY_COUNT = 60  # the modes after these move less than a tenth of a millimetre
_EYE_YAW, _EYE_PITCH = 0.55, 0.45  # radians at a coefficient of 1
_LANDMARKS = Path(__file__).with_name("ict_landmarks.safetensors")


def read_ict(path: Path) -> HeadModel:
    """Read the packed file; `UserError` when it is something else."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            packed = {key: archive[key] for key in archive.files}
        neutral_cm = packed["neutral"].astype(np.float32)
        quads = packed["faces"]
        identity = _dequantise(packed, "identity")[:_IDENTITY_COUNT]
        expressions = dict(
            zip(map(str, packed["expression_names"]), _dequantise(packed, "expression"))
        )
    except (OSError, KeyError, ValueError) as error:
        raise UserError(
            f"{path} is not a packed ICT-FaceKit head ({error}); expected an .npz with neutral, "
            "faces, identity_q and expression_q"
        ) from error

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
        uv=tensor(_vertex_uv(packed, kept)),
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
    skull = _smoothstep((height + 9.5) / 5.0)
    bust = 1.0 - _smoothstep((height + 17.0) / 6.0)
    weights = np.zeros((len(neutral_cm), 6), np.float32)
    weights[:, 0] = bust
    weights[:, 1] = (1.0 - bust) * (1.0 - skull)
    weights[:, 2] = (1.0 - bust) * skull
    for joint, side in ((4, "left"), (5, "right")):
        start, end = _EYE_VERTICES[side]
        weights[start:end] = 0.0
        weights[start:end, joint] = 1.0
    return weights[kept]


def _smoothstep(x: np.ndarray) -> np.ndarray:
    x = np.clip(x, 0.0, 1.0)
    return x * x * (3.0 - 2.0 * x)


def _vertex_uv(packed: dict[str, np.ndarray], kept: np.ndarray) -> np.ndarray:
    """One uv a vertex: at a seam, the last corner's."""
    uv = np.zeros((len(packed["neutral"]), 2), np.float32)
    valid = packed["faces"] >= 0
    uv[packed["faces"][valid]] = packed["uv"][packed["faces_uv"][valid]]
    return uv[kept]


def _mirror(points: np.ndarray) -> np.ndarray:
    from scipy.spatial import KDTree

    _, index = KDTree(points).query(points * np.array([-1.0, 1.0, 1.0]))
    return np.asarray(index, np.int64)


def _find_triangles(triangles: np.ndarray, corners: np.ndarray) -> torch.Tensor:
    """Indices of the triangles with these corners, [L,3] -> [L]."""
    index = {tuple(triangle): number for number, triangle in enumerate(triangles.tolist())}
    return torch.tensor([index[tuple(corner)] for corner in corners.tolist()])
