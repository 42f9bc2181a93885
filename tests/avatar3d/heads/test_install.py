"""Adding and downloading heads: what is said first, what is refused, and that nothing stays half."""

from __future__ import annotations

import hashlib
import http.server
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from avatar3d.errors import UserError
from avatar3d.heads import head_facts, installed_heads, load_head
from avatar3d.heads.install import (
    ICT_DOWNLOAD,
    Download,
    add_file,
    add_flame,
    add_ict,
    download,
    get_ict,
)
from avatar3d.heads.registry import DEFAULT_HEAD
from tests.support.data import data_file
from tests.support.flame import template, write_flame_pkl


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AVATAR3D_HEADS", str(tmp_path / "heads"))
    return tmp_path / "heads"


Serve = Callable[..., str]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """`serve(content, claimed_length)` -> the address of a server on this machine."""
    servers = []

    def start(content: bytes, length: int | None = None, status: int = 200) -> str:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(status)
                if length != -1:
                    self.send_header("Content-Length", str(length or len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: object) -> None:
                del format, args

        server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_address[1]}/master.zip"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def agree(said: str) -> bool:
    del said
    return True


def test_what_is_downloaded_is_said_first(serve: Serve, tmp_path: Path):
    content = b"x" * 2_500_000
    wanted = Download(serve(content), "", hashlib.sha256(content).hexdigest(), "a licence")
    seen: list[str] = []
    digest = download(wanted, tmp_path / "file", lambda text: seen.append(text) is None)
    assert digest == wanted.sha256
    assert (tmp_path / "file").read_bytes() == content
    for part in (wanted.url, "2.5 MB", wanted.sha256, "a licence"):
        assert part in seen[0]


def test_an_unknown_hash_is_said_to_be_unknown(serve: Serve, tmp_path: Path):
    seen: list[str] = []
    wanted = Download(serve(b"abc", length=-1), "about 100 MB", "", "MIT")
    download(wanted, tmp_path / "file", lambda text: seen.append(text) is None)
    assert "not known" in seen[0]
    assert "about 100 MB" in seen[0]
    assert "MIT" in ICT_DOWNLOAD.licence


def test_nothing_is_downloaded_without_consent(serve: Serve, folder: Path, tmp_path: Path):
    with pytest.raises(UserError, match="nothing was downloaded"):
        get_ict(lambda text: False, url=serve(b"abc"))
    assert not folder.exists()


@pytest.mark.parametrize(
    ("content", "length", "status", "sha256", "said"),
    [
        (b"abc", None, 200, "0" * 64, "expected 0000"),
        (b"abc", 10, 200, "", "broke off after 3 of 10 bytes"),
        (b"abc", 1 << 40, 200, "", "more than are loaded"),
        (b"abc", None, 404, "", "cannot download .*404"),
        (b"abc", None, 200, "", "damaged or no .zip"),
    ],
)
def test_bad_downloads_leave_nothing(
    serve: Serve, folder: Path, content: bytes, length, status: int, sha256: str, said: str
):
    with pytest.raises(UserError, match=said):
        get_ict(agree, url=serve(content, length, status), sha256=sha256)
    assert not folder.exists()


def test_no_server_and_no_address(folder: Path):
    with pytest.raises(UserError, match=r"cannot download .*heads add ict FOLDER"):
        get_ict(agree, url="http://127.0.0.1:9/x.zip")
    for url in ("file:///etc/passwd", "ftp://x", "x.zip"):
        with pytest.raises(UserError, match="no address"):
            get_ict(agree, url=url)
    assert not folder.exists()


def test_get_installs_what_it_downloads(serve: Serve, folder: Path, tmp_path: Path):
    """A checkout of a neutral head and two shapes, as GitHub zips it."""
    from avatar3d.heads.ict import read_ict_shapes

    shapes = read_ict_shapes(data_file("mesh/ict/ict_facekit_packed.npz"))

    def obj(points: np.ndarray, quads: np.ndarray | None = None) -> str:
        lines = [f"v {x:.6g} {y:.6g} {z:.6g}" for x, y, z in points]
        lines += ["f " + " ".join(str(v + 1) for v in quad if v >= 0) for quad in (
            () if quads is None else quads)]  # fmt: skip
        return "\n".join(lines)

    def checkout(neutral: np.ndarray) -> bytes:
        path = tmp_path / "a.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            base = "ICT-FaceKit-master/FaceXModel/"
            archive.writestr(base + "generic_neutral_mesh.obj", obj(neutral, shapes.quads))
            archive.writestr(base + "identity000.obj", obj(neutral + shapes.identity[0]))
            jaw = neutral + shapes.expressions["jawOpen"]
            archive.writestr(base + "jawOpen.obj", obj(jaw))
        return path.read_bytes()

    other = shapes.neutral.copy()
    other[5000, 1] += 0.01
    with pytest.raises(UserError, match=r"another neutral mesh than the one .* published"):
        get_ict(agree, url=serve(checkout(other)))
    assert not folder.exists()
    content = checkout(shapes.neutral)
    name, head, _ = get_ict(agree, url=serve(content))
    assert name == "ict"
    assert load_head("ict").content_hash() == head.content_hash()
    assert head_facts("ict").licence.startswith("MIT")
    assert f"with the sha256 {hashlib.sha256(content).hexdigest()}" in head_facts("ict").notes
    assert "the published one, by its hash" in head_facts("ict").notes
    assert [file.name for file in folder.iterdir()] == ["ict.safetensors"]


def test_the_packed_head_keeps_its_hash(folder: Path):
    """Avatars made on the file by its path open on the installed head."""
    file = data_file("mesh/ict/ict_facekit_packed.npz")
    _, head, facts = add_ict(file)
    assert load_head("ict").content_hash() == load_head(file).content_hash() == head.content_hash()
    assert "missing: tongueOut" in facts.notes
    with pytest.raises(UserError, match="there is a head named 'ict' already"):
        add_ict(file)


def test_wrong_files_install_nothing(folder: Path, tmp_path: Path):
    text = tmp_path / "a.txt"
    text.write_text("no head")
    for attempt in (
        lambda: add_file(text),
        lambda: add_file(tmp_path / "absent.npz"),
        lambda: add_ict(tmp_path),
        lambda: add_ict(text),
        lambda: add_flame(text),
        lambda: add_flame(tmp_path / "absent.pkl"),
        lambda: add_file(DEFAULT_HEAD, "../escape"),
        lambda: add_file(DEFAULT_HEAD, ""),
        lambda: add_file(DEFAULT_HEAD),
    ):
        with pytest.raises(UserError) as refused:
            attempt()
        assert "\n" not in str(refused.value)
    assert not folder.exists() or not list(folder.iterdir())


def test_a_head_under_another_name(folder: Path):
    add_file(DEFAULT_HEAD, "mine")
    assert load_head("mine").name == "mine"
    assert set(installed_heads()) == {"default", "mine"}


def test_one_file_under_two_releases_is_refused(tmp_path: Path, folder: Path):
    """Nothing in a file says which release it is, but two releases do not share their numbers."""
    template()  # skips where the data are absent
    for file in ("flame2020.pkl", "flame2023.pkl"):
        write_flame_pkl(tmp_path / file)
    name, head, _ = add_flame(tmp_path / "flame2020.pkl")
    assert name == "flame"
    with pytest.raises(
        UserError, match=r"installed head 'flame'.* FLAME 2020, not FLAME 2023: the rel"
    ):
        add_flame(tmp_path / "flame2023.pkl", "other")
    assert sorted(path.name for path in folder.iterdir()) == ["flame.safetensors"]
    again, same, _ = add_flame(
        tmp_path / "flame2020.pkl", "again"
    )  # the same release may come twice
    assert again == "again"
    assert torch.equal(same.identity_basis, head.identity_basis)
