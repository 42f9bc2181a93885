"""The commands `export` and `import`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from avatar3d.codes import ExpressionCode
from avatar3d.errors import UserError
from avatar3d.motion import Motion

if TYPE_CHECKING:
    from avatar3d.avatar import Avatar
    from avatar3d.heads import HeadModel

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
    webcam: bool = False,
    voice: str | None = None,
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
        webcam: Put what the webcam needs into the folder of web (10.7 MB: MediaPipe's detector).
        voice: Put a voice model into the folder of web (1.2 MB), for microphone and sound files:
            clean, research, or a file of `avatar3d voice`.
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
            "webcam": ("webcam", webcam),
            "voice": ("voice", voice is not None),
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
        webcam=webcam,
        voice=voice,
    )
    chosen.write(loaded, output, request)
    files = [output] if output.is_file() else [p for p in output.rglob("*") if p.is_file()]
    size = sum(path.stat().st_size for path in files)
    print(f"wrote {output} ({to}, {size / 1e6:.1f} MB) in {time.perf_counter() - started:.1f} s")


def import_(
    file: tyro.conf.Positional[Path],
    /,
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])],
    onto: Path | None = None,
    expression: str | None = None,
    motion: Path | None = None,
    frame: int | None = None,
    count: int | None = None,
    head: str | None = None,
) -> None:
    """Bring Gaussians, painted UV sheets or a GaussianAvatars checkpoint into an avatar.

    An exported .ply, .spz or .glb (khr) that was edited goes back into the avatar it came from,
    whatever was recoloured, moved or made transparent. Any other Gaussians of a head in the same
    place and size are given to the avatar's anchors. A folder of `export --to texture` changes
    what was painted over. A checkpoint of GaussianAvatars (point_cloud.ply with flame_param.npz
    beside it) needs your FLAME head and no --onto.

    Args:
        file: The .ply, .spz, .glb, or the folder of UV sheets.
        output: The .avatar file to write.
        onto: The avatar that the file was made from, or whose head shall carry it.
        expression: The pose that the Gaussians show: neutral (default), smile, laugh, ...
        motion: Motion that --frame counts in (.npz, or Live Link Face .csv).
        frame: The pose that the Gaussians show: this frame of the motion.
        count: Gaussians of an avatar made from a checkpoint; as many as it has if not given.
        head: Head model (name, or path of its file) if not the one that the avatar names.
    """
    from avatar3d.asset import read_avatar, write_avatar
    from avatar3d.files import check_writable
    from avatar3d.heads import load_head

    started = time.perf_counter()
    if output.suffix.lower() != ".avatar":
        raise UserError(f"cannot write {output}: expected a name ending in .avatar")
    check_writable(output)
    model = None if head is None else load_head(head)
    if _is_checkpoint(file):
        if onto is not None:
            raise UserError(f"{file} is a GaussianAvatars checkpoint: it brings its own head shape")
        avatar, said = _from_checkpoint(file, model, count)
    else:
        if onto is None:
            raise UserError(f"say with --onto which avatar shall take {file} up")
        if count is not None:
            raise UserError("--count is for checkpoints; the avatar has its Gaussians already")
        base = read_avatar(onto, model)
        if file.is_dir():
            avatar, said = _from_sheets(file, base)
        else:
            moves = None if motion is None else Motion.load(motion)
            code = pose_of(expression, motion, moves, frame)
            avatar, said = _from_splats(file, base, code)
    write_avatar(avatar, output)
    print(f"{said}; wrote {output} in {time.perf_counter() - started:.1f} s")


def _from_sheets(folder: Path, base: Avatar) -> tuple[Avatar, str]:
    from avatar3d.io.sheets import read_sheets

    avatar, edited = read_sheets(folder, base)
    return avatar, f"took up {', '.join(edited)}" if edited else "no picture was edited"


def _from_splats(file: Path, base: Avatar, code: ExpressionCode) -> tuple[Avatar, str]:
    from avatar3d.io.bind import bind_splats
    from avatar3d.io.khr import read_khr
    from avatar3d.io.ply import read_ply
    from avatar3d.io.spz import read_spz

    readers = {".ply": read_ply, ".spz": read_spz, ".glb": read_khr}
    if file.suffix.lower() not in readers:
        raise UserError(
            f"{file} cannot be imported: expected .ply, .spz, .glb (khr), or a folder of UV sheets"
        )
    bound = bind_splats(readers[file.suffix.lower()](file), base, code)
    if bound.in_order:
        return bound.avatar, f"each of {bound.total:,} Gaussians went back to its anchor"
    left = f"; {bound.lost:,} lay too far from the head" if bound.lost else ""
    return bound.avatar, f"{bound.total:,} Gaussians were shared out over the anchors{left}"


def _is_checkpoint(file: Path) -> bool:
    from avatar3d.io.gaussian_avatars import is_checkpoint

    return file.suffix.lower() == ".ply" and not file.is_dir() and is_checkpoint(file)


def _from_checkpoint(file: Path, head: HeadModel | None, count: int | None) -> tuple[Avatar, str]:
    import torch

    from avatar3d.asset import MAX_GAUSSIANS
    from avatar3d.avatar import Attributes, Avatar
    from avatar3d.heads import load_head
    from avatar3d.io.bind import bind_splats
    from avatar3d.io.gaussian_avatars import read_checkpoint

    if head is None:
        try:
            head = load_head("flame")
        except UserError as error:
            raise UserError(
                f"{file} rides on FLAME, which is not on this machine: get it from "
                "https://flame.is.tue.mpg.de, then: avatar3d heads add flame FILE"
            ) from error
    found = read_checkpoint(file, head)
    total = len(found.splats.positions)
    count = min(total, MAX_GAUSSIANS) if count is None else count
    if not 1 <= count <= MAX_GAUSSIANS:
        raise UserError(f"--count is 1 to {MAX_GAUSSIANS:,}, got {count}")
    rotations = torch.zeros(count, 4)
    rotations[:, 0] = 1
    blank = Attributes(
        offsets=torch.zeros(count, 3),
        rotations=rotations,
        log_scales=torch.full((count, 3), -7.0),
        opacity_logits=torch.full((count,), -20.0),
        colors=torch.full((count, 3), 0.5),
    )
    provenance = {"tool": "imported from a GaussianAvatars checkpoint"}
    bare = Avatar(head, torch.from_numpy(found.shape), blank, provenance=provenance)
    neutral = ExpressionCode.neutral(coefficient_count=head.expression_count)
    bound = bind_splats(found.splats, bare, neutral, found.normals)
    teeth = f"; {found.on_teeth:,} on added teeth were left out" if found.on_teeth else ""
    far = f"; {bound.lost:,} lay too far from the head" if bound.lost else ""
    return bound.avatar, f"{total:,} Gaussians of the checkpoint found anchors{teeth}{far}"


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
