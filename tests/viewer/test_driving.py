"""The page driven by a camera and by photos, from end to end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from avatar3d.animation import portrait_camera
from avatar3d.codes import ARKIT_INDEX, ExpressionCode
from render.frames import frames
from tests.support.avatars import draft_of_portrait, plain_avatar, write_portrait
from tests.viewer.browser import find_chromium
from tests.viewer.conftest import SIZE_PX, open_page
from viewer.asset import encode_web_asset
from viewer.face_mesh import find_face_mesh
from viewer.messages import Landmarks, Tracked
from viewer.server import ServerConfig, ViewerServer

JAW_OPEN = ARKIT_INDEX["jawOpen"]


def write_y4m(pictures: Any, path: Path) -> None:
    """u8 [H, W, 3] pictures as the raw video that Chromium takes for a camera."""
    with open(path, "wb") as file:
        for index, picture in enumerate(pictures):
            height, width = picture.shape[:2]
            if index == 0:
                file.write(f"YUV4MPEG2 W{width} H{height} F30:1 Ip A1:1 C420jpeg\n".encode())
            r, g, b = np.moveaxis(picture.astype(np.float32), -1, 0)
            y = 0.299 * r + 0.587 * g + 0.114 * b
            chroma = ((b - y) * 0.564 + 128, (r - y) * 0.713 + 128)
            halves = [c.reshape(height // 2, 2, width // 2, 2).mean((1, 3)) for c in chroma]
            planes = [np.clip(plane, 0, 255).astype(np.uint8).tobytes() for plane in (y, *halves)]
            file.write(b"FRAME\n" + b"".join(planes))


@pytest.mark.slow
def test_the_webcam_moves_the_avatar(chromium: Any, tmp_path: Path):
    """A rendered head before the camera rests, then opens its mouth; so does the avatar."""
    if find_face_mesh() is None:
        pytest.skip("the face detector is not here; install it with: cd viewer/web && npm ci")
    codes = ExpressionCode.neutral(150)
    codes.coefficients[90:, JAW_OPEN] = 0.7
    person = draft_of_portrait().avatar
    camera = tmp_path / "camera.y4m"
    write_y4m(frames(person, codes, portrait_camera(person, 480)), camera)
    browser = chromium.browser_type.launch(
        executable_path=find_chromium(),
        args=[
            "--no-sandbox",
            "--use-angle=swiftshader",
            "--enable-unsafe-swiftshader",
            "--use-fake-ui-for-media-stream",
            "--use-fake-device-for-media-stream",
            f"--use-file-for-fake-video-capture={camera}",
        ],
    )
    with ViewerServer(ServerConfig(port=0, face_mesh=find_face_mesh())) as server:
        server.show(encode_web_asset(plain_avatar(300)), "plain")
        page = browser.new_page(viewport={"width": SIZE_PX + 330, "height": SIZE_PX})
        open_page(page, server.url)
        page.get_by_role("tab", name="Move").click()
        page.get_by_role("button", name="Webcam").click()
        page.get_by_text("The avatar follows you").wait_for(timeout=90_000)
        page.wait_for_function(
            f"avatar3d.viewer.avatars[0].code.coefficients[{JAW_OPEN}] > 0.25", timeout=60_000
        )
        page.get_by_role("button", name="Stop the webcam").click()
        assert page.evaluate("() => Math.max(...avatar3d.viewer.avatars[0].code.coefficients)") == 0
    browser.close()


def test_a_denied_camera_is_told_in_words(chromium: Any):
    with ViewerServer(ServerConfig(port=0, face_mesh=Path(__file__).parent)) as server:
        server.show(encode_web_asset(plain_avatar(300)), "plain")
        page = chromium.new_page(viewport={"width": SIZE_PX + 330, "height": SIZE_PX})
        open_page(page, server.url)
        page.get_by_role("tab", name="Move").click()
        page.get_by_role("button", name="Webcam").click()
        notes = page.locator("#notes")
        notes.get_by_text("camera").wait_for(timeout=20_000)
        text = notes.inner_text()
        assert "denies the camera" in text or "No camera was found" in text
        page.get_by_role("button", name="Microphone").click()
        notes.get_by_text("avatar3d speak").wait_for()
        page.close()


def test_without_a_detector_the_page_says_where_to_get_it(chromium: Any):
    with ViewerServer(ServerConfig(port=0, face_mesh=None)) as server:
        server.show(encode_web_asset(plain_avatar(300)), "plain")
        page = chromium.new_page(viewport={"width": SIZE_PX + 330, "height": SIZE_PX})
        open_page(page, server.url)
        page.get_by_role("tab", name="Move").click()
        page.get_by_role("button", name="Webcam").click()
        page.locator("#notes").get_by_text("@mediapipe/face_mesh@0.4.1633559619").wait_for()
        page.close()


@pytest.mark.parametrize(
    ("points", "width"),
    [((1.0, 2.0), 640), ((0.0,) * 956, 0), ((1e9,) * 956, 640), ((0.0,) * 955, 640)],
)
def test_landmarks_that_are_none_get_a_sentence(points: tuple[float, ...], width: int):
    from viewer.landmarks import FaceOfPage

    answer = FaceOfPage("default").solve(Landmarks(points, width, 480, 0.0, True))
    assert isinstance(answer, Tracked)
    assert answer.problem is not None
    assert answer.problem.endswith(".")


@pytest.mark.slow
def test_a_dropped_photo_becomes_the_avatar_on_the_page(chromium: Any, tmp_path: Path):
    with ViewerServer(ServerConfig(port=0, preset="draft")) as server:
        context = chromium.new_context(viewport={"width": SIZE_PX + 330, "height": SIZE_PX})
        page = context.new_page()
        page.goto(server.url)
        page.get_by_text("Drop a photo of a face here").wait_for()
        page.get_by_label("Choose photos").first.set_input_files(write_portrait(tmp_path))
        page.get_by_role("progressbar").get_by_text("Making the avatar").wait_for()
        page.wait_for_function("avatar3d.viewer.avatars.length > 0", timeout=240_000)
        assert page.evaluate("() => avatar3d.viewer.avatars[0].asset.count") >= 10_000
        page.get_by_role("tab", name="Save").click()
        with page.expect_download() as download:
            page.get_by_role("link", name="Download .avatar").click()
        from avatar3d.avatar import Avatar

        kept = tmp_path / "kept.avatar"
        download.value.save_as(kept)
        assert Avatar.load(kept).count >= 10_000
        context.close()
