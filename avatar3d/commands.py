"""Commands that need no pixels: `inspect`."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import tyro


def inspect(
    avatar: tyro.conf.Positional[Path],
    /,
    head: str | None = None,
) -> None:
    """Say what an avatar holds: head, Gaussians, size, and where it came from.

    Args:
        avatar: The .avatar file.
        head: Head model (name, or path of its file) if not the one that the avatar names.
    """
    from rich.console import Console
    from rich.table import Table

    from avatar3d.asset import read_avatar
    from avatar3d.heads import load_head

    loaded = read_avatar(avatar, None if head is None else load_head(head))
    table = Table(title=avatar.name, show_header=False, title_justify="left")
    for name, value in _facts(loaded, avatar):
        table.add_row(name, value)
    Console().print(table)


def _facts(avatar, path: Path) -> list[tuple[str, str]]:
    from avatar3d.avatar import Attributes

    attributes, provenance = avatar.attributes, avatar.provenance
    memory = sum(
        value.numel() * 4
        for value in (
            *(getattr(attributes, f.name) for f in fields(Attributes)),
            *((avatar.basis.offsets, avatar.basis.colors) if avatar.basis else ()),
        )
    )
    low, high = attributes.offsets.amin(0), attributes.offsets.amax(0)
    scales = attributes.log_scales.exp() * 1e3
    facts = [
        ("file", f"{path.stat().st_size / 1e6:.2f} MB, {memory / 1e6:.1f} MB in memory"),
        ("head", f"{avatar.head.name}, {len(avatar.identity)} identity modes"),
        ("Gaussians", f"{avatar.count:,}"),
        ("expression basis", f"rank {len(avatar.basis.limits[0])}" if avatar.basis else "none"),
        ("light", "albedo under spherical harmonics" if avatar.light is not None else "baked"),
        (
            "offsets",
            ", ".join(f"{1e3 * a:.1f} to {1e3 * b:.1f}" for a, b in zip(low, high)) + " mm",
        ),
        ("scales", f"{scales.min():.2f} to {scales.max():.2f} mm"),
        ("opacity", f"{attributes.opacity_logits.sigmoid().mean():.2f} on average"),
    ]
    facts += [(key, str(provenance[key])) for key in _PLAIN if provenance.get(key)]
    inputs = provenance.get("inputs")
    for entry in inputs if isinstance(inputs, list) else []:
        if isinstance(entry, dict):
            facts.append(("input", f"{entry.get('name')}  sha256 {str(entry.get('sha256'))[:16]}"))
    frames = provenance.get("frames")
    if isinstance(frames, list):
        facts.append(("support frames", str(len(frames))))
    return facts


_PLAIN = ("tool", "created", "licence", "consent")
