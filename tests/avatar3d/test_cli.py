from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import venv
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from avatar3d import __version__, cli
from avatar3d.errors import UserError

ROOT = Path(__file__).parents[2]


def greet(name: str = "you", times: int = 1) -> None:
    """Say hello.

    More about it.
    """
    print(f"hello {name} " * times)


def fail(kind: str) -> None:
    """Fail in some way."""
    raise {
        "user": UserError("no face in a.jpg; use another photo"),
        "interrupt": KeyboardInterrupt(),
        "full": OSError(errno.ENOSPC, "No space left on device", "/x/me.avatar"),
        "permission": PermissionError(errno.EACCES, "Permission denied", "/x/me.avatar"),
        "absent": FileNotFoundError(errno.ENOENT, "No such file or directory", "a.jpg"),
        "memory": MemoryError(),
        "bug": RuntimeError("two\nlines"),
    }[kind]


@pytest.fixture(autouse=True)
def commands(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {name: EntryPoint(name, f"{__name__}:{name}", cli.GROUP) for name in ("greet", "fail")}
    functions = {"greet": greet, "fail": fail}
    monkeypatch.setattr(cli, "find_commands", lambda: found)
    monkeypatch.setattr(EntryPoint, "load", lambda self: functions[self.name])
    monkeypatch.setattr(cli.signal, "signal", lambda *_: None)


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    status = cli.main(list(arguments))
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_a_command_runs(capsys: pytest.CaptureFixture[str]):
    assert run(capsys, "greet", "--name", "Ada", "--times", "2") == (
        0,
        "hello Ada hello Ada \n",
        "",
    )


def test_help_and_version(capsys: pytest.CaptureFixture[str]):
    status, out, _ = run(capsys, "--help")
    assert status == 0
    assert "\n  greet" in out
    assert run(capsys, "--version") == (0, f"avatar3d {__version__}\n", "")
    status, out, _ = run(capsys, "greet", "--help")
    assert (status, "avatar3d greet" in out, "More about it." in out) == (0, True, True)


def test_bad_use_exits_with_2(capsys: pytest.CaptureFixture[str]):
    status, out, err = run(capsys)
    assert (status, out) == (2, "")
    assert "usage:" in err
    message = "error: there is no command 'gret'; did you mean 'greet'?\n"
    assert run(capsys, "gret") == (2, "", message)
    assert run(capsys, "zzz")[2] == "error: there is no command 'zzz'; see: avatar3d --help\n"
    assert run(capsys, "greet", "--times", "many")[0] == 2


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("user", "no face in a.jpg; use another photo"),
        ("interrupt", "stopped by you; no half-written file was left"),
        ("full", "the disk is full at /x/me.avatar; no half-written file was left: make room and"),
        ("permission", "no permission at /x/me.avatar (Permission denied); choose another place"),
        ("absent", "No such file or directory at a.jpg"),
        ("memory", "not enough memory; use fewer or smaller pictures"),
        ("bug", "unexpected RuntimeError: two lines; this is a bug: run again with --debug"),
    ],
)
def test_failures_are_one_sentence(capsys: pytest.CaptureFixture[str], kind: str, sentence: str):
    status, out, err = run(capsys, "fail", "--kind", kind)
    assert (status, out) == (1, "")
    assert err.startswith(f"error: {sentence}")
    assert err.count("\n") == 1


def test_a_program_of_its_own_fails_in_a_sentence(tmp_path: Path):
    arguments = [str(tmp_path), "-o", str(tmp_path / "x.safetensors")]
    run = subprocess.run(
        [sys.executable, "-m", "recon.prior.train", *arguments],
        check=False,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 1
    assert run.stderr.startswith(f"error: {tmp_path} must hold episodes")
    assert run.stderr.count("\n") == 1


def test_debug_shows_the_traceback():
    with pytest.raises(UserError):
        cli.main(["fail", "--kind", "user", "--debug"])


@pytest.mark.parametrize(
    ("number", "status", "said"),
    [(signal.SIGINT, 1, "error: stopped by you"), (signal.SIGTERM, 143, "")],
)
def test_being_stopped_leaves_nothing_behind(tmp_path: Path, number: int, status: int, said: str):
    code = f"""
import signal
import time
from importlib.metadata import EntryPoint
from avatar3d import cli
from avatar3d.files import atomic_output

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it

def work() -> None:
    with atomic_output("{tmp_path}/me.avatar") as temporary:
        temporary.write_text("half")
        print("begun", flush=True)
        time.sleep(60)

cli.find_commands = lambda: {{"work": EntryPoint("work", "x:y", cli.GROUP)}}
EntryPoint.load = lambda self: work
raise SystemExit(cli.main(["work"]))
"""
    pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", code], **pipes) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        process.send_signal(number)
        _, err = process.communicate(timeout=30)
    assert process.returncode == status
    assert err.startswith(said)
    assert err.count("\n") <= 1
    assert list(tmp_path.iterdir()) == []


def test_threads_are_told_to_wait_passively(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    run(capsys, "greet")
    assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` of a fresh environment that has the wheel, far from the checkout.

    The packages it depends on are lent by this environment: its site-packages comes last on the
    path, and its .pth files, among them the one of the editable install, are not read there.
    """
    folder = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    build = ["wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(ROOT)]
    subprocess.run([*pip, *build], check=True)
    venv.create(folder / "env", symlinks=True)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    site_packages = folder / "env" / "lib" / version / "site-packages"
    (wheel,) = folder.glob("avatar3d-*.whl")
    subprocess.run(
        [*pip, "install", "--no-deps", "--target", str(site_packages), str(wheel)], check=True
    )
    lent = Path(pytest.__file__).parents[1]
    (site_packages / "lent.pth").write_text(f"{lent}\n")
    launcher = "from avatar3d.cli import main\nraise SystemExit(main())\n"
    (folder / "env" / "bin" / "avatar3d").write_text(f"#!{folder}/env/bin/python\n{launcher}")
    (folder / "env" / "bin" / "avatar3d").chmod(0o755)
    return folder / "env" / "bin"


def shell(installed: Path, command: str) -> subprocess.CompletedProcess[str]:
    environment: dict[str, Any] = {"PATH": f"{installed}:/usr/bin:/bin", "HOME": str(installed)}
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        capture_output=True,
        text=True,
        env=environment,
        cwd=installed.parent,
        check=False,
    )


def test_the_wheel_carries_all_packages_and_presets(installed: Path):
    code = (
        "import avatar3d, render, recon, viewer; from avatar3d.config import configs_folder;"
        "print(avatar3d.__file__, configs_folder())"
    )
    ran = shell(installed, f"python -c '{code}'")
    assert ran.returncode == 0, ran.stderr
    module, configs = ran.stdout.split()
    assert Path(module).is_relative_to(installed.parent)
    assert configs == str(Path(module).parent / "configs")
    presets = {p.relative_to(ROOT / "configs") for p in (ROOT / "configs").rglob("*.yaml")}
    assert {p.relative_to(configs) for p in Path(configs).rglob("*.yaml")} == presets


def test_the_installed_command_lists_its_commands(installed: Path):
    ran = shell(installed, "avatar3d --help")
    assert ran.returncode == 0, ran.stderr
    for name in ("create", "render", "reenact", "track", "inspect", "heads", "demo", "benchmark"):
        assert f"\n  {name}" in ran.stdout
    assert shell(installed, "avatar3d --version").stdout == f"avatar3d {__version__}\n"
    assert shell(installed, "avatar3d creat").returncode == 2


def test_a_reader_that_leaves_is_no_error(installed: Path):
    ran = shell(installed, "for i in 1 2 3; do avatar3d --help; done | true")
    assert ran.stderr == ""
