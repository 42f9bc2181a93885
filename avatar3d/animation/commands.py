"""The command `motion`: look at motions and edit them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import tyro

from avatar3d.errors import UserError

Output = Annotated[Path | None, tyro.conf.arg(aliases=["-o"])]


def motion(
    action: tyro.conf.Positional[
        Literal["plot", "cut", "join", "blend", "retime", "mirror", "amplify", "curve", "transfer"]
    ],
    files: tyro.conf.Positional[tuple[Path, ...]],
    /,
    output: Output = None,
    start: float = 0.0,
    stop: float | None = None,
    blend: float = 0.0,
    share: float = 0.5,
    speed: float = 1.0,
    factor: float = 1.0,
    pose_factor: float = 1.0,
    names: tuple[str, ...] = (),
    curve: tuple[tuple[float, float], ...] = (),
    how: Literal["add", "set", "scale", "value"] = "add",
    neutral: Literal["keep", "relative"] = "keep",
    reach: Literal["keep", "driver"] = "keep",
    pose: Literal["mean", "first", "absolute", "still"] = "mean",
) -> None:
    """Look at motions and edit them: plot, cut, join, blend, retime, mirror, amplify, curve, transfer.

    Args:
        action: plot draws coefficients over time (.svg); the others write a motion (.npz or .csv).
            transfer makes it another person's, see --neutral, --reach and --pose.
        files: The motion, .npz or Live Link Face .csv; two for blend, any number for join.
        output: What to write.
        start: cut: from so many seconds on.
        stop: cut: to so many seconds; the end if not given.
        blend: join: seconds over which each fades into the next.
        share: blend: 0 is the first motion, 1 the second.
        speed: retime: 2 is twice as fast.
        factor: amplify: what coefficients are multiplied by.
        pose_factor: amplify: what turns and moves of the head are multiplied by.
        names: Only these coefficients; a name without its side means both (mouthSmile).
        curve: curve: points such as `0 0 1.5 0.8 3 0`, seconds and amount (--how value: old and new
            value).
        how: curve: add the amount over time, set it, scale by it, or map each old value.
        neutral: transfer: relative takes off what the driver always shows.
        reach: transfer: driver scales what the driver does weakly.
        pose: transfer: turns and moves relative to the mean or the first frame, as they are, or none.
    """
    from avatar3d.animation import editing
    from avatar3d.animation.plot import plot_svg
    from avatar3d.animation.retarget import Transfer, transfer
    from avatar3d.files import atomic_output, check_writable
    from avatar3d.motion import Motion

    wanted = {"blend": (2, 2), "join": (1, 10_000)}.get(action, (1, 1))
    if not wanted[0] <= len(files) <= wanted[1]:
        needs = {"blend": "two motions", "join": "at least one motion"}.get(action, "one motion")
        raise UserError(f"motion {action} takes {needs}, got {len(files)}")
    suffixes = (".svg",) if action == "plot" else (".npz", ".csv")
    if output is None or output.suffix.lower() not in suffixes:
        raise UserError(
            f"motion {action} writes {' or '.join(suffixes)}; name the file with -o, "
            f"got {output if output is not None else 'none'}"
        )
    check_writable(output)
    loaded = [Motion.load(file) for file in files]
    first, chosen = loaded[0], list(names) or None
    if action == "plot":
        with atomic_output(output) as temporary:
            temporary.write_text(plot_svg(first, names), encoding="utf-8")
        print(f"wrote {output}")
        return
    if action == "cut":
        made = editing.cut(first, start, stop)
    elif action == "join":
        made = editing.join(loaded, blend)
    elif action == "blend":
        made = editing.blend(first, loaded[1], share, chosen)
    elif action == "retime":
        made = editing.retime(first, speed)
    elif action == "mirror":
        made = editing.mirror(first)
    elif action == "amplify":
        made = editing.amplify(first, factor, chosen, pose_factor)
    elif action == "transfer":
        made = transfer(first, Transfer(neutral, reach, pose))
    else:
        if not curve or chosen is None:
            raise UserError("motion curve needs --curve with points and --names with coefficients")
        made = first
        if how == "value":
            made = editing.by_value(first, chosen, curve)
        else:
            for name in chosen:
                made = editing.over_time(made, name, curve, how)
    made.save(output)
    lost = first.audio is not None and made.audio is None
    note = "; the sound was left out" if lost else ""
    print(f"wrote {output} ({len(made)} frames, {made.duration_s:.1f} s{note})")
