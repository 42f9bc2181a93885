"""The command `heads`: the head models on this machine."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from avatar3d.errors import UserError

if TYPE_CHECKING:
    from avatar3d.heads import HeadModel
    from avatar3d.heads.storage import HeadFacts


def heads(
    action: tyro.conf.Positional[Literal["list", "add", "get", "show", "move"]],
    what: tyro.conf.Positional[str | None] = None,
    file: tyro.conf.Positional[Path | None] = None,
    /,
    name: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None,
    release: Annotated[str | None, tyro.conf.arg(metavar="2019|2020|2023|'2023 Open'")] = None,
    light: bool = False,
    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None,
    yes: bool = False,
    url: str | None = None,
    sha256: str | None = None,
) -> None:
    """List, add, download or show the head models on this machine, or move an avatar to another.

    heads list; heads add ict FOLDER; heads add flame FILE; heads add FILE; heads get ict;
    heads show NAME -o sheet.jpg; heads move ict me.avatar -o me_on_ict.avatar

    Args:
        action: list shows names, licences and files; add converts a copy that you have; get
            downloads one, once you agree; show draws a contact sheet; move carries an avatar from
            its head to another.
        what: ict or flame with add and get; the head's name or file with show, move and add.
        file: The copy to add: a checkout of ICT-FaceKit (folder or .zip) or its packed .npz; FLAME's
            .pkl, .npz or .safetensors. With move the avatar.
        name: What to call it; its kind's name if none is given.
        release: Which release a FLAME file is, where its name does not tell.
        light: ICT only: unseen inner parts dropped, at most 14,000 vertices, for real time.
        output: Where show writes its sheet (.jpg or .png; NAME.jpg if not given), and move the avatar.
        yes: Agree to the download without being asked.
        url: Another address to download from.
        sha256: The hash that the download must have.
    """
    if action == "list":
        _list()
    elif action == "show":
        _show(what or "default", output)
    elif action == "move":
        _move(what, file, output)
    elif action == "get":
        _get(what, name, yes, url, sha256, light)
    else:
        _add(what, file, name, release, light)


def _move(what: str | None, file: Path | None, output: Path | None) -> None:
    from avatar3d.animation.change_head import change_head
    from avatar3d.asset import read_avatar
    from avatar3d.files import check_writable
    from avatar3d.heads import load_head

    if what is None or file is None or output is None:
        raise UserError(
            "heads move needs a head, an avatar and -o, as in: "
            "avatar3d heads move ict me.avatar -o me_on_ict.avatar"
        )
    check_writable(output)
    avatar = read_avatar(file)
    head = load_head(what)
    change_head(avatar, head).save(output)
    print(f"wrote {output}: {file} moved from the head {avatar.head.name} to {head.name}")


def _list() -> None:
    from avatar3d.heads import head_facts, heads_folder, installed_heads

    found = {name: path for name, path in installed_heads().items() if path.is_file()}
    width = max(map(len, found), default=0)
    for name, path in found.items():
        try:
            facts = head_facts(name)
            said = f"{facts.licence or 'licence not told'}"
        except UserError as error:
            said = f"cannot be read: {error}"
        print(
            f"{name:<{width}}  {path.stat().st_size / 1e6:5.1f} MB  {path}\n{'':<{width}}  {said}"
        )
    print(f"add one with: avatar3d heads add ict FOLDER, or flame FILE (kept in {heads_folder()})")


def _add(
    what: str | None, file: Path | None, name: str | None, release: str | None, light: bool
) -> None:
    from avatar3d.heads import install

    if what is None:
        raise UserError("heads add needs the FILE of the head model; see: avatar3d heads --help")
    if what in ("ict", "flame") and file is None:
        raise UserError(f"heads add {what} needs the FILE to add; see: avatar3d heads --help")
    if file is None:
        _said(*install.add_file(Path(what), name))
    elif what == "ict":
        _said(*install.add_ict(file, name, light=light))
    elif what == "flame":
        _said(*install.add_flame(file, name, release))
    else:
        raise UserError(f"there is no kind of head {what!r}; expected ict or flame before the file")


def _get(
    what: str | None,
    name: str | None,
    yes: bool,
    url: str | None,
    sha256: str | None,
    light: bool,
) -> None:
    from avatar3d.heads.install import get_ict

    if what == "flame":
        raise UserError(
            "FLAME cannot be downloaded for you: its makers ask everyone to register; get it at "
            "https://flame.is.tue.mpg.de and say: avatar3d heads add flame FILE"
        )
    if what != "ict":
        raise UserError(f"heads get knows ict, got {what!r}; see: avatar3d heads --help")

    def confirm(description: str) -> bool:
        print(description)
        if yes:
            return True
        if not sys.stdin.isatty():
            raise UserError("nobody is here to agree; add --yes if you do")
        return input("download it? [y/N] ").strip().lower() in ("y", "yes")

    _said(*get_ict(confirm, name, url=url, sha256=sha256, light=light))


def _said(name: str, head: HeadModel, facts: HeadFacts) -> None:
    print(f"added the head {name!r} ({len(head.neutral):,} vertices); use it with: --head {name}")
    for label, text in (
        ("release", facts.release), ("licence", facts.licence), ("source", facts.source),
        ("notes", facts.notes),
    ):  # fmt: skip
        if text:
            print(f"{label}: {text}")


def _show(what: str, output: Path | None) -> None:
    from avatar3d.heads import load_head
    from render.commands import check_output
    from render.head_sheet import head_sheet
    from render.preview import write_picture

    target = output or Path(f"{Path(what).stem}.jpg")
    check_output(target, (".jpg", ".jpeg", ".png"))
    head = load_head(what)
    write_picture(head_sheet(head), target)
    print(f"wrote {target}: {head.name}, {len(head.neutral):,} vertices, "
          f"{head.identity_count} identity modes ({_sides(head)}), "
          f"{head.expression_count} coefficients")  # fmt: skip


def _sides(head: HeadModel) -> str:
    share = head.identity_asymmetry
    counts = {
        "symmetric": int((share < 0.05).sum()),
        "asymmetric": int((share > 0.95).sum()),
    }
    counts["that mix both"] = head.identity_count - sum(counts.values())
    return ", ".join(f"{count} {name}" for name, count in counts.items() if count)
