"""Commands that need no pixels: `inspect` and `heads`."""

from __future__ import annotations

import shutil
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Literal

import tyro

from avatar3d.errors import UserError


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


def heads(
    action: tyro.conf.Positional[Literal["list", "add"]],
    file: tyro.conf.Positional[Path | None] = None,
    /,
    name: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None,
) -> None:
    """List the head models on this machine, or add one from a file.

    Args:
        action: list shows names and files; add copies FILE to the user's heads.
        file: The head model to add (.npz of ICT-FaceKit, or a .safetensors of avatar3d).
        name: What to call it; its own name if none is given.
    """
    if action == "list":
        _list_heads()
    elif file is None:
        raise UserError("heads add needs the FILE of the head model; see: avatar3d heads --help")
    else:
        _add_head(file, name)


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


def _list_heads() -> None:
    from avatar3d.heads import heads_folder, installed_heads

    found = {name: path for name, path in installed_heads().items() if path.is_file()}
    width = max(map(len, found), default=0)
    for name, path in found.items():
        print(f"{name:<{width}}  {path.stat().st_size / 1e6:5.1f} MB  {path}")
    print(f"add one with: avatar3d heads add FILE --name NAME (copied to {heads_folder()})")


def _add_head(file: Path, name: str | None) -> None:
    from avatar3d.files import atomic_output, check_readable
    from avatar3d.heads import heads_folder, installed_heads, load_head

    check_readable(file)
    if file.suffix not in (".npz", ".safetensors"):
        raise UserError(
            f"{file} is not a head model: expected an .npz or .safetensors file, got {file.suffix!r}"
        )
    head = load_head(file)
    name = head.name if name is None else name
    if not all(letter.isalnum() or letter in "-_" for letter in name) or not name:
        raise UserError(f"a head's name has letters, digits, - and _ only, got {name!r}")
    if name in installed_heads():
        raise UserError(
            f"there is a head named {name!r} already ({installed_heads()[name]}); choose another "
            "name, or remove that file first"
        )
    folder = heads_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"cannot make the folder {folder} ({error.strerror}); set AVATAR3D_HEADS to another one"
        ) from error
    with atomic_output(folder / f"{name}{file.suffix}") as temporary:
        shutil.copyfile(file, temporary)
    print(f"added the head {name!r} ({len(head.neutral):,} vertices); use it with: --head {name}")
