"""Photos to an avatar in a process of its own: `python -m viewer.job FOLDER PRESET HEAD`.

The server starts it, so that making an avatar neither blocks nor endangers what is served, and can
be stopped. FOLDER holds the photos; `made.avatar` and `made.a3dweb` are written beside them. Lines
of JSON on the standard output say how far it is: {"stage", "share"} or {"error"}.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from avatar3d.errors import UserError

AVATAR, ASSET = "made.avatar", "made.a3dweb"
# Where each stage begins and ends, by the share of time it takes with one photo.
_STAGES = {"head": (0.0, 0.05), "frames": (0.05, 0.2), "track": (0.2, 0.35), "fit": (0.35, 0.97)}
_NAMES = {"head": "head", "frames": "finding the face", "track": "shape", "fit": "colours"}


def main(folder: Path, preset: str, head: str) -> int:
    lines = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print goes to the log

    def say(**content: object) -> None:
        print(json.dumps(content), file=lines, flush=True)

    def watch(stage: str, done: int, total: int) -> None:
        begin, end = _STAGES.get(stage, (0.0, 0.0))
        say(stage=_NAMES.get(stage, stage), share=begin + (end - begin) * done / max(total, 1))

    try:
        from avatar3d.config import load_preset
        from recon.pipeline import CreateConfig, create
        from viewer.asset import write_web_asset

        photos = sorted(folder.glob("photo*"))
        made = create(photos, load_preset(CreateConfig, "create", preset), head, progress=watch)
        say(stage="writing", share=0.97)
        made.avatar.save(folder / AVATAR)
        write_web_asset(made.avatar, folder / ASSET)
        say(stage="done", share=1.0)
    except UserError as error:
        say(error=str(error).replace(f"{folder}{os.sep}", ""))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3]))
