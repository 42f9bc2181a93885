"""Few-shot episodes: a person, some support frames, and other frames of them to be judged on.

An episode keeps what does not depend on the prior: the start that the support frames give, and the
pictures and codes of the query frames. Many are made once, stored, and read in any order.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from avatar3d.avatar import Attributes
from avatar3d.binding import Binding
from avatar3d.camera import Camera
from avatar3d.codes import ExpressionCode
from avatar3d.errors import UserError
from avatar3d.files import atomic_output
from avatar3d.heads import HeadModel
from avatar3d.template import Template
from recon.benchmark.clip import EVAL_PX, PreparedClip
from recon.benchmark.ours import observe
from recon.fit.fitter import look_at, most_frontal
from recon.fit.observation import Observation
from recon.fit.start import Confidence, Start, start_attributes
from recon.prior.shards import SHARD_ENDING, member_facts, members, read_member
from recon.track.frames import OWN, track_frames
from recon.track.support import track_support
from recon.training.device import moved

FORMAT = 5  # raise it when a start is made otherwise: a prior is taught by stored ones


@dataclass(frozen=True)
class View:
    """A frame of an episode: what it shows, and the code that the tracker read."""

    colors: Tensor  # [S, S, 3] uint8, the person's, free of background
    matte: Tensor  # [S, S] uint8
    face: Tensor  # [S, S] bool: hull of the landmarks

    def observation(self, valid: Tensor) -> Observation:
        return Observation(
            self.colors.numpy().astype(np.float32) / 255,
            self.matte.numpy().astype(np.float32) / 255,
            valid.numpy(),
        )


@dataclass(frozen=True)
class Episode:
    """One person as few frames start them, and how they look in others."""

    person: str
    head: str  # name of the model it is made on
    start: Start
    identity: Tensor  # [I]
    camera: Camera
    valid: Tensor  # [S, S] bool: inside the camera's picture
    support: tuple[View, ...]
    support_codes: ExpressionCode  # [T, ...]
    queries: tuple[View, ...]
    query_codes: ExpressionCode  # [Q, ...]

    def on(self, device: torch.device) -> Episode:
        """With all that renders depend on there; pictures stay in memory."""
        return replace(
            self,
            start=moved(self.start, device),
            camera=moved(self.camera, device),
            support_codes=moved(self.support_codes, device),
            query_codes=moved(self.query_codes, device),
        )


def make_episode(
    clip: PreparedClip,
    person: str,
    support: Sequence[int],
    queries: Sequence[int],
    head: HeadModel,
    template: Template,
    light_ridge: float | None,
) -> Episode:
    """Track the support frames, start an avatar from them, and read the queries' codes."""
    frames = [clip.frame(index) for index in support]
    landmarks = np.stack([frame.landmarks for frame in frames])
    tracking = track_support(landmarks, len(frames[0].image), head)
    observations = [observe(frame) for frame in frames]
    binding = Binding(template, tracking.identity)
    with torch.no_grad():
        sightings = look_at(observations, template, binding, tracking)
        start = start_attributes(template, sightings, most_frontal(tracking.codes), light_ridge)
    asked = np.stack([clip.landmarks[index] for index in queries])
    return Episode(
        person=person,
        head=head.name,
        start=start,
        identity=tracking.identity,
        camera=tracking.camera.resized(EVAL_PX, EVAL_PX),
        valid=torch.from_numpy(frames[0].inside()),
        support=tuple(_view(clip, index) for index in support),
        support_codes=tracking.codes,
        queries=tuple(_view(clip, index) for index in queries),
        query_codes=track_frames(tracking, asked, settings=OWN),
    )


def _view(clip: PreparedClip, index: int) -> View:
    from recon.capture.opencv import cv2

    frame = clip.frame(index)
    seen = observe(frame)
    hull = cv2.convexHull(frame.landmarks_px()[:, :2].astype(np.float32)).round().astype(np.int32)
    face = np.zeros(seen.matte.shape, np.uint8)
    cv2.fillConvexPoly(face, hull, (1,))
    bytes_of = lambda values: torch.from_numpy((values * 255).round().astype(np.uint8))  # noqa: E731
    return View(bytes_of(seen.colors), bytes_of(seen.matte), torch.from_numpy(face > 0))


def save_episode(episode: Episode, path: Path) -> None:
    """One safetensors file; it appears whole or not at all."""
    start = episode.start
    tensors: dict[str, Tensor] = {
        **_named("attributes", start.attributes.__dict__),
        **_named("confidence", start.confidence._asdict()),
        "footprint_m": torch.from_numpy(start.footprint_m),
        "normals": start.normals,
        "facing": start.facing,
        "identity": episode.identity,
        "viewmat": episode.camera.viewmat,
        "K": episode.camera.K,
        "valid": episode.valid,
        **_named("support_codes", episode.support_codes._asdict()),
        **_named("query_codes", episode.query_codes._asdict()),
    }
    if start.light is not None:
        tensors["light"] = start.light
    for kind, views in (("support", episode.support), ("queries", episode.queries)):
        for field in View.__dataclass_fields__:
            tensors[f"{kind}.{field}"] = torch.stack([getattr(view, field) for view in views])
    facts = {"format": str(FORMAT), "person": episode.person, "head": episode.head}
    with atomic_output(path) as beside:
        save_file({name: value.contiguous() for name, value in tensors.items()}, str(beside), facts)


def load_episode(path: Path) -> Episode:
    """Read what `save_episode` wrote, be it a file or within a shard."""
    facts = episode_facts(path)
    if path.parent.is_file():
        _, read = read_member(path)
    else:
        with safe_open(str(path), "pt") as file:
            read = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    size = read["valid"].shape[0]

    def group(name: str) -> dict[str, Tensor]:
        return {key[len(name) + 1 :]: read[key] for key in read if key.startswith(name + ".")}

    def views(kind: str) -> tuple[View, ...]:
        columns = group(kind)
        return tuple(
            View(**{name: values[index] for name, values in columns.items()})
            for index in range(len(columns["matte"]))
        )

    return Episode(
        person=facts["person"],
        head=facts["head"],
        start=Start(
            Attributes(**group("attributes")),
            Confidence(**group("confidence")),
            read["footprint_m"].numpy(),
            read.get("light"),
            normals=read["normals"],
            facing=read["facing"],
        ),
        identity=read["identity"],
        camera=Camera(read["viewmat"], read["K"], size, size),
        valid=read["valid"],
        support=views("support"),
        support_codes=ExpressionCode(**group("support_codes")),
        queries=views("queries"),
        query_codes=ExpressionCode(**group("query_codes")),
    )


def episode_facts(path: Path) -> dict[str, str]:
    """Its person and its head, without the episode; UserError where it is of another format."""
    if path.parent.is_file():
        facts = member_facts(path)
    else:
        with safe_open(str(path), "pt") as file:
            facts = file.metadata() or {}
    if facts.get("format") != str(FORMAT):
        stale = path.parent if path.parent.is_file() else path
        raise UserError(
            f"{path} must be an episode of format {FORMAT}, got {json.dumps(facts)}; remove "
            f"{stale.name} and make the episodes again"
        )
    return facts


def require_heads(files: Sequence[Path], names: Sequence[str]) -> None:
    """UserError where an episode is made on a head that is none of these: its anchors lie elsewhere."""
    for file in files:
        head = episode_facts(file)["head"]
        if head not in names:
            raise UserError(
                f"the episode {file.name} is made on the head {head!r}, and training knows "
                f"{', '.join(names)}; name its head with --head or leave it out"
            )


def _named(prefix: str, values: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}.{name}": value for name, value in values.items()}


def person_of(file: Path) -> str:
    """Whom an episode's file shows; it begins with the name, up to the first dash."""
    return file.name.split("-")[0]


def episode_files(
    folder: Path, hold_out: tuple[str, ...] = (), only: tuple[str, ...] = ()
) -> list[Path]:
    """The episodes in a folder or its shards, sorted by name; without the people in `hold_out`, and
    only of those whose names begin with one of `only`, where any are given."""
    files = []
    for file in folder.glob("*.safetensors"):
        files += members(file) if file.name.endswith(SHARD_ENDING) else [file]
    files.sort(key=lambda file: file.name)
    if not files:
        raise UserError(
            f"{folder} must hold episodes, but has none; "
            f"make them with `python -m recon.prior.make_episodes`"
        )
    return [
        file
        for file in files
        if person_of(file) not in hold_out and (not only or person_of(file).startswith(only))
    ]


def tinted(episode: Episode, gain: Tensor) -> Episode:
    """The same person under a camera whose channels are brighter by `gain` [3]."""

    def of(views: tuple[View, ...]) -> tuple[View, ...]:
        return tuple(
            replace(view, colors=(view.colors * gain).round().clamp(0, 255).to(torch.uint8))
            for view in views
        )

    start = episode.start
    colors = start.attributes.colors
    attributes = replace(start.attributes, colors=colors * gain.to(colors.device))
    return replace(
        episode,
        start=start._replace(attributes=attributes),
        support=of(episode.support),
        queries=of(episode.queries),
    )


def coarser(episode: Episode, count: int) -> Episode:
    """The episode on the template's first `count` anchors, as `Avatar.level` makes them."""
    start, had = episode.start, len(episode.start.normals)
    if count >= had:
        return episode
    growth = math.sqrt(had / count)
    attributes = start.attributes.prefix(count)
    start = Start(
        replace(attributes, log_scales=attributes.log_scales + math.log(growth)),
        Confidence(*(value[:count] for value in start.confidence)),
        start.footprint_m[:count] * np.float32(growth),
        start.light,
        normals=start.normals[:count],
        facing=start.facing[:count],
    )
    return replace(episode, start=start)
