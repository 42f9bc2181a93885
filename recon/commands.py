"""Commands that look at photos and clips: `create`, `demo`, `benchmark`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from avatar3d.config import FromPreset
from avatar3d.errors import UserError
from recon.benchmark.networks import WeightPaths
from recon.pipeline import CreateConfig

if TYPE_CHECKING:
    from recon.benchmark import Report
    from recon.benchmark.fewshot_report import FewshotReport
    from recon.benchmark.run import Keep

Preset = Literal["draft", "default", "best"]
Output = Annotated[Path, tyro.conf.arg(aliases=["-o"])]


def create(
    inputs: tyro.conf.Positional[tuple[Path, ...]],
    /,
    output: Output = Path("me.avatar"),
    preset: Preset = "default",
    head: str = "default",
    prior: str | None = None,
    face: int | None = None,
    frames: int | None = None,
    licence: str | None = None,
    consent: str | None = None,
    config: Annotated[CreateConfig, FromPreset("create")] = CreateConfig(),  # noqa: B008
) -> None:
    """Make an avatar from photos or a clip of one person, and a picture that previews it.

    Args:
        inputs: Photos, a folder of photos, or one video.
        output: The .avatar file; NAME.preview.jpg is written beside it.
        preset: draft is fast, best is slow; configs/create/*.yaml has their values.
        head: Head model: default, ict, another that was added, or the path of its file.
        prior: What other people taught: clean, research, linear, the path of a prior's file, or none.
        face: Which face where a picture shows several; 0 is the largest.
        frames: Look at no more than so many photos, or frames spread over the clip.
        licence: Text that the avatar carries: what others may do with it.
        consent: Text that the avatar carries: that the person agreed, and to what.
        config: Every setting of the preset.
    """
    from dataclasses import replace

    from recon.making import make_avatar

    if frames is not None:
        if frames < 1:
            raise UserError(f"--frames must be at least 1, got {frames}")
        config = replace(config, max_frames=frames)
    if prior is not None:
        config = replace(config, prior=prior)
    make_avatar(
        inputs, output, config, head=head, face_index=face, licence=licence, consent=consent
    )


def demo(
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("out/demo"),
    preset: Preset = "default",
    size: int = 512,
    head: str = "default",
    config: Annotated[CreateConfig, FromPreset("create")] = CreateConfig(),  # noqa: B008
) -> None:
    """Show the whole path on the portrait that scikit-image carries: avatar, preview, video.

    Args:
        output: The folder for what is made; it is created.
        preset: draft is fast, best is slow.
        size: Side of the video in pixels.
        head: Head model: default, ict, or the path of its file.
        config: Every setting of the preset.
    """
    from recon.making import run_demo
    from render.commands import check_size

    check_size(size)
    run_demo(output, config, size_px=size, head=head)


def benchmark(
    name: tyro.conf.Positional[
        Literal["fewshot", "raster", "frame", "heads", "audio", "viewer", "tracking", "codec"]
    ],
    /,
    data: Path | None = None,
    methods: tuple[str, ...] = ("ours", "copy", "warp2d"),
    shots: tuple[int, ...] = (1, 8, 32),
    clips: tuple[str, ...] = (),
    head: str = "default",
    prior: str | None = None,
    against: str | None = None,
    avatar: Path | None = None,
    full: bool = False,
    json: Path | None = None,
    markdown: Path | None = None,
    pictures: Path | None = None,
    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None,
    keep_frames: bool = False,
    cross: Literal["no", "keep", "relative"] = "no",
    weights: WeightPaths = WeightPaths(),  # noqa: B008
    quick: bool = False,
) -> None:
    """Measure avatars against other methods, and the speed of drawing and fitting them.

    Args:
        name: fewshot: a few frames of a clip's first half against its second half. raster: the
            rasterizer alone. frame: from an expression to a picture, and the steps of a fit. heads:
            how well a head model fits photos, and how its shapes move. audio: how well a voice drives a
            mouth, and how fast. viewer: weight and speed of the page, in Chromium.
            tracking: the live tracker's speed, steadiness and error. codec: bits a second of the code
            stream.
        data: fewshot: folder with the clips (or with a folder `clips`). heads: folder with the
            photos (or with a folder `photos`); without it only shapes are measured. audio: folder
            with the clips and their manifest.json; without it people are not measured. tracking,
            codec: folder with clips and recorded motion; without it only painted heads.
        methods: fewshot: ours (avatars), ours-ff (the prior's answer without refinement),
            ours-linear (a linear prior), ours-noprior (refinement without prior), ours_start (neither),
            ours-unaided (test frames tracked without the avatar's help),
            ours-pixels (ours, its codes refined on each test frame's pixels: another column),
            copy (the nearest support frame), warp2d (a 2D warp), adversarial2d (Zakharov et al. 2019,
            fine-tuned), adversarial2d-ff (the same without fine-tuning).
        shots: fewshot: numbers of support frames.
        clips: fewshot: names of the clips, or the first digits of their SHA-256, or all; those of
            configs/benchmark/fewshot.yaml if not given.
        head: fewshot: head model of `ours`: default, ict, or the path of its file. heads: the one
            to measure.
        prior: fewshot: clean, research, or the path of a prior's file; create's own if not given. It
            must not have been trained on the people of the clips. A folder of `python -m
            recon.prior.folds` gives each clip the weights that have not seen its person.
        against: heads: another head model whose shapes are compared.
        avatar: audio: the .avatar file that a voice drives, for the time from sound to picture.
            raster, frame, viewer: that to draw; without it one is made of the portrait
            that `demo` shows.
        full: raster: time the slow reference at every size.
        json: Write all figures here.
        markdown: Write them as tables here; plots of audio, tracking and codec lie beside it (.svg).
        pictures: Write what was drawn into this folder (fewshot: truth and render of every test
            frame).
        output: fewshot: a folder for report.json, report.md, curves.svg, contact sheets and every
            finished row. The same call again goes on where a run was stopped.
        keep_frames: fewshot: keep all frames in the folder, not only those of the contact sheets.
        cross: fewshot: drive each person by another clip too (keep: the driver's codes as they are,
            relative: less what the driver always shows).
        weights: fewshot: files of networks for LPIPS, FID, CSIM and adversarial2d; what is not there
            is named.
        quick: In less than a minute, to see that all works.
    """
    from avatar3d.files import check_readable, check_writable

    for file in (json, markdown):
        if file is not None:
            check_writable(file)
    if output is not None and name != "fewshot":
        raise UserError(f"--output is a folder of `benchmark fewshot`; {name} writes with --json")
    if avatar is not None:
        check_readable(avatar)
    if name == "fewshot":
        from recon.benchmark.run import Keep

        keep = Keep(pictures=pictures)
        if output is not None:
            frames = output / "frames" if pictures is None else pictures
            keep = Keep(output / "rows", frames, keep_frames or pictures is not None)
        report = _fewshot(data, methods, shots, clips, head, prior, keep, cross, weights, quick)
        if output is not None:
            report.write_folder(output)
            print(f"wrote {output / 'report.md'}")
    elif name == "heads":
        report = _heads(data, head, against, quick)
    elif name == "audio":
        report = _audio(data, avatar, quick)
    elif name == "tracking":
        report = _tracking(data, clips, head, quick)
    elif name == "codec":
        report = _codec(data, clips, quick)
    elif name == "viewer":
        report = _viewer(avatar, pictures, quick)
    else:
        report = _speed(name, avatar, pictures, full=full, quick=quick)
    if json is not None or markdown is not None or output is None:
        _leave(report, json, markdown)
    if pictures is not None:
        print(f"wrote the pictures into {pictures}")


def _tracking(data: Path | None, clips: tuple[str, ...], head: str, quick: bool) -> Report:
    from recon.benchmark.driving.inputs import clips_of, speech_of
    from recon.benchmark.driving.tracking import run_tracking

    found = clips_of(data, clips)[: 1 if quick else None]
    return run_tracking(found, speech_of(data), head, quick=quick)


def _codec(data: Path | None, clips: tuple[str, ...], quick: bool) -> Report:
    from recon.benchmark.driving.codec import run_codec
    from recon.benchmark.driving.inputs import motions_of

    return run_codec(motions_of(data, clips, quick), quick=quick)


def _viewer(avatar: Path | None, pictures: Path | None, quick: bool) -> Report:
    from importlib.metadata import entry_points

    from recon.benchmark.speed.scene import load_or_make_avatar

    # The viewer stands above this package, which finds it by its entry point.
    (found,) = entry_points(group="avatar3d.benchmarks", name="viewer")
    return found.load()(load_or_make_avatar(avatar, quick=quick), pictures=pictures, quick=quick)


def _fewshot(
    data: Path | None,
    methods: tuple[str, ...],
    shots: tuple[int, ...],
    clips: tuple[str, ...],
    head: str,
    prior: str | None,
    keep: Keep,
    cross: Literal["no", "keep", "relative"],
    weights: WeightPaths,
    quick: bool,
) -> FewshotReport:
    from avatar3d.config import load_preset
    from recon.benchmark import FewshotConfig, Method, find_clips, run_fewshot
    from recon.benchmark.method import method_class
    from recon.benchmark.networks import Networks
    from recon.reenact import Transfer

    if data is None:
        raise UserError("benchmark fewshot needs the folder with the clips; name it with --data")
    names = clips or load_preset(FewshotConfig, "benchmark", "fewshot").clips
    found = find_clips(data, () if names == ("all",) else names)
    networks = Networks.open(weights)

    modes = Transfer("relative" if cross == "relative" else "keep", pose="absolute")

    def baseline(called: str) -> Method:
        from recon.benchmark.adversarial_2d import baseline
        from recon.benchmark.adversarial_2d.content import ContentPaths

        tuned, plain = baseline.Adversarial2D, baseline.Adversarial2DFeedForward
        folds = None if prior is None else Path(prior) / tuned.name
        own = weights.adversarial2d or (folds if folds and folds.is_dir() else None)
        content = ContentPaths(weights.vgg19, weights.vggface)
        return (tuned if called == tuned.name else plain)(own, content=content)

    def method(called: str) -> Method:
        from recon.benchmark import ours

        if called in ("adversarial2d", "adversarial2d-ff"):
            return baseline(called)
        kind = method_class(called)
        if not issubclass(kind, ours.Ours):
            return kind()
        if kind is ours.OursLinear:
            folds = None if prior is None else Path(prior) / "linear"
            made = kind(head, prior=str(folds) if folds and folds.is_dir() else None)
        elif kind in (ours.OursStart, ours.OursWithoutPrior):
            made = kind(head)
        else:
            made = kind(head, prior=prior)
        made.modes = modes
        return made

    chosen = [method(called) for called in methods]
    return run_fewshot(
        found, chosen, shots, quick=quick, keep=keep, networks=networks, cross=cross != "no"
    )


def _audio(data: Path | None, avatar: Path | None, quick: bool) -> Report:
    from avatar3d.asset import read_avatar
    from recon.audio.benchmark import QUICK, AudioConfig, run_audio

    shown = None if avatar is None else read_avatar(avatar)
    return run_audio(data, QUICK if quick else AudioConfig(), shown)


def _heads(data: Path | None, head: str, against: str | None, quick: bool) -> Report:
    from avatar3d.heads import load_head
    from recon.benchmark.heads import find_photos, run_heads

    photos = [] if data is None else find_photos(data)
    other = None if against is None else load_head(against)
    return run_heads(load_head(head), photos[:4] if quick else photos, other)


def _speed(
    name: Literal["raster", "frame"],
    avatar: Path | None,
    pictures: Path | None,
    *,
    full: bool,
    quick: bool,
) -> Report:
    from recon.benchmark.speed import frame, raster
    from recon.benchmark.speed.scene import load_or_make_avatar

    drawn = load_or_make_avatar(avatar, quick=quick)
    if name == "frame":
        config = frame.QUICK if quick else frame.FrameConfig()
        return frame.run_frame(drawn, config, pictures=pictures)
    config = raster.QUICK if quick else raster.RasterConfig()
    return raster.run_raster(drawn, raster.full(config) if full else config, pictures=pictures)


def _leave(report: Report, json: Path | None, markdown: Path | None) -> None:
    """Write a report where it was asked for, or print its tables."""
    from avatar3d.files import atomic_output
    from recon.benchmark.svg import write_plots

    if json is not None:
        report.write_json(json)
        print(f"wrote {json}")
    if markdown is not None:
        plots = write_plots(report.plots(), markdown)
        shown = "".join(f"\n![{file.stem}]({file.name})\n" for file in plots)
        with atomic_output(markdown) as temporary:
            temporary.write_text(report.markdown() + shown, encoding="utf-8")
        print(f"wrote {markdown}" + (f" and {len(plots)} plots beside it" if plots else ""))
    if json is None and markdown is None:
        print(report.markdown())
