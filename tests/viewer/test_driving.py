"""The page driven by camera, voice, clip and photos, from end to end."""

from __future__ import annotations

import re
import wave
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from avatar3d.animation import portrait_camera
from avatar3d.audio.driver import VoiceDriver
from avatar3d.audio.features import RATE_HZ
from avatar3d.audio.model import load_voice
from avatar3d.codes import ARKIT_INDEX, ExpressionCode
from avatar3d.errors import UserError
from render.frames import frames
from render.video import VideoWriter
from tests.avatar3d.audio.voices import babble
from tests.support.avatars import draft_of_portrait, plain_avatar, write_portrait
from tests.viewer.browser import find_chromium, static_host
from tests.viewer.conftest import SIZE_PX, open_page
from viewer.asset import encode_web_asset
from viewer.drivers import find_face_mesh
from viewer.server import ServerConfig, ViewerServer
from viewer.static import write_web

JAW_OPEN = ARKIT_INDEX["jawOpen"]
WATCHED = [JAW_OPEN, *(ARKIT_INDEX[n] for n in ("eyeBlinkLeft", "eyeLookOutLeft", "browInnerUp"))]


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


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four seconds that swell and fade as speech does, 16 kHz."""
    path = tmp_path_factory.mktemp("sound") / "speech.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, RATE_HZ, 0, "NONE", ""))
        file.writeframes((32767 * np.clip(2 * babble(4.0), -1, 1)).astype("<i2").tobytes())
    return path


@pytest.mark.slow
def test_webcam_and_microphone_move_the_avatar_on_a_static_host(
    chromium: Any, tmp_path: Path, sound: Path
):
    """A rendered head before the camera rests, then opens its mouth; so does the avatar. No server
    of ours is there."""
    if find_face_mesh() is None:
        pytest.skip("the face detector is not here; install it with: cd viewer/web && npm ci")
    # Rests for most of the time: the tracker learns the face from what it first sees, and on a busy
    # machine that is a few frames.
    codes = ExpressionCode.neutral(285)
    codes.coefficients[240:, JAW_OPEN] = 0.7
    person = draft_of_portrait().avatar
    camera = tmp_path / "camera.y4m"
    write_y4m(frames(person, codes, portrait_camera(person, 480)), camera)
    write_web(plain_avatar(300), tmp_path / "site", webcam=True, voice="clean")
    browser = chromium.browser_type.launch(
        executable_path=find_chromium(),
        args=[
            "--no-sandbox",
            "--use-angle=swiftshader",
            "--enable-unsafe-swiftshader",
            "--use-fake-ui-for-media-stream",
            "--use-fake-device-for-media-stream",
            f"--use-file-for-fake-video-capture={camera}",
            f"--use-file-for-fake-audio-capture={sound}",
        ],
    )
    # Left open by a failure it would draw on, on one of two cores, until all tests are over.
    with closing(browser), static_host(tmp_path / "site") as url:
        page = browser.new_page(viewport={"width": SIZE_PX + 330, "height": SIZE_PX})
        page.set_default_timeout(120_000)  # camera, detector, voice and drawing share two cores
        problems: list[str] = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        open_page(page, url)
        page.get_by_role("tab", name="Move").click()
        page.get_by_role("button", name="Webcam").click()
        page.get_by_text("The avatar follows you").wait_for(timeout=120_000)
        page.wait_for_function(
            f"avatar3d.viewer.avatars[0].code.coefficients[{JAW_OPEN}] > 0.35", timeout=120_000
        )
        page.get_by_role("button", name="Stop the webcam").dispatch_event("click")
        assert page.evaluate("() => Math.max(...avatar3d.viewer.avatars[0].code.coefficients)") == 0
        for refuses in (False, True):  # a browser that gives microphones at its own rate alone
            if refuses:
                page.evaluate(
                    """() => { const of = AudioContext.prototype, make = of.createMediaStreamSource;
                    of.createMediaStreamSource = function (stream) {
                      window.rate = this.sampleRate;
                      if (rate === 16000) throw new Error('rate');
                      return make.call(this, stream); }; }"""
                )
            page.get_by_role("button", name="Microphone").click()
            page.wait_for_function(
                f"""() => {{ const {{ coefficients, head }} = avatar3d.viewer.avatars[0].code;
                return coefficients[{JAW_OPEN}] > 0.1 && head[0] < 1; }}""",
                timeout=120_000,
            )
            page.get_by_role("button", name="Stop the microphone").dispatch_event("click")
            code = page.evaluate(
                """() => { const { code } = avatar3d.viewer.avatars[0];
                return [Math.max(...code.coefficients), ...code.head]; }"""
            )
            assert code == [0, 1, 0, 0, 0]
        assert page.evaluate("() => window.rate") > 16_000
        assert problems == []


def test_a_sound_file_speaks_as_python_says(page: Any, sound: Path):
    """While it sounds, face and head show the codes of that moment, as `speak` makes them."""
    page.get_by_role("tab", name="Move").click()
    page.get_by_label("Speak a sound file").set_input_files(sound)
    page.get_by_text("heard").wait_for()
    seen = page.evaluate(
        f"""async () => {{ const audio = document.querySelector('audio'), seen = [];
        const [avatar] = avatar3d.viewer.avatars;
        while (audio.paused) await new Promise(requestAnimationFrame);
        while (!audio.ended && seen.length < 400) {{
          const before = audio.currentTime;
          await new Promise(requestAnimationFrame);
          const {{ coefficients, head, neck }} = avatar.code;
          seen.push([before, audio.currentTime,
            [{", ".join(f"coefficients[{at}]" for at in WATCHED)}, ...head, ...neck]]);
        }} return seen; }}"""
    )
    with wave.open(str(sound)) as file:
        samples = np.frombuffer(file.readframes(1 << 20), "<i2").astype(np.float32) / 32768
    driver = VoiceDriver(load_voice(), frames_per_second=50)
    codes = ExpressionCode(*map(torch.cat, zip(driver.push(samples), driver.finish())))
    truth = torch.cat([codes.coefficients[:, WATCHED], codes.head_rotation, codes.neck_rotation], 1)
    times_s = 0.02 * np.arange(len(truth))
    checked = 0
    for before_s, after_s, values in seen:
        if before_s < 0.1 or after_s > 3.9 or after_s - before_s > 0.5:
            continue
        near = truth[(times_s > before_s - 0.06) & (times_s < after_s + 0.06)]
        assert (near.amin(0) - 0.02 <= torch.tensor(values)).all()
        assert (torch.tensor(values) <= near.amax(0) + 0.02).all()
        checked += 1
    assert checked >= 5
    assert np.ptp(truth[:, 0]) > 0.15
    assert np.ptp(truth[:, len(WATCHED) :], axis=0).max() > 0.02  # the head moves
    # The mouth alone, with idle life as it was, when asked for.
    page.get_by_label("Eyes, brows and head too").uncheck()
    page.evaluate("() => { const audio = document.querySelector('audio'); audio.play(); }")
    page.wait_for_function(
        f"""() => {{ const {{ code, idle }} = avatar3d.viewer.avatars[0];
        return code.head[0] === 1 && code.coefficients[{JAW_OPEN}] > 0.05 && !idle; }}"""
    )
    page.get_by_role("button", name="Reset all").click()


def test_what_is_no_sound_is_told_in_words(page: Any):
    page.get_by_role("tab", name="Move").click()
    page.get_by_label("Speak a sound file").set_input_files(
        {"name": "x.wav", "mimeType": "audio/wav", "buffer": b"RIFF and no more"}
    )
    page.locator("#notes").get_by_text("x.wav is no sound").wait_for()


def test_denied_devices_are_told_in_words(chromium: Any, tmp_path: Path):
    (tmp_path / "face_mesh.js").write_text("window.FaceMesh = class {};")
    with ViewerServer(ServerConfig(port=0, face_mesh=tmp_path)) as server:
        server.show(encode_web_asset(plain_avatar(300)), "plain")
        page = chromium.new_page(viewport={"width": SIZE_PX + 330, "height": SIZE_PX})
        open_page(page, server.url)
        page.get_by_role("tab", name="Move").click()
        notes = page.locator("#notes")
        for button, device in (("Webcam", "camera"), ("Microphone", "microphone")):
            page.get_by_role("button", name=button).click()
            told = re.compile(f"denies the {device}|No {device} was found")
            notes.get_by_text(told).wait_for(timeout=30_000)
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


def test_a_static_host_without_drivers_says_how_to_export_them(chromium: Any, tmp_path: Path):
    write_web(plain_avatar(300), tmp_path / "site")
    with static_host(tmp_path / "site") as url:
        page = chromium.new_page(viewport={"width": SIZE_PX + 330, "height": SIZE_PX})
        open_page(page, url)
        page.get_by_role("tab", name="Move").click()
        notes = page.locator("#notes")
        for button, option in (("Webcam", "--webcam"), ("Microphone", "--voice clean")):
            page.get_by_role("button", name=button).click()
            notes.get_by_text(f"avatar3d export --to web {option}").wait_for()
        page.close()


def test_export_carries_what_drivers_need(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    written = write_web(plain_avatar(300), tmp_path / "voice", voice="clean")
    assert [path.name for path in written] == ["index.html", "avatar.a3dweb", "voice.safetensors"]
    assert written[2].stat().st_size < 1.2e6
    with pytest.raises(UserError, match="no voice model 'loud'"):
        write_web(plain_avatar(300), tmp_path / "none", voice="loud")
    monkeypatch.setattr("viewer.static.find_face_mesh", lambda: None)
    with pytest.raises(UserError, match="npm pack @mediapipe/face_mesh"):
        write_web(plain_avatar(300), tmp_path / "none", webcam=True)
    assert not (tmp_path / "none").exists()


def test_codes_of_a_clip_reach_the_page(page: Any, server: ViewerServer, tmp_path: Path):
    """`reenact --to viewer` on the film of a head that opens its mouth: live tracker, socket, page."""
    from recon.driving.commands import reenact

    codes = ExpressionCode.neutral(60)
    codes.coefficients[30:, JAW_OPEN] = 0.7
    person = draft_of_portrait().avatar
    person.save(tmp_path / "me.avatar")
    clip = tmp_path / "driver.mp4"
    with VideoWriter(clip, 30.0) as video:
        for picture in frames(person, codes, portrait_camera(person, 320)):
            video.write(picture)
    page.evaluate(
        f"""() => {{ window.most = 0; avatar3d.viewer.avatars[0].on('code', (code) =>
        {{ window.most = Math.max(window.most, code.coefficients[{JAW_OPEN}]); }}); }}"""
    )
    address = f"127.0.0.1:{server.port}"
    reenact(tmp_path / "me.avatar", driver=str(clip), to="viewer", address=address)
    page.wait_for_function("window.most > 0.25", timeout=20_000)


def test_without_a_viewer_reenact_says_what_to_start():
    from recon.driving.sinks import Viewer

    with pytest.raises(UserError, match="start `avatar3d view` first"):
        Viewer("127.0.0.1", 1)


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
