"""What `create` and `demo` do between reading their options and saying what they wrote."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from avatar3d.errors import UserError
from avatar3d.files import check_writable, temporary_folder
from avatar3d.heads import installed_heads
from avatar3d.optional import require
from recon.console import stage_bars, warnings_said
from recon.fit.fitter import most_frontal
from recon.pipeline import CreateConfig, CreateResult
from recon.pipeline import create as create_avatar

PORTRAIT = "astronaut.png"  # Eileen Collins by NASA, public domain; scikit-image carries it


def make_avatar(
    inputs: Sequence[Path],
    output: Path,
    config: CreateConfig,
    *,
    head: str = "default",
    face_index: int | None = None,
    licence: str | None = None,
    consent: str | None = None,
) -> CreateResult:
    """Write an avatar with its preview, and say so."""
    from render.commands import check_output
    from render.preview import preview_sheet, write_picture

    started = time.perf_counter()
    preview = output.with_suffix(".preview.jpg")
    check_output(output, (".avatar",))
    check_writable(preview)
    with stage_bars() as watch, warnings_said():
        made = create_avatar(
            inputs,
            config,
            head,
            face_index=face_index,
            licence=licence,
            consent=consent,
            progress=watch,
        )
    shown = most_frontal(made.tracking.codes)
    truth, code = made.frames[shown].over(), made.fit.codes.at(shown)
    sheet = preview_sheet(made.avatar, truth, code, made.tracking.camera)
    made.avatar.save(output)
    write_picture(sheet, preview)
    print(
        f"wrote {output} ({made.avatar.count:,} Gaussians, {output.stat().st_size / 1e6:.1f} MB) "
        f"and {preview.name} from {len(made.frames)} "
        f"{'picture' if len(made.frames) == 1 else 'pictures'} "
        f"in {time.perf_counter() - started:.1f} s"
    )
    name = made.avatar.head.name
    if name not in installed_heads():
        print(f"to load it by name later, keep its head: avatar3d heads add {head} --name {name}")
    return made


def run_demo(folder: Path, config: CreateConfig, *, size_px: int, head: str) -> None:
    """The whole path on one portrait, into a folder."""
    from render.commands import showcase, write_video

    started = time.perf_counter()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"cannot make the folder {folder} ({error.strerror}); choose another with --output"
        ) from error
    avatar, video = folder / "astronaut.avatar", folder / "astronaut.mp4"
    check_writable(avatar)
    check_writable(video)
    with temporary_folder() as scratch:
        made = make_avatar([write_portrait(scratch)], avatar, config, head=head)
    motion, cameras = showcase(made.avatar, size_px, 25.0)
    write_video(made.avatar, motion, cameras, video, time.perf_counter())
    print(
        f"all in {time.perf_counter() - started:.1f} s; look at {avatar.with_suffix('')}.preview.jpg"
    )
    print(f"render more: avatar3d render {avatar} -o smile.png --expression smile --yaw 20")
    print("your own:    avatar3d create PHOTO... -o me.avatar")


def write_portrait(folder: Path) -> Path:
    """The portrait as a file, which is what the path begins with."""
    data = require("skimage.data", extra="recon")
    path = folder / PORTRAIT
    require("PIL.Image", extra="recon").fromarray(data.astronaut()).save(path)
    return path
