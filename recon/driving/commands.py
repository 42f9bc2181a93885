"""The commands `reenact` and `track`: a camera, clips or motions drive an avatar, or leave codes."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
import tyro

from avatar3d.errors import UserError
from recon.console import stage_bars, warnings_said

if TYPE_CHECKING:
    from avatar3d.avatar import Avatar
    from recon.driving.sinks import Sink

Output = Annotated[Path | None, tyro.conf.arg(aliases=["-o"])]
Target = Literal["video", "window", "viewer", "virtual-camera", "csv", "osc", "stream"]


def reenact(
    avatar: tyro.conf.Positional[Path],
    /,
    driver: str,
    output: Output = None,
    to: Target = "video",
    size: int = 512,
    side_by_side: bool = False,
    face: int | None = None,
    neutral: Literal["keep", "relative"] = "keep",
    reach: Literal["keep", "driver"] = "keep",
    pose: Literal["mean", "first", "absolute", "still"] = "mean",
    own: bool = False,
    address: str | None = None,
    seconds: float | None = None,
    head: str | None = None,
) -> None:
    """Move an avatar as a person moves before a camera or in a clip, or as a motion file says.

    Args:
        avatar: The .avatar file.
        driver: camera (camera:1 is the second one), a clip, or a motion (.npz, Live Link Face .csv).
        output: The video (.mp4), or the motion of --to csv.
        to: video is written from the whole clip, the best there is. The others are live: window,
            viewer (the page of `avatar3d view`), virtual-camera, csv (a file of codes), osc (VMC, for
            VTuber programs and VRChat tools), stream (codes to another machine).
        size: Side of the picture in pixels.
        side_by_side: video: show the driver beside the avatar.
        face: Which face of the clip where there are several; 0 is the largest.
        neutral: relative takes off what the driver always shows (clips and motions).
        reach: driver scales what the driver does weakly (clips and motions).
        pose: Turns and moves relative to the driver's mean or first frame, as they are, or none.
        own: The driver is the avatar's own person: a clip is followed more closely, with the
            avatar's help, and a camera's user need not be found out first.
        address: osc, viewer, stream: HOST:PORT.
        seconds: live: stop after so long; else with Esc, q or Ctrl-C.
        head: Head model (name, or path of its file) if not the one that the avatar names.
    """
    from avatar3d.asset import read_avatar
    from avatar3d.heads import load_head
    from recon.driving.sources import is_camera
    from render.commands import check_output, check_size

    started = time.perf_counter()
    check_size(size)
    if to in ("video", "csv"):
        wanted = (".mp4",) if to == "video" else (".csv", ".npz")
        if output is None:
            raise UserError(f"--to {to} writes a file; name it with -o, ending in {wanted[0]}")
        check_output(output, wanted)
    elif output is not None:
        raise UserError(f"--to {to} writes no file; leave -o out, or choose --to video or csv")
    if side_by_side and to != "video":
        raise UserError(
            f"--side-by-side is for --to video, but --to {to} was asked for; leave it out"
        )
    if seconds is not None and to == "video":
        raise UserError(
            "--seconds is for live driving; a video is as long as its driver: leave it out"
        )
    if to == "video" and is_camera(driver):
        raise UserError(
            "a video is made from a clip; for a camera choose --to window, viewer, virtual-camera, "
            "csv, osc or stream"
        )
    loaded = read_avatar(avatar, None if head is None else load_head(head))
    from recon.reenact import Transfer

    modes = Transfer(neutral, reach, pose)
    if to == "video":
        assert output is not None
        _to_video(loaded, driver, output, size, side_by_side, face, own, modes, started)
    else:
        sink = _open_sink(to, loaded, output, size, address)
        _live(loaded, driver, sink, face, own, seconds, modes)


def track(
    clips: tyro.conf.Positional[tuple[Path, ...]],
    /,
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])],
    fps: float | None = None,
    face: int | None = None,
    at: tuple[float, float] | None = None,
    person: int | None = None,
    again: bool = False,
    head: str = "default",
) -> None:
    """Read the motion of the face in a clip, or in many: expressions and pose of every frame.

    Args:
        clips: Videos. With several, the output is a folder; what lies there already is skipped, so a
            batch that was stopped goes on where it was.
        output: Motion as .npz (everything) or .csv (Live Link Face: no sound, no translation); a
            folder for several clips. NAME.tracking.json beside it says what was found in every frame.
        fps: Frames a second of the motion; the clip's own if not given.
        face: Which face where there are several, by size; 0 is the largest.
        at: Which face, by its place in the first frame that shows it: shares of width and height.
        person: Which face, counted from left to right in the first frame that shows so many; from 0.
        again: Track clips again whose motion lies in the folder.
        head: Head model that is laid over the face: default, ict, or the path of its file.
    """
    from avatar3d.heads import load_head
    from recon.driving.batch import track_many, track_one
    from recon.track.people import Choice
    from render.commands import check_output, check_rate

    check_rate(fps)
    if sum(choice is not None for choice in (face, at, person)) > 1:
        raise UserError("--face, --at and --person each choose a face; give one of them")
    if not clips:
        raise UserError("track needs a clip; name one or more videos")
    choice = Choice(size=face, place=at, number=person)
    model = load_head(head)
    if len(clips) == 1 and output.suffix:
        check_output(output, (".npz", ".csv"))
        with stage_bars() as watch, warnings_said():
            said = track_one(clips[0], output, model, choice, fps, lambda *at: watch("track", *at))
        print(said)
        return
    failed = track_many(clips, output, model, choice, fps, again=again)
    if failed:
        raise UserError(
            f"{len(failed)} of {len(clips)} clips could not be tracked: {'; '.join(failed)}"
        )


def _to_video(
    avatar: Avatar,
    driver: str,
    output: Path,
    size_px: int,
    side_by_side: bool,
    face: int | None,
    own: bool,
    modes,
    started: float,
) -> None:
    from avatar3d.animation import portrait_camera
    from avatar3d.motion import Motion
    from recon.clip_motion import crops_at, track_clip
    from recon.reenact import transfer
    from recon.track.people import Choice
    from render.commands import write_video

    beside = None
    if Path(driver).suffix.lower() in (".npz", ".csv"):
        motion = transfer(Motion.load(driver), modes)
        if side_by_side:
            raise UserError("a motion has no pictures to show beside the avatar; give its clip")
    else:
        with stage_bars() as watch, warnings_said():
            clip = track_clip(
                driver, avatar.head, Choice(size=face), own=avatar if own else None,
                watch=lambda *at: watch("track", *at),
            )  # fmt: skip
        motion = transfer(clip.motion, modes)
        if side_by_side:
            times_s = (index / motion.frames_per_second for index in range(len(motion)))
            beside = _resized(crops_at(Path(driver), clip.crop, times_s), size_px)
    write_video(avatar, motion, portrait_camera(avatar, size_px), output, started, beside)


def _open_sink(
    to: Target, avatar: Avatar, output: Path | None, size_px: int, address: str | None
) -> Sink:
    from recon.driving import sinks

    if to == "window":
        return sinks.WindowSink(avatar, size_px)
    if to == "virtual-camera":
        return sinks.VirtualCamera(avatar, size_px)
    if to == "csv":
        assert output is not None
        return sinks.Recording(output, avatar.head.expression_names)
    host, port = sinks.parse_address(address, sinks.DEFAULT_PORTS[to])
    kinds = {"osc": sinks.Osc, "viewer": sinks.Viewer, "stream": sinks.Stream}
    return kinds[to](host, port)


def _live(
    avatar: Avatar,
    driver: str,
    sink: Sink,
    face: int | None,
    own: bool,
    seconds: float | None,
    modes,
) -> None:
    """Every frame to a code to the sink, until the clip ends or the user has had enough."""
    shown = 0
    started = time.perf_counter()
    try:
        for code, time_s in _live_codes(avatar, driver, face, own, modes):
            if not sink.send(code, time_s) or (seconds is not None and time_s >= seconds):
                break
            shown += 1
    except KeyboardInterrupt:
        pass  # that is how a live session ends
    finally:
        sink.close()
    taken = time.perf_counter() - started
    print(f"{shown} codes in {taken:.1f} s")


def _live_codes(avatar: Avatar, driver: str, face: int | None, own: bool, modes) -> Iterator[tuple]:
    from avatar3d.motion import Motion
    from recon.driving.sources import is_camera, open_source
    from recon.reenact import transfer
    from recon.track.live import LiveSettings, LiveTracker

    if Path(driver).suffix.lower() in (".npz", ".csv"):
        motion = transfer(Motion.load(driver), modes)
        begun = time.monotonic()
        for index in range(len(motion)):
            time_s = index / motion.frames_per_second
            time.sleep(max(0.0, begun + time_s - time.monotonic()))
            yield motion.codes.at(index), time_s
        return
    camera = is_camera(driver)
    settings = LiveSettings(resting=camera)
    if camera:
        print("look at the camera with your face at rest for two seconds")
    identity = avatar.identity if own else None
    with (
        open_source(driver, paced=True) as images,
        LiveTracker(avatar.head, settings, identity=identity, face_index=face) as tracker,
    ):
        status = ""
        for image, time_s in images:
            frame = tracker(image, time_s)
            if frame.status != status and frame.status in ("lost", "side"):
                told = {"lost": "no face is seen", "side": "the face is turned too far"}
                print(f"note: {told[frame.status]}")
            status = frame.status
            yield frame.code, time_s


def _resized(pictures: Iterable[np.ndarray], size_px: int) -> Iterator[np.ndarray]:
    from recon.capture.opencv import cv2

    for picture in pictures:
        yield cv2.resize(picture, (size_px, size_px), interpolation=cv2.INTER_AREA)
