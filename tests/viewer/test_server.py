"""What strangers and clumsy clients may do to the server: nothing."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator

import pytest
import torch
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from avatar3d.animation import idle
from avatar3d.codes import ExpressionCode
from avatar3d.errors import UserError
from tests.support.avatars import plain_avatar
from viewer.asset import encode_web_asset
from viewer.commands import motion_json
from viewer.lines import MAX_LINES
from viewer.messages import TO_PAGE, CancelJob, Hello, JobFailed, LiveCode, decode, encode
from viewer.server import ServerConfig, ViewerServer, live_code


@pytest.fixture
def server() -> Iterator[ViewerServer]:
    with ViewerServer(ServerConfig(port=0, preset="draft", max_upload_bytes=2**20)) as server:
        yield server


def ask(
    server: ViewerServer,
    path: str,
    method: str = "GET",
    body: bytes | None = None,
    **headers: str,
) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    named = {key.replace("_", "-"): value for key, value in headers.items()}
    connection.request(method, path, body, named)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, content


def line(server: ViewerServer, path: str = "live", **options) -> ClientConnection:
    return connect(f"ws://127.0.0.1:{server.port}/{path}", open_timeout=20, **options)


def test_the_page_and_the_avatar_are_served(server: ViewerServer):
    asset = encode_web_asset(plain_avatar(100))
    server.show(asset, "me")
    server.play(motion_json(idle(1.0)))
    with line(server) as socket:
        hello = decode(str(socket.recv(10)), TO_PAGE)
    assert isinstance(hello, Hello)
    assert hello.name == "me"
    assert ask(server, f"/{hello.avatar}") == (200, asset)
    status, html = ask(server, "/")
    assert status == 200
    assert b'id="hello"' in html
    status, motion = ask(server, f"/{hello.motion}")
    assert status == 200
    assert len(json.loads(motion)["coefficients"]) == 25


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "localhost.evil.example", "", "[", "10.1.2.3"])  # fmt: skip  # noqa: E501
def test_other_names_for_this_machine_are_refused(server: ViewerServer, host: str):
    assert ask(server, "/", Host=host)[0] in (400, 403)


def test_other_sites_pages_are_refused(server: ViewerServer):
    own = f"http://127.0.0.1:{server.port}"
    assert ask(server, "/", Origin=own)[0] == 200
    for origin in ("http://evil.example", "null", "http://127.0.0.1:1", "https://[", own + "0"):
        assert ask(server, "/", Origin=origin)[0] == 403
        assert ask(server, "/avatars", "POST", b"x", Origin=origin, x_photo_sizes="1")[0] == 403
        with pytest.raises(InvalidStatus):
            line(server, origin=origin)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "path",
    [
        "/../pyproject.toml", "/avatars/../../etc/passwd", "/avatars/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "/face_mesh/../server.py", "/face_mesh/%2e%2e%2fserver.py", "/face_mesh/..%5cserver.py",
        "//etc/passwd", "/avatars/", "/avatars/made.avatar", "/web/dist/index.html", "/%00",
    ],
)  # fmt: skip
def test_no_path_leads_to_a_file(server: ViewerServer, path: str):
    status, content = ask(server, path)
    assert status in (400, 403, 404, 405)
    assert b"root:" not in content
    assert b"import" not in content


def test_large_uploads_are_refused_before_they_arrive(server: ViewerServer):
    huge = 200 * 2**20
    with socket.create_connection(("127.0.0.1", server.port), 20) as stranger:
        stranger.sendall(
            f"POST /avatars HTTP/1.1\r\nHost: localhost:{server.port}\r\nX-Photo-Sizes: {huge}\r\n"
            f"Content-Length: {huge}\r\n\r\n".encode()
        )
        answer = b""
        while b"smaller ones" not in answer and (more := stranger.recv(4096)):
            answer += more
    assert b" 413 " in answer
    assert b"200 MB" in answer


def test_uploads_that_lie_about_their_size_are_refused(server: ViewerServer):
    for sizes, body in (("10", b"x" * 11), ("10", b"x" * 9), ("10,5", b"x" * 14)):
        assert ask(server, "/avatars", "POST", body, x_photo_sizes=sizes)[0] == 400
    for sizes in ("", "a", "-1", "0", "1,0", ",".join("1" * 17), "1" * 5000, "1e9"):
        status, text = ask(server, "/avatars", "POST", b"x", x_photo_sizes=sizes)
        assert status in (400, 413), text
    # Nothing is kept of them: another one may still begin.
    assert ask(server, "/avatars", "POST", b"xx", x_photo_sizes="3")[0] == 400


def test_photos_that_are_none_end_in_a_sentence(server: ViewerServer):
    with line(server) as page:
        page.recv(10)
        status, job = ask(server, "/avatars", "POST", b"no picture", x_photo_sizes="10")
        assert status == 202
        busy, sentence = ask(server, "/avatars", "POST", b"no picture", x_photo_sizes="10")
        assert busy == 429, sentence
        failed = next(m for m in heard(page) if isinstance(m, JobFailed))
    assert failed.job == job.decode()
    assert "photo00.jpg" in failed.sentence
    assert "/" not in failed.sentence


def test_a_job_can_be_stopped(server: ViewerServer):
    with line(server) as page:
        page.recv(10)
        _, job = ask(server, "/avatars", "POST", b"no picture", x_photo_sizes="10")
        page.send(encode(CancelJob(job.decode())))
        failed = next(m for m in heard(page) if isinstance(m, JobFailed))
        assert "stopped" in failed.sentence
        deadline = time.monotonic() + 10
        while ask(server, "/avatars", "POST", b"xx", x_photo_sizes="3")[0] == 429:
            assert time.monotonic() < deadline, "its place was not given back"


def heard(page: ClientConnection):
    while True:
        yield decode(str(page.recv(60)), TO_PAGE)


def test_a_client_that_goes_in_the_middle_of_an_upload_is_forgotten(server: ViewerServer):
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", server.port), 20) as stranger:
            stranger.sendall(
                f"POST /avatars HTTP/1.1\r\nHost: localhost:{server.port}\r\nX-Photo-Sizes: 1000\r\n"
                f"Content-Length: 1000\r\n\r\nabc".encode()
            )
            time.sleep(0.1)
    deadline = time.monotonic() + 10
    while ask(server, "/avatars", "POST", b"xx", x_photo_sizes="3")[0] == 429:
        assert time.monotonic() < deadline, "its place was not given back"


def test_fifty_lines_at_once(server: ViewerServer):
    seen: list[object] = []
    refused: list[Exception] = []
    settled, pushed = threading.Semaphore(0), threading.Event()

    def come() -> None:
        try:
            with line(server) as page:
                page.recv(20)
                settled.release()
                assert pushed.wait(60)
                seen.append(decode(str(page.recv(20)), TO_PAGE))
        except (InvalidStatus, ConnectionClosed, OSError) as error:
            refused.append(error)
            settled.release()

    guests = [threading.Thread(target=come) for _ in range(50)]
    for guest in guests:
        guest.start()
    for _ in guests:
        assert settled.acquire(timeout=60)
    assert len(refused) == 50 - MAX_LINES
    assert ask(server, "/")[0] == 200
    server.push(ExpressionCode.neutral())
    pushed.set()
    for guest in guests:
        guest.join(60)
    assert len(seen) == MAX_LINES
    assert all(isinstance(message, LiveCode) for message in seen)
    deadline = time.monotonic() + 10
    while True:  # their places are free again
        try:
            with line(server) as page:
                page.recv(10)
            break
        except (InvalidStatus, ConnectionClosed):
            assert time.monotonic() < deadline


@pytest.mark.parametrize("said", ["", "{", '{"type": "LiveCode"}', b"\x00\xff", "[" * 60_000, "x" * 70_000])  # fmt: skip  # noqa: E501
def test_nonsense_over_the_line_harms_nobody(server: ViewerServer, said: str | bytes):
    with line(server) as rude, line(server) as page:
        page.recv(10)
        rude.send(said)
        server.push(ExpressionCode.neutral())
        assert isinstance(decode(str(page.recv(10)), TO_PAGE), LiveCode)


def test_codes_of_a_driver_reach_the_pages(server: ViewerServer):
    code = ExpressionCode.neutral()
    code.coefficients[17] = 0.5
    with line(server) as page, line(server, "drive") as driver:
        page.recv(10)
        driver.send("nonsense")
        driver.send(encode(LiveCode((0.5,), (1.0,), (0.0,), (1.0,))))  # too few coefficients
        driver.send(encode(live_code(code)))
        message = decode(str(page.recv(10)), TO_PAGE)
    assert isinstance(message, LiveCode)
    assert torch.equal(torch.tensor(message.coefficients), code.coefficients)
    with pytest.raises(InvalidStatus):
        line(server, "drive", origin=f"http://127.0.0.1:{server.port}")  # type: ignore[arg-type]


def test_a_page_that_takes_nothing_is_let_go(server: ViewerServer):
    """Thousands of codes with nobody reading: memory and the other pages are spared."""
    with line(server, max_queue=1, close_timeout=0.2) as idle_page, line(server) as page:
        page.recv(10)
        assert idle_page is not None
        for _ in range(3000):
            server.push(ExpressionCode.neutral())
        assert isinstance(decode(str(page.recv(10)), TO_PAGE), LiveCode)


def test_a_busy_port_is_told(server: ViewerServer):
    with pytest.raises(UserError, match="--port"):
        ViewerServer(ServerConfig(port=server.port))
