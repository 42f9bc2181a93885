"""Prepared clips on disk, so that only the first run decodes and detects.

One .npz a clip (no pickle), named by a hash of the video's bytes, the protocol and the detector:
a changed clip or setting never meets an old file. Crops are kept as PNG, the matte as their alpha.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import zipfile
from pathlib import Path

import numpy as np

from avatar3d.files import atomic_output, cache_folder
from avatar3d.optional import require
from recon.benchmark import detect
from recon.benchmark.clip import PreparedClip
from recon.benchmark.prepare import hash_clip, prepare_clip
from recon.benchmark.protocol import Protocol
from recon.benchmark.report import make_folder

FORMAT = 3  # raise it when prepare.py or the layout below gives something else
PNG_LEVEL = 1  # speed before size


def cached_clip(path: Path, protocol: Protocol) -> PreparedClip:
    """`prepare_clip`, or what an earlier call of it left. A damaged file is made anew."""
    file = cache_folder() / "benchmark" / f"{path.stem}-{_key(path, protocol)}.npz"
    if file.exists():
        try:
            return load_clip(file)
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            pass
    clip = prepare_clip(path, protocol)
    save_clip(clip, file)
    return clip


def save_clip(clip: PreparedClip, file: Path) -> None:
    """Write a prepared clip, whole or not at all."""
    cv2 = require("cv2", extra="recon")
    assert clip.pinned is not None, "what a method may see is no whole clip"
    needed = sorted(clip.images)
    pngs = []
    for index in needed:
        rgba = np.dstack([clip.images[index], clip.mattes[index]])
        bgra = cv2.cvtColor(rgba, cv2.COLOR_RGBA2BGRA)
        pngs.append(cv2.imencode(".png", bgra, [cv2.IMWRITE_PNG_COMPRESSION, PNG_LEVEL])[1].ravel())
    facts = {
        "name": clip.name,
        "fps": clip.fps,
        "support": {str(shots): indices for shots, indices in clip.support.items()},
        "test": clip.test,
        "needed": needed,
    }
    make_folder(file.parent)
    with atomic_output(file) as beside:
        np.savez(
            beside,
            facts=np.array(json.dumps(facts)),
            landmarks=clip.landmarks,
            pinned=clip.pinned,
            ok=clip.ok,
            valid=clip.valid,
            pngs=np.concatenate(pngs),
            png_ends=np.cumsum([len(png) for png in pngs]),
        )


def load_clip(file: Path) -> PreparedClip:
    """Read what `save_clip` wrote; ValueError, KeyError or OSError on anything else."""
    cv2 = require("cv2", extra="recon")
    # Opened here: numpy leaves the file open when it is no archive.
    with file.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
        facts = json.loads(str(archive["facts"]))
        starts = np.r_[0, archive["png_ends"]]
        pngs, landmarks, pinned, ok, valid = (
            archive[key] for key in ("pngs", "landmarks", "pinned", "ok", "valid")
        )
    images, mattes = {}, {}
    for k, index in enumerate(facts["needed"]):
        bgra = cv2.imdecode(pngs[starts[k] : starts[k + 1]], cv2.IMREAD_UNCHANGED)
        if bgra is None or bgra.shape != (*valid.shape, 4):
            raise ValueError(f"frame {index} of {file} is damaged")
        rgba = cv2.cvtColor(bgra, cv2.COLOR_BGRA2RGBA)
        images[index], mattes[index] = rgba[..., :3].copy(), rgba[..., 3].copy()
    return PreparedClip(
        name=facts["name"],
        fps=facts["fps"],
        landmarks=landmarks,
        pinned=pinned,
        ok=ok,
        support={int(shots): tuple(indices) for shots, indices in facts["support"].items()},
        test=tuple(facts["test"]),
        images=images,
        mattes=mattes,
        valid=valid,
    )


def _key(path: Path, protocol: Protocol) -> str:
    settings = {
        "format": FORMAT,
        "content": hash_clip(path),
        "detector": detect.version(),
        **dataclasses.asdict(protocol),
    }
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]
