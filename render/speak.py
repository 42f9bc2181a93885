"""The command `speak`: a voice moves an avatar, into a video or live."""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import tyro

from avatar3d.audio.driver import VoiceDriver, voice_codes
from avatar3d.audio.microphone import Microphone
from avatar3d.audio.model import EngineName, load_voice
from avatar3d.audio.sound import SoundInfo, read_sound, read_sound_info
from avatar3d.audio.style import MAX_STRENGTH, EmotionName, Style
from avatar3d.audio.synthesis import speak_to_file
from avatar3d.avatar import Avatar
from avatar3d.camera import Camera
from avatar3d.codes import ExpressionCode
from avatar3d.errors import UserError
from avatar3d.files import temporary_folder
from avatar3d.motion import Motion
from render.commands import check_output, check_rate, check_size
from render.window import Window

MOTION_SUFFIXES = (".npz", ".csv")
_VIDEO_SOUND_HZ = 48_000  # what every player takes
_AAC_RATES = (16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
_WINDOW = "avatar3d speak (q closes)"


def speak(
    avatar: tyro.conf.Positional[Path],
    /,
    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None,
    audio: Path | None = None,
    text: str | None = None,
    language: str = "en-us",
    live: bool = False,
    voice: str = "clean",
    strength: float = 1.0,
    jaw: float = 1.0,
    lips: float = 1.0,
    emotion: EmotionName = "neutral",
    emotion_amount: float = 0.7,
    still: bool = False,
    seed: int = 0,
    size: int = 512,
    fps: float = 25.0,
    head: str | None = None,
    engine: EngineName = "auto",
) -> None:
    """Make an avatar speak: a recording, a text (by espeak-ng) or the microphone moves it.

    Args:
        avatar: The .avatar file.
        output: Video (.mp4), or the motion alone (.npz with the sound, .csv for Live Link Face).
        audio: Sound file, or a video with sound; any rate, channels and length.
        text: Words that espeak-ng speaks, where it is installed.
        language: Voice of espeak-ng for --text: en-us, de, fr-fr+f3, ...
        live: The microphone moves the avatar in a window.
        voice: Weights: clean, research, or a file that `avatar3d voice` made of a person's clip.
        strength: Of the mouth's movement; 1 is usual, 0 a mouth at rest, at most 3.
        jaw: Of the jaw, on top of strength.
        lips: Of the lips, on top of strength.
        emotion: What the face shows while it speaks.
        emotion_amount: How much of it, 0 to 1.
        still: Only the mouth moves: no blinks, no gaze, no brows, no sway.
        seed: Chooses another performance of eyes, brows and head.
        size: Side of the picture in pixels.
        fps: Frames a second.
        head: Head model (name, or path of its file) if not the one that the avatar names.
        engine: What computes the network: onnx (half the time), torch, or auto.
    """
    from avatar3d.animation import portrait_camera
    from avatar3d.asset import read_avatar
    from avatar3d.heads import load_head

    started = time.perf_counter()
    _check_sources(output, audio, text, live)
    check_size(size)
    check_rate(fps)
    style = _style(strength, jaw, lips, emotion, emotion_amount)
    model = load_voice(voice)

    def driver() -> VoiceDriver:
        chosen = None if still else seed
        return VoiceDriver(model, style, frames_per_second=fps, seed=chosen, engine=engine)

    with temporary_folder() as folder, _warnings_on_stderr():
        if text is not None:
            audio = folder / "speech.wav"
            speak_to_file(text, audio, language)
        info = None if audio is None else read_sound_info(audio)
        loaded = read_avatar(avatar, None if head is None else load_head(head))
        if live:
            perform_live(loaded, driver(), portrait_camera(loaded, size))
            return
        assert audio is not None
        assert info is not None
        assert output is not None
        if output.suffix.lower() in MOTION_SUFFIXES:
            motion = speech_motion(audio, driver(), fps)
            motion.save(output)
            frames = len(motion)
        else:
            frames = write_speech(loaded, audio, info, driver(), fps, size, output)
    seconds = time.perf_counter() - started
    print(f"wrote {output} ({frames} frames, {frames / fps:.1f} s) in {seconds:.1f} s")


def speech_motion(audio: Path, driver: VoiceDriver, fps: float) -> Motion:
    """The codes of a sound file, with its sound at 16 kHz."""
    heard: list[np.ndarray] = []

    def listening() -> Iterator[np.ndarray]:
        for block in read_sound(audio):
            heard.append(block)
            yield block[:, 0]

    codes = [*voice_codes(driver, listening())]
    sound = torch.from_numpy(np.concatenate(heard))
    return Motion(ExpressionCode.stack(codes), fps, audio=sound, audio_rate=16_000)


def write_speech(
    avatar: Avatar,
    audio: Path,
    info: SoundInfo,
    driver: VoiceDriver,
    fps: float,
    size_px: int,
    output: Path,
) -> int:
    """Draw a sound file's codes as they come, so that memory does not grow with its length."""
    from avatar3d.animation import portrait_camera
    from avatar3d.progress import progress
    from render.ahead import ahead
    from render.frames import drawn, posed
    from render.rasterize import warm_up
    from render.video import AudioBlocks, VideoWriter

    warm_up()
    channels = min(info.channels, 2)
    rate = info.rate_hz if info.rate_hz in _AAC_RATES else _VIDEO_SOUND_HZ
    sound = AudioBlocks(_quietly(audio, rate, channels), rate, channels)
    codes = voice_codes(driver, (block[:, 0] for block in read_sound(audio)))
    with (
        progress("speak", info.duration_s * fps or math.inf) as step,
        VideoWriter(output, fps, sound) as video,
        ahead(posed(avatar, codes)) as gaussians,
        ahead(drawn(gaussians, portrait_camera(avatar, size_px))) as pictures,
    ):
        for picture in pictures:
            video.write(picture)
            step()
    return video.frame_count


def perform_live(
    avatar: Avatar,
    driver: VoiceDriver,
    camera: Camera,
    microphone: Iterable[np.ndarray] | None = None,
    show: Callable[[np.ndarray], bool] | None = None,
) -> None:
    """The newest code is drawn, whatever was missed: late pictures are worse than fewer."""
    from render.frames import frames
    from render.rasterize import warm_up

    warm_up()
    next(frames(avatar, [ExpressionCode.neutral()], camera))  # compiles what is left
    with contextlib.ExitStack() as stack:
        show = show or stack.enter_context(
            Window(_WINDOW, "write a video with --audio and -o instead")
        )
        heard = stack.enter_context(Microphone()) if microphone is None else microphone
        for samples in heard:
            codes = driver.push(samples)
            if len(codes.coefficients) and not show(
                next(frames(avatar, [codes.at(len(codes.coefficients) - 1)], camera))
            ):
                return


def _quietly(audio: Path, rate_hz: int, channels: int) -> Iterator[np.ndarray]:
    """The sound a second time, for the video; its warnings were said the first time."""
    logger = logging.getLogger("avatar3d.audio.sound")
    before = logger.disabled
    logger.disabled = True
    try:
        yield from read_sound(audio, rate_hz=rate_hz, channels=channels)
    finally:
        logger.disabled = before


def _check_sources(output: Path | None, audio: Path | None, text: str | None, live: bool) -> None:
    if sum((audio is not None, text is not None, live)) != 1:
        raise UserError(
            "speak needs one voice: --audio FILE, --text WORDS or --live (the microphone)"
        )
    if live and output is not None:
        raise UserError("--live shows a window and writes no file; leave -o out, or give --audio")
    if not live:
        if output is None:
            raise UserError("speak needs the name of what it writes: -o out.mp4")
        check_output(output, (".mp4", *MOTION_SUFFIXES))


def _style(
    strength: float, jaw: float, lips: float, emotion: EmotionName, emotion_amount: float
) -> Style:
    for name, value in (("strength", strength), ("jaw", jaw), ("lips", lips)):
        if not 0 <= value <= MAX_STRENGTH:
            raise UserError(f"--{name} must be 0 to {MAX_STRENGTH:g}, got {value:g}")
    if not 0 <= emotion_amount <= 1:
        raise UserError(f"--emotion-amount must be 0 to 1, got {emotion_amount:g}")
    return Style(strength, jaw, lips, emotion, emotion_amount)


@contextlib.contextmanager
def _warnings_on_stderr() -> Iterator[None]:
    """What is odd about the sound is said on stderr, a line each."""
    logger, handler = logging.getLogger("avatar3d.audio"), logging.StreamHandler()
    handler.setFormatter(logging.Formatter("warning: %(message)s"))
    logger.addHandler(handler)
    before, logger.propagate = logger.propagate, False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = before
