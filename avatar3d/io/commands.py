"""The commands `export` and `import`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Literal

import tyro

from avatar3d.codes import ExpressionCode
from avatar3d.errors import UserError
from avatar3d.motion import Motion

TEXTURE_SIZES = (256, 512, 1024, 2048, 4096)


def export(
    avatar: tyro.conf.Positional[Path],
    /,
    to: Literal["glb", "khr", "ply", "spz", "web", "texture"],
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])],
    expression: str | None = None,
    motion: Path | None = None,
    frame: int | None = None,
    texture_size: int | None = None,
    unlit: bool = False,
    images: Literal["png", "exr"] | None = None,
    level: int | None = None,
    head: str | None = None,
) -> None:
    """Write an avatar for engines, web pages and paint programs.

    glb is a mesh that moves: 52 named morph targets, skin, texture, clips. khr, ply and spz are
    the Gaussians of one pose, still. web is a folder for any web host. texture is a folder of
    pictures to paint on; `avatar3d import` takes them back. docs/engines.md has a guide for each
    engine.

    Args:
        avatar: The .avatar file.
        to: The format.
        output: File to write (.glb, .ply, .spz), or a new folder (web, texture).
        expression: Pose of khr, ply and spz by name: neutral (default), smile, laugh, ...
        motion: Motion (.npz or Live Link Face .csv): a clip of the glb, or the source of --frame.
        frame: Pose of khr, ply and spz: this frame of the motion, counted from 0.
        texture_size: Side of the textures of glb and texture in texels (1024 if not given).
        unlit: Keep the photos' light in the glb's texture, and let the engine add none.
        images: Pictures of texture: png (8 bits; default) or exr (floats).
        level: How many Gaussians to keep: a coarser avatar.
        head: Head model (name, or path of its file) if not the one that the avatar names.
    """
    from avatar3d.asset import read_avatar
    from avatar3d.heads import load_head
    from avatar3d.io.formats import ExportRequest, load_format

    started = time.perf_counter()
    chosen = load_format(to)
    _refuse_unused(
        to,
        chosen.options,
        {
            "expression": ("pose", expression is not None),
            "frame": ("pose", frame is not None),
            "motion": ("motion", motion is not None and "pose" not in chosen.options),
            "texture-size": ("texture_size", texture_size is not None),
            "unlit": ("unlit", unlit),
            "images": ("images", images is not None),
        },
    )
    _check_place(output, chosen.suffix, to)
    if texture_size is not None and texture_size not in TEXTURE_SIZES:
        raise UserError(
            f"--texture-size is one of {', '.join(map(str, TEXTURE_SIZES))}, got {texture_size}"
        )
    moves = None if motion is None else Motion.load(motion)
    if moves is not None and not len(moves):
        raise UserError(f"{motion} has no frames; give another motion")
    still = "pose" in chosen.options
    code = pose_of(expression, motion, moves, frame) if still else ExpressionCode.neutral()
    loaded = read_avatar(avatar, None if head is None else load_head(head))
    if level is not None:
        if not 1 <= level <= loaded.count:
            raise UserError(f"--level is 1 to {loaded.count:,} Gaussians here, got {level}")
        loaded = loaded.level(level)
    request = ExportRequest(
        code=code,
        motion=None if still else moves,
        texture_size=texture_size or 1024,
        unlit=unlit,
        images=images or "png",
    )
    chosen.write(loaded, output, request)
    files = [output] if output.is_file() else [p for p in output.rglob("*") if p.is_file()]
    size = sum(path.stat().st_size for path in files)
    print(f"wrote {output} ({to}, {size / 1e6:.1f} MB) in {time.perf_counter() - started:.1f} s")


def pose_of(
    expression: str | None, path: Path | None, motion: Motion | None, frame: int | None
) -> ExpressionCode:
    """One code, from an expression's name or from a frame of a motion."""
    from avatar3d.animation import expression_code

    if motion is None:
        if frame is not None:
            raise UserError("--frame counts frames of a motion; give it with --motion")
        return expression_code(expression or "neutral")
    if expression is not None:
        raise UserError("--expression and --motion both choose the pose; give one of them")
    if frame is None:
        raise UserError(f"a still format shows one frame of {path}; say which with --frame")
    if not 0 <= frame < len(motion):
        raise UserError(f"{path} has the frames 0 to {len(motion) - 1}, got --frame {frame}")
    return motion.codes.at(frame)


def _refuse_unused(name: str, options: frozenset[str], given: dict[str, tuple[str, bool]]) -> None:
    for option, (meaning, is_given) in given.items():
        if is_given and meaning not in options:
            raise UserError(f"--{option} means nothing to the format {name}; leave it out")


def _check_place(output: Path, suffix: str, name: str) -> None:
    from avatar3d.files import check_writable
    from avatar3d.io.folders import check_new_folder

    if not suffix:
        check_new_folder(output)
        return
    if output.suffix.lower() != suffix:
        raise UserError(
            f"cannot write {output}: the format {name} wants a name ending in {suffix}, got "
            f"{output.suffix or 'none'!r}"
        )
    check_writable(output)
