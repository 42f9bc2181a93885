"""An avatar as an animatable mesh: GLB with 52 named morph targets, a skin, textures and clips.

Each morph target holds all that its coefficient moves, jaw and eyeballs included, so that an
engine needs to set weights and nothing else; the joints stay free for those who prefer bones.
What is lost against the Gaussians: parts that turn follow chords instead of arcs between 0 and 1,
wrinkles (the expression basis) and everything finer than a mesh.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from avatar3d.animation import idle
from avatar3d.avatar import Avatar
from avatar3d.codes import ARKIT_NAMES, ExpressionCode
from avatar3d.geometry import matrix_to_quaternion, quaternion_power
from avatar3d.heads.skinning import JAW, JOINT_NAMES, JOINT_PARENTS, joint_transforms
from avatar3d.io.bake import at_rest, surface_heights
from avatar3d.io.glb import ARRAY_BUFFER, ELEMENT_BUFFER, GlbWriter
from avatar3d.io.maps import bake_sheet, bake_surface
from avatar3d.io.png import png_bytes
from avatar3d.io.surface import GROUPS, Surface, head_surface, sheet_surface, vertex_normals
from avatar3d.motion import Motion
from avatar3d.smooth import smoothstep

_ROUGHNESS = {"skin": 0.6, "eyes": 0.15, "teeth": 0.3, "mouth": 0.4, "sheet": 0.9}
_IDLE_S, _IDLE_FPS = 13.6, 25.0  # four blinks
_SETTLE_S = 1.0  # the idle clip ends as it begins, so that it loops
_STILL_M = 1e-7  # what moves less does not move
_MOVED = 1e-9


@dataclass(frozen=True)
class Rigged:
    """A surface with what moves it. Arrays follow the surface's vertices."""

    surface: Surface
    shapes: np.ndarray  # [52, V, 3] metres at coefficient 1; empty where none applies
    weights: np.ndarray  # [V, J] of the joints that move something


def write_glb(
    avatar: Avatar,
    path: Path,
    texture_size: int = 1024,
    motion: Motion | None = None,
    unlit: bool = False,
) -> None:
    """Write the avatar's head as a GLB.

    unlit: the light of the photos stays in the texture, and engines add none; otherwise the
        texture holds the albedo and engines light it.
    """
    writer = GlbWriter()
    resting = at_rest(avatar)
    surface = head_surface(avatar)
    picture = bake_surface(resting, surface, texture_size, lit=unlit)
    heights = surface_heights(resting, surface)
    rigged = _rigged_head(avatar, _displaced(surface, heights))
    images = [writer.image("head", png_bytes(picture.srgb()), "image/png")]
    meshes = [_mesh(writer, "avatar", rigged, GROUPS)]

    sheet = sheet_surface(avatar)
    cover = bake_sheet(resting, sheet, texture_size // 2, lit=unlit)
    sheet = cover.trimmed(sheet)
    if len(sheet.triangles):
        images.append(writer.image("sheet", png_bytes(cover.srgb_with_cover()), "image/png"))
        weights = avatar.template.head.skin_weights.numpy()[sheet.source][:, _joints(avatar)]
        empty = np.zeros((0, len(sheet.vertices), 3))
        meshes.append(_mesh(writer, "avatar_sheet", Rigged(sheet, empty, weights), ("sheet",)))

    joints = _joints(avatar)
    first_joint = len(meshes)
    nodes: list[dict[str, Any]] = [
        {"name": mesh["name"], "mesh": number, "skin": 0} for number, mesh in enumerate(meshes)
    ]
    nodes += _joint_nodes(avatar, joints, first_joint)
    clips = {"idle": idle_loop()} | ({} if motion is None else {"motion": motion})
    document: dict[str, Any] = {
        "scene": 0,
        "scenes": [{"nodes": list(range(first_joint + 1))}],
        "nodes": nodes,
        "meshes": meshes,
        "skins": [_skin(writer, avatar, joints, first_joint)],
        "materials": [_material(name, unlit) for name in _numbered(meshes)],
        "textures": [
            {"name": image["name"], "source": number, "sampler": 0}
            for number, image in enumerate(images)
        ],
        "samplers": [{"magFilter": 9729, "minFilter": 9987, "wrapS": 33071, "wrapT": 33071}],
        "images": images,
        "animations": [
            _animation(writer, name, avatar, clip, joints, first_joint)
            for name, clip in clips.items()
        ],
    }
    if unlit:
        document["extensionsUsed"] = ["KHR_materials_unlit"]
    agreed = {key: avatar.provenance[key] for key in ("licence", "consent")
              if isinstance(avatar.provenance.get(key), str)}  # fmt: skip
    if agreed:
        document["extras"] = {"avatar3d": agreed}
        nodes[0]["extras"] = {"avatar3d": agreed}  # this one importers keep
    writer.write(document, path)


def morph_targets(avatar: Avatar) -> np.ndarray:
    """What each of the 52 coefficients alone moves each vertex by, [52, V, 3] metres."""
    rig = avatar.head.rig(avatar.identity)
    count = len(ARKIT_NAMES)
    codes = ExpressionCode.neutral(count, coefficient_count=avatar.head.expression_count)
    codes.coefficients[:, :count] = torch.eye(count)
    with torch.no_grad():
        return (rig.pose(codes) - rig.neutral).double().numpy()


def idle_loop() -> Motion:
    """Blinks and a slow sway that end where they began."""
    motion = idle(_IDLE_S, _IDLE_FPS)
    left_s = (len(motion) - 1 - torch.arange(len(motion))) / _IDLE_FPS
    fade = smoothstep(left_s, 0.0, _SETTLE_S)
    rotation = torch.stack(
        [
            quaternion_power(one, float(amount))
            for one, amount in zip(motion.codes.head_rotation, fade)
        ]
    )
    codes = motion.codes._replace(head_rotation=rotation, neck_rotation=rotation)
    return Motion(codes, motion.frames_per_second)


def _rigged_head(avatar: Avatar, surface: Surface) -> Rigged:
    weights = avatar.head.skin_weights.numpy()[surface.source][:, _joints(avatar)]
    return Rigged(surface, morph_targets(avatar)[:, surface.source], weights)


def _displaced(surface: Surface, heights: np.ndarray) -> Surface:
    vertices = surface.vertices + heights[:, None] * surface.normals
    whole = np.zeros((surface.source.max() + 1, 3))
    whole[surface.source] = vertices
    normals = vertex_normals(whole, surface.source[surface.triangles])[surface.source]
    return surface.replaced(vertices, normals)


def _mesh(writer: GlbWriter, name: str, rigged: Rigged, groups: tuple[str, ...]) -> dict[str, Any]:
    """One primitive a material, each with its own vertices. Materials are named here; `_numbered`
    puts numbers in their place."""
    surface = rigged.surface
    joints, weights = _influences(rigged.weights)
    normals = _shape_normals(rigged)
    primitives = []
    for number, group in enumerate(groups):
        chosen = surface.triangles[surface.group == number]
        if not len(chosen):
            continue
        used, corners = np.unique(chosen, return_inverse=True)

        def attribute(values: np.ndarray, **options: bool) -> int:
            return writer.accessor(values, ARRAY_BUFFER, **options)

        uv = surface.uv[used] * [1, -1] + [0, 1]  # glTF counts rows from the top
        primitive: dict[str, Any] = {
            "attributes": {
                "POSITION": attribute(surface.vertices[used].astype(np.float32), bounds=True),
                "NORMAL": attribute(_unit(surface.normals[used])),
                "TEXCOORD_0": attribute(uv.astype(np.float32)),
                "JOINTS_0": attribute(joints[used]),
                "WEIGHTS_0": attribute(weights[used]),
            },
            "indices": writer.accessor(
                corners.reshape(-1).astype(np.uint32 if len(used) > 65535 else np.uint16),
                ELEMENT_BUFFER,
            ),
            "material": group,
        }
        if len(rigged.shapes):
            primitive["targets"] = _targets(writer, rigged.shapes[:, used], normals[:, used])
        primitives.append(primitive)
    mesh: dict[str, Any] = {"name": name, "primitives": primitives}
    if len(rigged.shapes):
        mesh["weights"] = [0.0] * len(rigged.shapes)
        mesh["extras"] = {"targetNames": list(ARKIT_NAMES)}
    return mesh


def _targets(writer: GlbWriter, shapes: np.ndarray, normals: np.ndarray) -> list[dict[str, int]]:
    """Dense, because several importers fail on sparse ones; those that are zero share one array."""
    still: int | None = None
    targets = []
    for shape, normal in zip(shapes, normals):
        if np.abs(shape).max(initial=0.0) < _STILL_M:
            if still is None:
                zeros = np.zeros(shape.shape, np.float32)
                still = writer.accessor(zeros, ARRAY_BUFFER, bounds=True)
            targets.append({"POSITION": still, "NORMAL": still})
        else:
            moved = writer.accessor(shape.astype(np.float32), ARRAY_BUFFER, bounds=True)
            turned = writer.accessor(normal.astype(np.float32), ARRAY_BUFFER)
            targets.append({"POSITION": moved, "NORMAL": turned})
    return targets


def _shape_normals(rigged: Rigged) -> np.ndarray:
    """What each shape adds to the normals, [52, V, 3]."""
    surface = rigged.surface
    whole = np.zeros((surface.source.max() + 1, 3))
    triangles = surface.source[surface.triangles]
    result = np.zeros(rigged.shapes.shape)
    for number, shape in enumerate(rigged.shapes):
        whole[surface.source] = surface.vertices + shape
        turned = vertex_normals(whole, triangles)[surface.source] - surface.normals
        result[number] = np.where(np.abs(turned) < _MOVED, 0.0, turned)
    return result


def _influences(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The four largest weights [V, 4] float32, summing to 1, and their joints [V, 4] uint8."""
    joints = np.argsort(-weights, axis=1, kind="stable")[:, :4]
    kept = np.take_along_axis(weights.astype(np.float64), joints, 1).clip(0)
    kept = (kept / kept.sum(-1, keepdims=True)).astype(np.float32)
    return np.where(kept > 0, joints, 0).astype(np.uint8), kept


def _joints(avatar: Avatar) -> list[int]:
    """The head's joints that move something."""
    moves = bool((avatar.head.skin_weights[:, JAW] > 0).any())
    return [joint for joint in range(len(JOINT_NAMES)) if joint != JAW or moves]


def _joint_nodes(avatar: Avatar, joints: list[int], first: int) -> list[dict[str, Any]]:
    positions = avatar.head.rig(avatar.identity).joints.double().numpy()
    nodes = []
    for joint in joints:
        parent = JOINT_PARENTS[joint]
        local = positions[joint] - (positions[parent] if parent >= 0 else 0.0)
        node: dict[str, Any] = {"name": JOINT_NAMES[joint], "translation": local.tolist()}
        children = [first + joints.index(j) for j in joints if JOINT_PARENTS[j] == joint]
        if children:
            node["children"] = children
        nodes.append(node)
    return nodes


def _skin(writer: GlbWriter, avatar: Avatar, joints: list[int], first: int) -> dict[str, Any]:
    positions = avatar.head.rig(avatar.identity).joints.numpy()
    inverse = np.tile(np.eye(4, dtype=np.float32), (len(joints), 1, 1))
    inverse[:, 3, :3] = -positions[joints]  # column-major
    return {
        "joints": [first + number for number in range(len(joints))],
        "skeleton": first,
        "inverseBindMatrices": writer.accessor(inverse),
    }


def _numbered(meshes: list[dict[str, Any]]) -> list[str]:
    """The materials that primitives name, in order; the names become numbers."""
    primitives = [primitive for mesh in meshes for primitive in mesh["primitives"]]
    names = list(dict.fromkeys(primitive["material"] for primitive in primitives))
    for primitive in primitives:
        primitive["material"] = names.index(primitive["material"])
    return names


def _material(name: str, unlit: bool) -> dict[str, Any]:
    material: dict[str, Any] = {
        "name": name,
        "pbrMetallicRoughness": {
            "baseColorTexture": {"index": 1 if name == "sheet" else 0},
            "metallicFactor": 0.0,
            "roughnessFactor": _ROUGHNESS[name],
        },
    }
    if name == "sheet":
        material |= {"alphaMode": "BLEND", "doubleSided": True}
    if unlit:
        material["extensions"] = {"KHR_materials_unlit": {}}
    return material


def _animation(
    writer: GlbWriter, name: str, avatar: Avatar, motion: Motion, joints: list[int], first: int
) -> dict[str, Any]:
    """Weights of the head's shapes, rotations of root, neck and head, the root's place."""
    times = np.arange(len(motion), dtype=np.float32) / np.float32(motion.frames_per_second)
    time = writer.accessor(times, bounds=True)
    weights = motion.codes.coefficients[:, : len(ARKIT_NAMES)].clamp(0, 1).numpy()
    root, rotations = _joint_motion(avatar, motion.codes)
    outputs = [(0, "weights", weights.reshape(-1)), (first, "translation", root)]
    outputs += [
        (first + joints.index(joint), "rotation", rotation)
        for joint, rotation in enumerate(rotations)
    ]
    samplers, channels = [], []
    for node, path, values in outputs:
        output = writer.accessor(values.astype(np.float32))
        channels.append({"sampler": len(samplers), "target": {"node": node, "path": path}})
        samplers.append({"input": time, "output": output, "interpolation": "LINEAR"})
    return {"name": name, "samplers": samplers, "channels": channels}


def _joint_motion(avatar: Avatar, codes: ExpressionCode) -> tuple[np.ndarray, list[np.ndarray]]:
    """The root's place [T, 3]; xyzw of root, neck and head relative to their parents, [T, 4] each.

    Jaw and eyes stay as they are: the morph targets move them.
    """
    rig = avatar.head.rig(avatar.identity)
    still = codes._replace(coefficients=torch.zeros_like(codes.coefficients))
    with torch.no_grad():
        rotations, translations = joint_transforms(still, rig.joints, rig.joint_drive)
        root = (rotations[:, 0] @ rig.joints[0]) + translations[:, 0]
        local = [rotations[:, 0]]
        local += [rotations[:, joint - 1].mT @ rotations[:, joint] for joint in (1, 2)]
        quaternions = [matrix_to_quaternion(rotation).numpy() for rotation in local]
    return root.numpy(), [_unit(one)[:, [1, 2, 3, 0]] for one in quaternions]


def _unit(vectors: np.ndarray) -> np.ndarray:
    wide = vectors.astype(np.float64)
    return (wide / np.linalg.norm(wide, axis=-1, keepdims=True).clip(1e-20)).astype(np.float32)
