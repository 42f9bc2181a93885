"""The command `voice`: a person's own way of speaking from a clip of them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import tyro

from recon.console import stage_bars, warnings_said


def voice(
    clip: tyro.conf.Positional[Path],
    /,
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])],
    start: Annotated[str, tyro.conf.arg(name="from")] = "clean",
) -> None:
    """Teach a voice model how the person in a clip moves the mouth, for `avatar3d speak --voice`.

    Args:
        clip: A video of the person speaking to the camera; 10 s or more, of which the first minute
            counts.
        output: The model (.safetensors).
        start: The model to start from: clean, research, or another that this command made.
    """
    from avatar3d.audio.model import load_voice
    from avatar3d.audio.sound import read_sound_info
    from avatar3d.heads import load_head
    from recon.audio.clips import speaking_clip
    from recon.audio.material import aligned, lesson
    from recon.audio.personal import LONGEST_S, personalise
    from render.commands import check_output

    started = time.perf_counter()
    check_output(output, (".safetensors",))
    model = load_voice(start)
    read_sound_info(clip)  # refuses what has no sound before it is tracked
    with stage_bars() as watch, warnings_said():
        watch("track", 0, 1)
        seen = speaking_clip(clip, load_head("default"), LONGEST_S)
        watch("track", 1, 1)
        moved, found = aligned(lesson(seen), model.network)
        personal = personalise(model, moved)
    personal.model.save(output)
    seconds = time.perf_counter() - started
    print(f"the sound is {1000 * found['offset_s']:+.0f} ms off the picture; that was corrected")
    if personal.trust is None:
        print(
            f"wrote {output} in {seconds:.1f} s: the clip taught nothing that helps on its own last "
            f"part (agreement {personal.before:.2f}), so it is {start!r} unchanged"
        )
    else:
        print(
            f"wrote {output} in {seconds:.1f} s: agreement with the clip's last part, which was held "
            f"back, {personal.before:.2f} -> {personal.after:.2f}"
        )
