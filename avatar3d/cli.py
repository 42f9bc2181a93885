"""The front door, `avatar3d`: finds commands by entry point, turns failures into sentences.

A command is a typed function, registered in the group `avatar3d.commands`; tyro makes its options
from the types and its help from the docstring. Listing the commands imports none of them.
"""

from __future__ import annotations

import ast
import difflib
import errno
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from importlib.machinery import PathFinder
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import FrameType
from typing import NoReturn

from avatar3d import __version__
from avatar3d.errors import UserError

GROUP = "avatar3d.commands"
EXIT_FAILED, EXIT_BAD_USE = 1, 2

_NO_PERMISSION = (errno.EACCES, errno.EPERM, errno.EROFS)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit status is 0, 1 (failed, said in a sentence) or 2 (bad use)."""
    # Threads of OpenMP (torch, Numba) spin for 0.2 s after each parallel region and steal the cores
    # from one another; they must wait passively. Read when the libraries load, so set before.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("KMP_BLOCKTIME", "0")
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _stop)  # temporary files go on `kill` as on Ctrl-C
    return _said(_run, list(sys.argv[1:] if arguments is None else arguments))


def run_script(function: Callable[..., int | None]) -> NoReturn:
    """What `python -m MODULE` does where a module is a program of its own (trainings): options and
    help as for commands, failures in a sentence."""

    def run(options: list[str]) -> int:
        import tyro

        return tyro.cli(function, args=options) or 0

    sys.exit(_said(run, sys.argv[1:]))


def _said(run: Callable[[list[str]], int], given: list[str]) -> int:
    """The exit status of `run`; what it raises becomes a sentence, but under --debug."""
    debug = "--debug" in given
    try:
        status = run([argument for argument in given if argument != "--debug"])
        sys.stdout.flush()
        return status
    except SystemExit as stop:  # tyro: 0 after --help, 2 after bad use
        return stop.code if isinstance(stop.code, int) else EXIT_FAILED
    except BrokenPipeError:
        # The reader (`| head`) has left: nothing to say, also not while Python shuts down.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED
    except (Exception, KeyboardInterrupt) as error:
        if debug:
            raise
        print(f"error: {_sentence(error)}", file=sys.stderr)
        return EXIT_FAILED


def find_commands() -> dict[str, EntryPoint]:
    """The registered commands by name."""
    return {entry.name: entry for entry in sorted(entry_points(group=GROUP))}


def summary(entry: EntryPoint) -> str:
    """The first line of a command's docstring, read from its source without importing anything."""
    path = _source(entry.module)
    if path is None:
        return ""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef) and node.name == entry.attr:
            return (ast.get_docstring(node) or "").partition("\n")[0].rstrip(".")
    return ""


def _run(arguments: list[str]) -> int:
    commands = find_commands()
    if not arguments or arguments[0] in ("--help", "-h", "help"):
        print(_help(commands), file=sys.stdout if arguments else sys.stderr)
        return 0 if arguments else EXIT_BAD_USE
    if arguments[0] == "--version":
        print(f"avatar3d {__version__}")
        return 0
    name, *options = arguments
    if name not in commands:
        close = difflib.get_close_matches(name, commands, n=1)
        hint = f"did you mean {close[0]!r}?" if close else "see: avatar3d --help"
        print(f"error: there is no command {name!r}; {hint}", file=sys.stderr)
        return EXIT_BAD_USE

    import tyro  # a tenth of a second that --version and the list do without

    from avatar3d.config import with_preset

    function = with_preset(commands[name].load(), options)
    result = tyro.cli(function, prog=f"avatar3d {name}", args=options)
    return result if isinstance(result, int) else 0


def _help(commands: dict[str, EntryPoint]) -> str:
    width = max(map(len, commands), default=0)
    lines = [f"  {name:<{width}}  {summary(entry)}".rstrip() for name, entry in commands.items()]
    return "\n".join(
        [
            f"avatar3d {__version__}: a few photos or a clip become a 3D head that moves",
            "",
            "usage: avatar3d COMMAND [OPTIONS]",
            "",
            "commands:",
            *lines,
            "",
            "options:",
            "  --help     this list; avatar3d COMMAND --help explains one command",
            "  --version  the version",
            "  --debug    show the traceback when something fails",
        ]
    )


def _source(module: str) -> Path | None:
    """The file of a module, found without importing its package."""
    search: Sequence[str] | None = None
    spec, name = None, ""
    for part in module.split("."):
        name = f"{name}.{part}" if name else part
        spec = PathFinder.find_spec(name, search)
        if spec is None:
            return None
        search = spec.submodule_search_locations
    return Path(spec.origin) if spec is not None and spec.origin is not None else None


def _sentence(error: BaseException) -> str:
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, KeyboardInterrupt):
        return "stopped by you; no half-written file was left"
    if isinstance(error, MemoryError):
        return "not enough memory; use fewer or smaller pictures, or close other programs"
    if isinstance(error, OSError):
        where = f" at {error.filename}" if error.filename else ""
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return (
                f"the disk is full{where}; no half-written file was left: make room and try again"
            )
        if error.errno in _NO_PERMISSION:
            return f"no permission{where} ({error.strerror}); choose another place"
        if error.errno is not None:
            return f"{error.strerror}{where}"
    what = f"{type(error).__name__}: {error}".rstrip(": ").replace("\n", " ")
    return f"unexpected {what}; this is a bug: run again with --debug and report what it prints"


def _stop(signal_number: int, frame: FrameType | None) -> NoReturn:
    sys.exit(128 + signal_number)


if __name__ == "__main__":
    sys.exit(main())
