"""FLAME's parameters over time, as other projects save them, and as `Motion`.

Read are VHAP's and GaussianAvatars' `flame_param.npz` (one file, or a folder with one a frame), and
the checkpoints of metrical-tracker (`.frame`, read with torch's `weights_only`: a checkpoint that
holds more than numbers is refused).
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from avatar3d.codes import ARKIT_NAMES, ExpressionCode
from avatar3d.errors import UserError
from avatar3d.files import check_readable
from avatar3d.geometry import (
    matrix_to_quaternion,
    quaternion_conjugate,
    quaternion_multiply,
    quaternion_to_matrix,
    quaternion_to_rotation_vector,
    rotate,
    rotation_vector_to_quaternion,
)
from avatar3d.heads.flame_map import COUNT, EXPRESSIONS, EYELIDS, EYES, JAW_AT, from_own, to_own
from avatar3d.heads.model import HeadModel
from avatar3d.heads.npz_data import read_npz_data
from avatar3d.heads.skinning import HEAD, ROOT
from avatar3d.motion import Motion

MAX_FRAMES = 1_000_000
_CHECKPOINTS = (".frame", ".pt", ".pth")
_LARGEST = 1e3  # no coefficient, angle or metre of a head is larger


@dataclass(frozen=True)
class FlameParameters:
    """FLAME's parameters: one shape, T frames. Rotation vectors in radians, metres."""

    shape: Tensor  # [300]
    expression: Tensor  # [T, 100]
    rotation: Tensor  # [T, 3] of the whole, about the global joint
    neck: Tensor  # [T, 3]
    jaw: Tensor  # [T, 3]
    eyes: Tensor  # [T, 6] left, right
    eyelids: Tensor  # [T, 2] left, right: 0 as they are, 1 closed
    translation: Tensor  # [T, 3]

    def own(self) -> Tensor:
        """As a FLAME head's own coefficients, [T, 111]."""
        return torch.cat([self.expression, self.eyelids, self.jaw, self.eyes], dim=-1)


def to_codes(head: HeadModel, parameters: FlameParameters, *, exact: bool = True) -> ExpressionCode:
    """Codes [T] that pose a FLAME `head` as these parameters do, to rounding.

    With `exact` the expression travels in the head's own coefficients, behind 52 zeros; without, as
    the nearest of the 52, which drive any head. The pose is the same.
    """
    own = parameters.own()
    exactly = torch.cat([torch.zeros(len(own), COUNT), own], dim=-1)
    joints = head.rig(_identity(head, parameters.shape)).joints_of(exactly)
    base, pivot = joints[..., ROOT, :], joints[..., HEAD, :]
    turn = rotation_vector_to_quaternion(parameters.rotation)
    neck = rotation_vector_to_quaternion(parameters.neck)
    # x_world = R_g (R_n (x - pivot) + pivot - base) + base + origin + translation
    held = pivot - base - rotate(quaternion_to_matrix(neck), pivot)
    translation = rotate(quaternion_to_matrix(turn), held) + base + parameters.translation
    if head.source_origin is not None:
        translation = translation + head.source_origin
    coefficients = exactly if exact else from_own(head, own)
    return ExpressionCode(coefficients, quaternion_multiply(turn, neck), translation, neck)


def from_codes(head: HeadModel, identity: Tensor, codes: ExpressionCode) -> FlameParameters:
    """The parameters that pose FLAME as `codes` [T] pose a FLAME `head`."""
    own = to_own(head, codes.coefficients)
    joints = head.rig(identity).joints_of(codes.coefficients)
    base, pivot = joints[..., ROOT, :], joints[..., HEAD, :]
    neck = codes.neck_rotation
    turn = quaternion_multiply(codes.head_rotation, quaternion_conjugate(neck))
    held = pivot - base - rotate(quaternion_to_matrix(neck), pivot)
    translation = codes.head_translation - rotate(quaternion_to_matrix(turn), held) - base
    if head.source_origin is not None:
        translation = translation - head.source_origin
    return FlameParameters(
        shape=_identity(head, identity),
        expression=own[:, EXPRESSIONS],
        rotation=quaternion_to_rotation_vector(turn),
        neck=quaternion_to_rotation_vector(neck),
        jaw=own[:, JAW_AT],
        eyes=own[:, EYES],
        eyelids=own[:, EYELIDS],
        translation=translation,
    )


def to_motion(
    head: HeadModel,
    parameters: FlameParameters,
    frames_per_second: float = 25.0,
    *,
    exact: bool = False,
) -> Motion:
    """A `Motion` for any head, or with `exact` one that only FLAME heads perform in full."""
    codes = to_codes(head, parameters, exact=exact)
    extra = head.expression_names[len(ARKIT_NAMES) :] if exact else ()
    return Motion(codes, frames_per_second, extra)


def read_flame_parameters(path: Path) -> FlameParameters:
    """Read `flame_param.npz`, a `.frame` checkpoint, or a folder of either in the order of names."""
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix in (".npz", *_CHECKPOINTS))
        if not files:
            raise UserError(
                f"{path} holds no FLAME parameters; expected .npz files of VHAP or .frame files of "
                "metrical-tracker"
            )
        return _joined([_read_file(file) for file in files], path)
    return _read_file(path)


def is_flame_npz(path: str | Path) -> bool:
    """Whether an .npz holds VHAP's parameters, by the names of its members."""
    try:
        with zipfile.ZipFile(path) as archive:
            return {"expr.npy", "jaw_pose.npy"} <= set(archive.namelist())
    except (OSError, zipfile.BadZipFile, ValueError):
        return False


def _read_file(path: Path) -> FlameParameters:
    suffix = path.suffix.lower()
    if suffix == ".npz":
        arrays = read_npz_data(path)
        if not {"expr", "jaw_pose"} <= set(arrays):
            raise UserError(
                f"{path} holds no FLAME parameters: expected the arrays 'expr' and 'jaw_pose' of "
                "VHAP or GaussianAvatars"
            )
        return from_vhap(arrays, path)
    if suffix in _CHECKPOINTS:
        return from_metrical_tracker(_read_checkpoint(path), path)
    raise UserError(
        f"{path} is no file of FLAME parameters: expected .npz or .frame, got {suffix!r}"
    )


def from_vhap(arrays: dict[str, Any], path: Path) -> FlameParameters:
    """The arrays of VHAP's `flame_param.npz`."""
    frames = _rows(arrays, "expr", path).shape[0]

    def rows(name: str, width: int) -> Tensor:
        if name not in arrays:
            return torch.zeros(frames, width)
        value = _rows(arrays, name, path)
        if value.shape[0] == 1 and frames > 1:
            value = value.expand(frames, -1)
        if value.shape[0] != frames or value.shape[1] > width:
            raise UserError(
                f"{path}: {name!r} has shape {list(value.shape)}, expected [{frames}, {width}] or less"
            )
        return torch.nn.functional.pad(value, (0, width - value.shape[1]))

    shape = _rows(arrays, "shape", path) if "shape" in arrays else torch.zeros(1, 300)
    if shape.shape[0] != 1 or shape.shape[1] > 300:
        raise UserError(
            f"{path}: 'shape' has {shape.numel()} values, FLAME has 300; these parameters are of "
            "another model"
        )
    return FlameParameters(
        shape=torch.nn.functional.pad(shape[0], (0, 300 - shape.shape[1])),
        expression=rows("expr", 100),
        rotation=rows("rotation", 3),
        neck=rows("neck_pose", 3),
        jaw=rows("jaw_pose", 3),
        eyes=rows("eyes_pose", 6),
        eyelids=rows("eyelids", 2),
        translation=rows("translation", 3),
    )


def from_metrical_tracker(checkpoint: Any, path: Path) -> FlameParameters:
    """One frame of metrical-tracker: rotations as six numbers, the head placed by the camera.

    Its camera is PyTorch3D's (+X left, +Y up, +Z forward): the world becomes that camera turned to
    look along -Z, so that a face before it looks along +Z.
    """
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get("flame"), dict):
        raise UserError(
            f"{path} is no checkpoint of metrical-tracker: it has no 'flame' parameters"
        )
    flame, camera = checkpoint["flame"], checkpoint.get("camera", {})

    def row(group: dict[str, Any], name: str, width: int) -> Tensor:
        if name not in group:
            return torch.zeros(width)
        value = _rows(group, name, path).flatten()
        if value.numel() > width:
            raise UserError(f"{path}: {name!r} has {value.numel()} values, expected {width}")
        return torch.nn.functional.pad(value, (0, width - value.numel()))

    def turns(values: Tensor) -> Tensor:
        """[K * 6] -> [K * 3] rotation vectors; nothing where nothing is given."""
        six = values.reshape(-1, 6)
        six = torch.where(six.abs().sum(-1, keepdim=True) > 0, six, six.new_tensor(_NO_TURN))
        return quaternion_to_rotation_vector(matrix_to_quaternion(_from_six(six))).flatten()

    rotation = _rows(camera, "R", path).reshape(-1) if "R" in camera else torch.tensor(_NO_TURN)
    if rotation.numel() not in (6, 9):
        raise UserError(f"{path}: the camera's 'R' has {rotation.numel()} values, expected 6 or 9")
    matrix = _from_six(rotation) if rotation.numel() == 6 else rotation.reshape(3, 3)
    # PyTorch3D multiplies rows: x_camera = x R + t.
    facing = torch.diag(torch.tensor([-1.0, 1.0, -1.0]))
    turned = facing @ matrix.T
    return FlameParameters(
        shape=row(flame, "shape", 300),
        expression=row(flame, "exp", 100)[None],
        rotation=quaternion_to_rotation_vector(matrix_to_quaternion(turned))[None],
        neck=torch.zeros(1, 3),
        jaw=turns(row(flame, "jaw", 6))[None],
        eyes=turns(row(flame, "eyes", 12))[None],
        eyelids=row(flame, "eyelids", 2)[None],
        translation=(facing @ row(camera, "t", 3))[None],
    )


_NO_TURN = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]


def _from_six(six: Tensor) -> Tensor:
    """Rotation matrices [..., 3, 3] of their first two rows [..., 6] (Zhou et al. 2019)."""
    first = torch.nn.functional.normalize(six[..., :3], dim=-1)
    second = six[..., 3:] - (first * six[..., 3:]).sum(-1, keepdim=True) * first
    second = torch.nn.functional.normalize(second, dim=-1)
    return torch.stack([first, second, torch.linalg.cross(first, second)], dim=-2)


def _read_checkpoint(path: Path) -> Any:
    check_readable(path, 1 << 30)
    # NumPy's arrays and scalars are made by these; torch refuses all other names.
    kinds = [np.dtype(code) for code in ("f2", "f4", "f8", "i4", "i8", "u1", "b1")]
    array_maker: Any = np.zeros(0).__reduce__()[0]
    scalar_maker: Any = np.float32(0).__reduce__()[0]
    names = [array_maker, scalar_maker, np.ndarray, np.dtype, *{type(kind) for kind in kinds}]
    try:
        with torch.serialization.safe_globals(names):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # noqa: BLE001 (whatever torch says is the file's fault)
        reason = str(error).partition("\n")[0][:200]
        raise UserError(
            f"{path} is no checkpoint of plain numbers ({reason}); nothing in it was executed"
        ) from None


def _rows(group: dict[str, Any], name: str, path: Path) -> Tensor:
    value = group[name]
    value = value.detach().numpy() if isinstance(value, Tensor) else np.asarray(value)
    if value.dtype.kind not in "fiu" or value.ndim > 3 or value.size == 0:
        raise UserError(f"{path}: {name!r} holds no numbers")
    value = value.reshape(-1, value.shape[-1]) if value.ndim != 1 else value[None]
    if not np.isfinite(value).all() or np.abs(value).max() > _LARGEST:
        raise UserError(f"{path} has NaN, infinite or absurd values in {name!r}")
    if value.shape[0] > MAX_FRAMES:
        raise UserError(f"{path}: {name!r} has {value.shape[0]:,} frames, more than are read here")
    return torch.from_numpy(value.astype(np.float32))


def _joined(parts: list[FlameParameters], path: Path) -> FlameParameters:
    """Frames after one another; the shape is the first's, since it is one person's."""
    shape = parts[0].shape
    if any((part.shape - shape).abs().max() > 0.5 for part in parts):
        raise UserError(f"{path} holds parameters of more than one person; give one at a time")

    def column(name: str) -> Tensor:
        return torch.cat([getattr(part, name) for part in parts])

    names = ("expression", "rotation", "neck", "jaw", "eyes", "eyelids", "translation")
    return FlameParameters(shape, **{name: column(name) for name in names})


def _identity(head: HeadModel, shape: Tensor) -> Tensor:
    return torch.nn.functional.pad(shape, (0, head.identity_count - shape.shape[-1]))
