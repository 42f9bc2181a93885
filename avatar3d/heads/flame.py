"""FLAME (Li et al. 2017) from the user's own file, as a `HeadModel`.

Reads the .pkl of the Max Planck Institute without executing it, the same arrays as .npz, or as
.safetensors. FLAME's own parameters stay reachable: after the 52 of ARKit come its expression
modes, two eyelids and the rotation vectors of jaw and eyes, so that code alone poses FLAME as
`smplx.FLAME` does. The 52 are a fixed combination of those (`flame_map`).

FLAME's joints are the head's: its global joint is `root`, its neck joint the pivot on which skull
and bust turn against each other. Halves of the neck's turn, as other heads have them, would not be
FLAME: both pivots lie on its one neck joint.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from avatar3d.codes import ARKIT_NAMES
from avatar3d.errors import UserError
from avatar3d.heads.correspondence import JAW_NAMES, lay_over, nearest_surface, open_mouth
from avatar3d.heads.fitting.distance import closest_points
from avatar3d.heads.flame_landmarks import Embedding, read_ibug, read_mediapipe
from avatar3d.heads.flame_map import arkit_to_flame
from avatar3d.heads.model import PART_INDEX, HeadModel
from avatar3d.heads.npz_data import read_npz_data
from avatar3d.heads.pickles import read_pickle, to_array
from avatar3d.heads.skinning import HEAD, JAW, JOINT_NAMES, LEFT_EYE, NECK, RIGHT_EYE, ROOT
from avatar3d.heads.storage import HeadFacts

VERTICES, TRIANGLES = 5023, 9976
SHAPE_COUNT, EXPRESSION_COUNT = 300, 100
RELEASES = ("2019", "2020", "2023", "2023 Open")
# FLAME's joints in its order, as ours: global, neck, jaw, left eye, right eye.
_JOINTS = (ROOT, HEAD, JAW, LEFT_EYE, RIGHT_EYE)
_PARENTS = (-1, 0, 1, 1, 1)
EYELID_NAMES = ("flameEyelidLeft", "flameEyelidRight")
EYE_NAMES = tuple(f"flameEye{side}{axis}" for side in ("Left", "Right") for axis in "XYZ")
EXPRESSION_NAMES = tuple(f"flameExpression{index:03d}" for index in range(EXPRESSION_COUNT))
FLAME_NAMES = (*EXPRESSION_NAMES, *EYELID_NAMES, *JAW_NAMES, *EYE_NAMES)
_OTHER_MODELS = {6890: "SMPL", 10475: "SMPL-X", 778: "MANO", 53490: "BFM", 26719: "ICT-FaceKit"}
_LICENCES = {
    "2023 Open": "CC BY 4.0 (Max Planck Institute for Intelligent Systems); name FLAME as its author",
}
_LICENCE = (
    "FLAME model licence of the Max Planck Institute: non-commercial scientific research only, no "
    "redistribution; read it at https://flame.is.tue.mpg.de/modellicense.html"
)


@dataclass(frozen=True)
class FlameArrays:
    """FLAME's arrays, checked, in its own frame and metres."""

    template: np.ndarray  # [V, 3]
    triangles: np.ndarray  # [F, 3]
    shape_basis: np.ndarray  # [300, V, 3]
    expression_basis: np.ndarray  # [100, V, 3]
    pose_correctives: np.ndarray  # [36, V, 3]
    joint_regressor: np.ndarray  # [5, V]
    weights: np.ndarray  # [V, 5]


def read_flame(
    path: Path, release: str | None = None, *, base: HeadModel | None = None
) -> tuple[HeadModel, HeadFacts]:
    """FLAME from `path`, and what is to be said of it.

    `release` is one of RELEASES where the file's name does not tell. Beside the file may lie
    `FLAME_masks.pkl`, `l_eyelid.npy`/`r_eyelid.npy` and the landmark files of `flame_landmarks`;
    `base` (the default head) stands in for what is absent.
    """
    recognised = recognise_release(path, release)
    arrays = read_flame_arrays(path)
    if base is None:
        from avatar3d.heads.registry import load_head

        base = load_head("default")
    masks = read_masks(path.with_name("FLAME_masks.pkl"))
    eyelids = _read_eyelids(path.parent)
    ibug = read_ibug(path.parent, TRIANGLES)
    mediapipe = read_mediapipe(path.parent, TRIANGLES)
    head = build_flame(arrays, base, masks=masks, eyelids=eyelids, ibug=ibug, mediapipe=mediapipe)
    notes = [
        "parts from FLAME_masks.pkl" if masks else "parts derived from the default head",
        "eyelids from l_eyelid.npy and r_eyelid.npy"
        if eyelids is not None
        else "eyelids derived from the default head",
        f"the 68 landmarks {_said(ibug)}, the 478 {_said(mediapipe)}",
        "the 52 shapes solved from the default head's; tongueOut does nothing",
    ]
    if not arrays.weights[:, 2].any():
        notes.append("this variant opens its jaw by expression shapes alone, not by its joint")
    licence = _LICENCES.get(recognised, _LICENCE)
    source = "https://flame.is.tue.mpg.de"
    label = f"FLAME {recognised}" if recognised else "FLAME, release not told by the file"
    return head, HeadFacts(source, licence, label, "; ".join(notes))


def _said(landmarks: Embedding | None) -> str:
    if landmarks is None:
        return "derived from the default head"
    return f"with {len(landmarks.index)} from {landmarks.file}"


def recognise_release(path: Path, given: str | None = None) -> str:
    """Which release a file is, by its name, its folder's, and what the user says; '' if unknown.

    The arrays of the releases have the same names and sizes: nothing in the file itself tells.
    """
    if given is not None and given not in RELEASES:
        raise UserError(
            f"there is no FLAME release {given!r}; expected one of {', '.join(RELEASES)}"
        )
    by_name = _release_in(path.stem)
    by_folder = _release_in(path.resolve().parent.name)
    said = {"its name": by_name, "its folder": by_folder, "--release": given or ""}
    # A folder named FLAME2023 may well hold the open one.
    if by_folder == "2023" and "2023 Open" in (by_name, given):
        said["its folder"] = ""
    told = {where: what for where, what in said.items() if what}
    if len(set(told.values())) > 1:
        claims = ", ".join(f"{where} says {what}" for where, what in told.items())
        raise UserError(
            f"{path} is of mixed-up release: {claims}; parameters of one release do not fit another, "
            "so name the file after what it is (generic_model.pkl is 2019 or 2020, flame2023.pkl "
            "2023, flame2023_Open.pkl 2023 Open)"
        )
    return next(iter(told.values()), "")


def _release_in(name: str) -> str:
    text = name.lower()
    if "flame" not in text:
        return ""
    if re.search(r"2023[\s_-]*open", text):
        return "2023 Open"
    years = [release for release in ("2019", "2020", "2023") if release in text]
    return years[0] if len(years) == 1 else ""


def read_flame_arrays(path: Path) -> FlameArrays:
    """FLAME's arrays from .pkl, .npz or .safetensors; a `UserError` says what is wrong."""
    suffix = path.suffix.lower()
    if suffix == ".pkl":
        values = read_pickle(path)
    elif suffix == ".npz":
        values = read_npz_data(path)
    elif suffix == ".safetensors":
        values = _read_safetensors(path)
    else:
        raise UserError(f"{path} is no FLAME file: expected .pkl, .npz or .safetensors")
    if not isinstance(values, dict):
        raise UserError(f"{path} holds no FLAME model: expected named arrays")
    return check_flame_arrays(values, path)


def check_flame_arrays(values: dict[str, Any], path: Path) -> FlameArrays:
    """FLAME's arrays from a file's values, or a `UserError` that says what is no FLAME about them."""
    arrays = {}
    for name in ("v_template", "f", "shapedirs", "posedirs", "J_regressor", "weights"):
        if name not in values:
            raise UserError(
                f"{path} is no FLAME model: it lacks {name!r}; expected the model file itself "
                "(generic_model.pkl, flame2023.pkl), not masks, landmarks or textures"
            )
        try:
            array = to_array(values[name])
        except ValueError as error:
            raise UserError(f"{path}: {name!r} cannot be read ({error})") from None
        if array.dtype.kind not in "fiu":
            raise UserError(f"{path}: {name!r} holds {array.dtype}, expected numbers")
        arrays[name] = array
    parents = _parents_of(values.get("kintree_table"), path)
    return _checked(arrays, parents, path)


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    from safetensors.numpy import load_file

    from avatar3d.files import check_readable

    check_readable(path, 1 << 30)
    try:
        return load_file(str(path))
    except Exception as error:  # noqa: BLE001 (whatever the library says is the file's fault)
        raise UserError(f"{path} is damaged or no safetensors file ({error})") from None


def _parents_of(table, path: Path) -> tuple[int, ...]:
    if table is None:
        return _PARENTS
    try:
        row = np.asarray(to_array(table)).astype(np.int64)[0]
    except (ValueError, IndexError):
        raise UserError(f"{path}: 'kintree_table' is no table of joints") from None
    # The root's parent is -1, which unsigned files write as 2^32 - 1.
    return tuple(int(p) if 0 <= p < 1 << 20 else -1 for p in row)


def _checked(arrays: dict[str, np.ndarray], parents: tuple[int, ...], path: Path) -> FlameArrays:
    template = arrays["v_template"]
    count = template.shape[0] if template.ndim == 2 else 0
    if count != VERTICES:
        other = _OTHER_MODELS.get(count)
        raise UserError(
            f"{path} has {count:,} vertices, FLAME has {VERTICES:,}"
            + (f"; this looks like {other}" if other else "; it is a model of another topology")
        )
    if parents != _PARENTS:
        raise UserError(
            f"{path} has joints with the parents {list(parents)}, FLAME's are {list(_PARENTS)}; it "
            "is a model of another kind"
        )
    total = arrays["shapedirs"].shape[-1]
    if arrays["shapedirs"].shape != (VERTICES, 3, SHAPE_COUNT + EXPRESSION_COUNT):
        raise UserError(
            f"{path}: 'shapedirs' has shape {list(arrays['shapedirs'].shape)}, expected "
            f"[{VERTICES}, 3, 400] (300 of shape, 100 of expression); a file cut to {total} modes "
            "cannot be used, take the one from FLAME's makers"
        )
    expected = {
        "v_template": (VERTICES, 3),
        "f": (TRIANGLES, 3),
        "posedirs": (VERTICES, 3, 36),
        "J_regressor": (5, VERTICES),
        "weights": (VERTICES, 5),
    }
    for name, shape in expected.items():
        if arrays[name].shape != shape:
            raise UserError(
                f"{path}: {name!r} has shape {list(arrays[name].shape)}, expected {list(shape)}"
            )
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise UserError(
                f"{path} has NaN or infinite values in {name!r}; it is damaged, get it again"
            )
    triangles = arrays["f"].astype(np.int64)
    if triangles.min() < 0 or triangles.max() >= VERTICES:
        raise UserError(f"{path}: 'f' points outside the {VERTICES:,} vertices; it is damaged")
    if len(_eyeballs(triangles)) != 2:
        raise UserError(
            f"{path} has FLAME's number of vertices but not its surface (a head and two eyeballs); "
            "it is a model of another topology"
        )
    if np.abs(arrays["weights"].sum(1) - 1).max() > 1e-3:
        raise UserError(f"{path}: 'weights' do not sum to 1 at every vertex; it is damaged")
    if not 0.1 < np.ptp(template, axis=0).max() < 1.0:
        raise UserError(f"{path}: the head is not of human size in metres; it is damaged")
    shapes = np.ascontiguousarray(np.moveaxis(arrays["shapedirs"].astype(np.float32), 2, 0))
    return FlameArrays(
        template.astype(np.float64),
        triangles,
        shapes[:SHAPE_COUNT],
        shapes[SHAPE_COUNT:],
        np.ascontiguousarray(np.moveaxis(arrays["posedirs"].astype(np.float32), 2, 0)),
        arrays["J_regressor"].astype(np.float64),
        arrays["weights"].astype(np.float32),
    )


def _eyeballs(triangles: np.ndarray) -> list[np.ndarray]:
    """Vertices of the pieces of 546 vertices: FLAME's eyeballs."""
    label = np.arange(VERTICES)
    while True:  # the least index spreads over each piece
        least = label[triangles].min(1)
        before = label.copy()
        for corner in range(3):
            np.minimum.at(label, triangles[:, corner], least)
        label = label[label]
        if np.array_equal(label, before):
            break
    names, sizes = np.unique(label, return_counts=True)
    return [np.flatnonzero(label == name) for name, size in zip(names, sizes) if size == 546]


def read_masks(path: Path) -> dict[str, np.ndarray] | None:
    """FLAME's vertex masks, or None where the optional file is absent."""
    if not path.is_file():
        return None
    values = read_pickle(path)
    try:
        masks = {str(name): to_array(value).astype(np.int64) for name, value in values.items()}
    except (AttributeError, ValueError):
        raise UserError(f"{path} holds no vertex masks; remove it or get it again") from None
    for name, mask in masks.items():
        if mask.ndim != 1 or (len(mask) and not 0 <= mask.min() <= mask.max() < VERTICES):
            raise UserError(f"{path}: mask {name!r} does not fit FLAME's {VERTICES:,} vertices")
    return masks


def _read_eyelids(folder: Path) -> np.ndarray | None:
    """Displacements [2, V, 3] of closing the left and right eyelid, or None where absent."""
    files = [folder / "l_eyelid.npy", folder / "r_eyelid.npy"]
    if not all(file.is_file() for file in files):
        return None
    lids = []
    for file in files:
        try:
            lid = np.load(file, allow_pickle=False)
        except (OSError, ValueError) as error:
            raise UserError(f"{file} is no array of displacements ({error})") from None
        if lid.shape != (VERTICES, 3) or not np.isfinite(lid).all():
            raise UserError(
                f"{file} has shape {list(lid.shape)}, expected finite [{VERTICES}, 3]; remove it to "
                "have eyelids derived"
            )
        lids.append(lid.astype(np.float32))
    return np.stack(lids)


def build_flame(
    arrays: FlameArrays,
    base: HeadModel,
    *,
    masks: dict[str, np.ndarray] | None = None,
    eyelids: np.ndarray | None = None,
    ibug: Embedding | None = None,
    mediapipe: Embedding | None = None,
) -> HeadModel:
    """The head from FLAME's arrays; `base` lends parts, landmarks and the meaning of the 52, where
    no file tells."""
    bare = _bare_head(arrays)
    placed, scale = lay_over(base, bare)
    bare = replace(bare, triangle_part=_parts(bare, base, placed, masks))
    bare = replace(bare, **_landmarks(bare, base, placed, scale))
    for given, name in ((ibug, "ibug"), (mediapipe, "landmark")):
        if given is not None:
            bare = replace(bare, **_taken(bare, name, given))
    return arkit_to_flame(bare, base, (placed, scale), eyelids)


def _bare_head(arrays: FlameArrays) -> HeadModel:
    """FLAME driven by its own parameters; the 52 do nothing yet, eyes and skin are the only parts."""
    joints = arrays.joint_regressor @ arrays.template  # [5, 3]
    origin = joints[3:5].mean(0)
    count = len(ARKIT_NAMES) + len(FLAME_NAMES)
    first = len(ARKIT_NAMES)

    def as_ours(flame_joints: np.ndarray) -> np.ndarray:
        """[..., 5, 3] -> [..., 6, 3]: both pivots of our neck lie on FLAME's."""
        placed = np.zeros((*flame_joints.shape[:-2], len(JOINT_NAMES), 3), np.float32)
        placed[..., _JOINTS, :] = flame_joints
        placed[..., NECK, :] = flame_joints[..., 1, :]
        return placed

    regress = arrays.joint_regressor.astype(np.float32)
    expression = np.zeros((count, VERTICES, 3), np.float32)
    expression[first : first + EXPRESSION_COUNT] = arrays.expression_basis
    weights = np.zeros((VERTICES, len(JOINT_NAMES)), np.float32)
    weights[:, _JOINTS] = arrays.weights
    drive = np.zeros((count, len(JOINT_NAMES), 3), np.float32)
    names = ARKIT_NAMES + FLAME_NAMES
    for joint, axes in ((JAW, JAW_NAMES), (LEFT_EYE, EYE_NAMES[:3]), (RIGHT_EYE, EYE_NAMES[3:])):
        for axis, name in enumerate(axes):
            drive[names.index(name), joint, axis] = 1.0
    neutral = (arrays.template - origin).astype(np.float32)
    part = np.full(TRIANGLES, PART_INDEX["face"], np.int64)
    for ball in _eyeballs(arrays.triangles):
        side = "left_eyeball" if neutral[ball, 0].mean() > 0 else "right_eyeball"
        part[np.isin(arrays.triangles[:, 0], ball)] = PART_INDEX[side]
    tensor = torch.from_numpy
    return HeadModel(
        name="flame",
        expression_names=names,
        neutral=tensor(neutral),
        triangles=tensor(arrays.triangles),
        triangle_part=tensor(part),
        uv=tensor(_cylinder_uv(neutral, part, arrays.triangles)),
        identity_basis=tensor(arrays.shape_basis),
        expression_basis=tensor(expression),
        joints=tensor(as_ours(joints - origin)),
        joint_identity=tensor(as_ours(np.einsum("jv,ivc->ijc", regress, arrays.shape_basis))),
        skin_weights=tensor(weights),
        joint_drive=tensor(drive),
        landmark_triangles=torch.zeros(478, dtype=torch.int64),
        landmark_barycentrics=torch.zeros(478, 3),
        landmark_offsets=torch.zeros(478, 3),
        ibug_triangles=torch.zeros(68, dtype=torch.int64),
        ibug_barycentrics=torch.zeros(68, 3),
        mirror=tensor(_mirror(neutral)),
        joint_expression=tensor(as_ours(np.einsum("jv,evc->ejc", regress, expression))),
        pose_correctives=tensor(arrays.pose_correctives),
        source_origin=tensor(origin.astype(np.float32)),
    )


def _parts(
    bare: HeadModel, base: HeadModel, placed: np.ndarray, masks: dict[str, np.ndarray] | None
) -> torch.Tensor:
    """A part of every triangle: FLAME's masks where given, else what the default head, laid over
    it, has there."""
    part = bare.triangle_part.clone()
    skin = part == PART_INDEX["face"]
    names = ("face", "scalp", "ears", "neck", "bust", "eyelids", "mouth")
    wanted = torch.isin(base.triangle_part, torch.tensor([PART_INDEX[n] for n in names]))
    triangles = base.triangles[wanted].numpy()
    opened = bare.vertices(None, open_mouth(bare)).double().numpy()
    centres = opened[bare.triangles[skin].numpy()].mean(1)
    found = closest_points(centres, placed, triangles)
    part[skin] = base.triangle_part[wanted][torch.from_numpy(found.triangle)]
    if masks:
        corners = bare.triangles.numpy()
        for ours, theirs in (
            ("scalp", "scalp"), ("ears", "left_ear"), ("ears", "right_ear"), ("neck", "neck"),
            ("neck", "boundary"), ("face", "face"), ("face", "nose"), ("face", "forehead"),
        ):  # fmt: skip
            inside = np.zeros(VERTICES, bool)
            inside[masks.get(theirs, np.zeros(0, np.int64))] = True
            mine = torch.from_numpy(inside[corners].all(1)) & skin
            # The default head's lids and mouth are finer than FLAME's masks.
            keep = torch.isin(part, torch.tensor([PART_INDEX["eyelids"], PART_INDEX["mouth"]]))
            part[mine & ~(keep if ours == "face" else torch.zeros_like(keep))] = PART_INDEX[ours]
    return part


def _landmarks(
    bare: HeadModel, base: HeadModel, placed: np.ndarray, scale: float
) -> dict[str, torch.Tensor]:
    """The 478 and the 68 where the default head, laid over FLAME, has them."""

    def places(triangle: torch.Tensor, barycentrics: torch.Tensor) -> np.ndarray:
        corners = placed[base.triangles[triangle].numpy()]
        return np.einsum("lk,lkc->lc", barycentrics.double().numpy(), corners)

    points = places(base.landmark_triangles, base.landmark_barycentrics)
    opened = bare.vertices(None, open_mouth(bare)).double().numpy()
    triangle = torch.zeros(478, dtype=torch.int64)
    barycentrics = torch.zeros(478, 3)
    skin = ("face", "scalp", "ears", "neck", "bust", "eyelids")
    groups = ((range(468), skin), (range(468, 473), ("right_eyeball",)),
              (range(473, 478), ("left_eyeball",)))  # fmt: skip
    for indices, parts in groups:
        index = list(indices)
        found = nearest_surface(bare, opened, points[index], parts)
        triangle[index], barycentrics[index] = found
    ibug = places(base.ibug_triangles, base.ibug_barycentrics)
    ibug_triangle, ibug_barycentrics = nearest_surface(bare, opened, ibug, skin)
    return {
        "landmark_triangles": triangle,
        "landmark_barycentrics": barycentrics,
        "landmark_offsets": base.landmark_offsets * scale,
        "ibug_triangles": ibug_triangle,
        "ibug_barycentrics": ibug_barycentrics,
    }


def _taken(head: HeadModel, name: str, given: Embedding) -> dict[str, torch.Tensor]:
    """The head's landmarks of this name, those that a file tells from it."""
    triangles = getattr(head, f"{name}_triangles").clone()
    barycentrics = getattr(head, f"{name}_barycentrics").clone()
    triangles[given.index] = torch.from_numpy(given.triangles)
    barycentrics[given.index] = torch.from_numpy(given.barycentrics).float()
    return {f"{name}_triangles": triangles, f"{name}_barycentrics": barycentrics}


def _mirror(points: np.ndarray) -> np.ndarray:
    from avatar3d.optional import require

    tree = require("scipy.spatial", extra="recon").KDTree(points)
    return np.asarray(tree.query(points * np.array([-1.0, 1.0, 1.0]))[1], np.int64)


def _cylinder_uv(points: np.ndarray, part: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """One uv a vertex: the skin unrolled from an upright cylinder, eyeballs in the lower corners.

    FLAME's files carry no texture coordinates; the seam runs down the back of the head.
    """
    uv = np.zeros((len(points), 2), np.float32)
    axis_z = points[:, 2].min() * 0.5 + points[:, 2].max() * 0.5 - 0.02
    angle = np.arctan2(points[:, 0], points[:, 2] - axis_z)
    uv[:, 0] = 0.5 + 0.48 * angle / np.pi
    low, high = points[:, 1].min(), points[:, 1].max()
    uv[:, 1] = 0.15 + 0.83 * (points[:, 1] - low) / (high - low)
    for side, centre in (("left_eyeball", 0.9), ("right_eyeball", 0.1)):
        ball = np.unique(triangles[part == PART_INDEX[side]])
        if len(ball):
            middle = (points[ball].min(0) + points[ball].max(0)) / 2
            flat = points[ball] - middle
            radius = np.linalg.norm(flat, axis=1).max()
            # Front and back would cover each other: distance from the pupil becomes the radius.
            turn = np.arccos(np.clip(flat[:, 2] / np.linalg.norm(flat, axis=1), -1, 1)) / np.pi
            around = flat[:, :2] / np.linalg.norm(flat[:, :2], axis=1, keepdims=True).clip(1e-9)
            uv[ball] = np.array([centre, 0.07]) + 0.065 * turn[:, None] * around
            del radius
    return uv
