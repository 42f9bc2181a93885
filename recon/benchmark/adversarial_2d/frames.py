"""Frames of many people's clips, small and cut out, as the meta-learning reads them.

    python -m recon.benchmark.adversarial_2d.frames CLIPS -o FRAMES --layout manifest

One safetensors file a clip, PERSON-DIGEST-0.safetensors: the names of the prior's episodes, so that
`episode_files`, `deal` and `fold_for` hold the same people out. Single frames are read from it, so
a training holds none of them in memory. What is there already is left as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import torch
import tyro
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from avatar3d.cli import run_script
from avatar3d.errors import UserError
from avatar3d.files import atomic_output
from avatar3d.progress import progress
from recon.benchmark.adversarial_2d.drawing import landmark_picture
from recon.benchmark.cache import cached_clip
from recon.benchmark.clip import PreparedClip, PreparedFrame
from recon.benchmark.prepare import hash_clip
from recon.benchmark.protocol import Protocol
from recon.prior.datasets import PersonClip, read_layout

FORMAT = 1


class Shown(NamedTuple):
    """Frames as the networks take them: pictures and landmark drawings, 0..1."""

    pictures: Float[Tensor, "N 3 S S"]
    drawings: Float[Tensor, "N 3 S S"]

    def to(self, device: torch.device) -> Shown:
        return Shown(self.pictures.to(device), self.drawings.to(device))


def shown(frame: PreparedFrame, size_px: int) -> Shown:
    """A frame of the benchmark: the person on white."""
    return Shown(as_planes(frame.on_white(size_px))[None], drawn(landmark_shares(frame), size_px))


def landmark_shares(frame: PreparedFrame) -> Float[np.ndarray, "478 2"]:
    """Landmarks as shares of the crop's side."""
    return frame.landmarks[:, :2] / len(frame.image)


def drawn(landmarks: Float[np.ndarray, "L 2"], size_px: int) -> Float[Tensor, "1 3 S S"]:
    """The landmark drawing of one frame."""
    return as_planes(landmark_picture(landmarks, size_px).astype(np.float32) / 255)[None]


def as_planes(picture: Float[np.ndarray, "S S 3"]) -> Float[Tensor, "3 S S"]:
    """Channels first, as convolutions want them."""
    return torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1)))


def together(parts: Sequence[Shown]) -> Shown:
    """One batch of several."""
    return Shown(torch.cat([p.pictures for p in parts]), torch.cat([p.drawings for p in parts]))


def save_frames(clip: PreparedClip, size_px: int, path: Path) -> None:
    """All frames of a prepared clip that have pixels."""
    frames = [clip.frame(index) for index in sorted(clip.images)]
    pictures = [np.round(frame.on_white(size_px) * 255).astype(np.uint8) for frame in frames]
    tensors = {
        "pictures": torch.from_numpy(np.stack(pictures)),
        "landmarks": torch.from_numpy(np.stack([landmark_shares(frame) for frame in frames])),
    }
    with atomic_output(path) as beside:
        save_file(tensors, str(beside), {"format": str(FORMAT)})


class FrameFile:
    """The frames of one clip on disk."""

    def __init__(self, path: Path) -> None:
        try:
            self._file = safe_open(str(path), "pt")
            facts = self._file.metadata() or {}
            pictures = self._file.get_slice("pictures").get_shape()
            landmarks = self._file.get_slice("landmarks").get_shape()
        except (OSError, SafetensorError) as error:
            raise UserError(
                f"{path} must hold the frames of a clip, but cannot be read so ({error}); "
                f"make the frames again"
            ) from error
        if facts.get("format") != str(FORMAT) or len(pictures) != 4 or len(landmarks) != 3:
            raise UserError(
                f"{path} must be a clip's frames of format {FORMAT}, got {facts}; "
                f"make the frames again"
            )
        self.count, self.size_px = pictures[0], pictures[1]

    def read(self, indices: np.ndarray) -> Shown:
        """Some frames, and their landmarks drawn."""
        pictures, landmarks = (self._file.get_slice(name) for name in ("pictures", "landmarks"))
        rows = [int(index) for index in indices]
        planes = torch.stack([pictures[row] for row in rows]).permute(0, 3, 1, 2)
        points = [np.asarray(landmarks[row].numpy()) for row in rows]
        return Shown(
            planes.float() / 255, torch.cat([drawn(point, self.size_px) for point in points])
        )


def make_frames(clips: list[PersonClip], folder: Path, size_px: int) -> list[str]:
    """Fill `folder`; what could not be used is returned, a sentence each."""
    folder.mkdir(parents=True, exist_ok=True)
    refused = []
    with progress("frames", len(clips)) as step:
        for clip in clips:
            try:
                path = folder / f"{clip.person}-{hash_clip(clip.path)[:12]}-0.safetensors"
                if not path.exists():
                    save_frames(cached_clip(clip.path, Protocol()), size_px, path)
            except UserError as error:
                refused.append(f"{clip.path}: {error}")
            step()
    return refused


def main(
    clips: tyro.conf.Positional[Path],
    /,
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])],
    layout: str = "people",
    size: int = 128,
) -> None:
    """Make frames for the meta-learning.

    Args:
        clips: Folder with the clips.
        output: Folder for the frames.
        layout: How the folder is laid out: people, manifest, voxceleb2, nersemble, vfhq or
            insta.
        size: Side of the pictures, px: that of the networks.
    """
    for sentence in make_frames(read_layout(layout, clips), output, size):
        print(f"left out {sentence}")


if __name__ == "__main__":
    run_script(main)
