"""The page in a real browser: every control does what it says."""

from __future__ import annotations

import gzip
import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from avatar3d.animation import EXPRESSIONS, idle
from avatar3d.codes import ARKIT_NAMES, ExpressionCode
from avatar3d.motion import Motion
from tests.support.avatars import plain_avatar
from tests.viewer.browser import canvas_picture, static_host
from tests.viewer.conftest import SIZE_PX, open_page
from viewer.asset import encode_web_asset
from viewer.commands import motion_json
from viewer.server import ViewerServer
from viewer.static import write_web


def coefficients(page: Any) -> dict[str, float]:
    values = page.evaluate("() => [...avatar3d.viewer.avatars[0].code.coefficients]")
    return {name: value for name, value in zip(ARKIT_NAMES, values) if value > 0}


def camera(page: Any) -> dict[str, Any]:
    return page.evaluate("() => ({ ...avatar3d.viewer.camera })")


def notes(page: Any) -> str:
    return page.locator("#notes").inner_text()


def tab(page: Any, name: str) -> None:
    page.get_by_role("tab", name=name).click()


def give(page: Any, label: str, name: str, content: bytes) -> None:
    """A file through the button with this label."""
    page.get_by_label(label, exact=True).last.set_input_files(
        {"name": name, "mimeType": "application/octet-stream", "buffer": content}
    )


def test_every_coefficient_has_a_slider_that_search_finds(page: Any):
    sliders = page.locator(".slider[data-name]")
    assert sliders.count() == len(ARKIT_NAMES)
    assert {sliders.nth(i).get_attribute("data-name") for i in range(52)} == set(ARKIT_NAMES)
    page.get_by_label("Search coefficients").fill("smile left")
    assert page.locator(".slider[data-name]:visible").count() == 1
    page.get_by_label("Search coefficients").fill("nothing like this")
    assert page.get_by_text("No coefficient has this").is_visible()
    page.get_by_label("Search coefficients").fill("")
    assert page.locator(".slider[data-name]:visible").count() == 6  # the first group, as before


def test_a_slider_moves_the_face_and_both_sides_of_it(page: Any):
    before = canvas_picture(page)
    page.get_by_label("Search coefficients").fill("blink")
    page.get_by_label("Eye blink left").fill("1")
    assert coefficients(page) == {"eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0}
    assert np.abs(canvas_picture(page).astype(int) - before).max() > 30
    page.get_by_label("Move left and right together").uncheck()
    page.get_by_label("Eye blink left").fill("0")
    assert coefficients(page) == {"eyeBlinkRight": 1.0}
    page.get_by_role("button", name="Reset", exact=True).click()
    assert coefficients(page) == {}


def test_expressions_by_name(page: Any):
    for name, values in EXPRESSIONS.items():
        page.get_by_role("button", name=name.capitalize(), exact=True).click()
        assert coefficients(page) == pytest.approx(values, abs=1e-6)


def test_dragging_looks_around_and_the_wheel_zooms(page: Any):
    page.mouse.move(200, 200)
    page.mouse.down()
    page.mouse.move(260, 180, steps=3)
    page.mouse.up()
    assert camera(page)["yaw"] < -0.3
    assert camera(page)["pitch"] < -0.05
    page.mouse.wheel(0, -400)
    page.wait_for_function("avatar3d.viewer.camera.zoom > 1.5")
    page.get_by_role("button", name="Reset all").click()
    assert camera(page) == {"yaw": 0, "pitch": 0, "zoom": 1, "pan": [0, 0]}


def test_dragging_turns_the_head_when_asked_to(page: Any):
    tab(page, "Move")
    page.get_by_role("button", name="Drag turns the head").click()
    page.mouse.move(200, 200)
    page.mouse.down()
    page.mouse.move(260, 200, steps=3)
    page.mouse.up()
    head = page.evaluate("() => avatar3d.viewer.avatars[0].code.head")
    assert head[2] > 0.1  # about +Y: toward the right of the picture
    assert camera(page)["yaw"] == 0
    page.get_by_role("button", name="Straight").click()
    assert page.evaluate("() => avatar3d.viewer.avatars[0].code.head") == [1, 0, 0, 0]


def test_keys(page: Any):
    page.locator("#canvas").focus()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("+")
    assert camera(page)["yaw"] < 0
    assert camera(page)["zoom"] > 1
    page.keyboard.press("i")
    assert page.evaluate("() => avatar3d.viewer.avatars[0].idle") is True
    page.keyboard.press("0")
    assert camera(page)["zoom"] == 1


def test_idle_life_is_pythons(page: Any):
    """The same blinks and sway at the same time."""
    page.evaluate("() => { avatar3d.viewer.suspended = true; }")
    got = page.evaluate(
        """() => { const { viewer } = avatar3d, [avatar] = viewer.avatars;
        avatar.idle = true; avatar.setPose({});
        return [1000, 1001, 1002.1, 1003.7].map(t => { viewer.advance(t);
          return [[...avatar.posed.coefficients], avatar.posed.head]; }); }"""
    )
    motion = idle(5.0, 10.0)
    for seconds, (values, head) in zip((0, 1.0, 2.1, 3.7), got):
        truth = motion.codes.at(round(10 * seconds))
        assert values == pytest.approx(truth.coefficients.tolist(), abs=1e-4)
        assert head == pytest.approx(truth.head_rotation.tolist(), abs=1e-5)


def played(page: Any, seconds: float) -> list[Any]:
    return page.evaluate(
        """(t) => { const { viewer } = avatar3d, [avatar] = viewer.avatars; viewer.suspended = true;
        avatar.seek(t); viewer.advance(avatar.motion ? 50 + t : 0);
        return [[...avatar.posed.coefficients], avatar.posed.head, avatar.posed.neck]; }""",
        seconds,
    )


@pytest.mark.parametrize("kind", ["json", "csv"])
def test_motions_play_as_python_reads_them(page: Any, tmp_path: Path, kind: str):
    random_values = torch.Generator().manual_seed(3)
    count = 40
    neutral = idle(count / 24, 24.0).codes
    codes = ExpressionCode(torch.rand(count, 52, generator=random_values), *neutral[1:])
    motion = Motion(codes, 24.0)
    path = tmp_path / "motion.csv"
    if kind == "csv":
        motion.save(path)
        content, motion = path.read_bytes(), Motion.load(path)
    else:
        content = motion_json(motion).encode()
    tab(page, "Move")
    give(page, "Open a motion", f"motion.{kind}", content)
    page.get_by_text(f"{count} frames").wait_for()
    assert page.get_by_text("at 24.0/s").is_visible()
    for index in (0, 1, 17, 39):
        values, head, neck = played(page, index / motion.frames_per_second)
        truth = motion.codes.at(index)
        assert values == pytest.approx(truth.coefficients.tolist(), abs=2e-4)
        assert head == pytest.approx(truth.head_rotation.tolist(), abs=2e-4)
        assert neck == pytest.approx(truth.neck_rotation.tolist(), abs=2e-4)
    page.get_by_role("button", name="Stop").click()
    assert page.evaluate("() => avatar3d.viewer.avatars[0].motion") is None


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("m.json", b"{", "is not JSON"),
        ("m.json", b'{"format": "other"}', "not a motion"),
        ("m.csv", b"a,b\n1,2\n", "not a Live Link Face CSV"),
        ("m.csv", b"", "not a Live Link Face CSV"),
    ],
)
def test_wrong_motions_are_told_in_words(page: Any, name: str, content: bytes, sentence: str):
    tab(page, "Move")
    give(page, "Open a motion", name, content)
    page.locator("#notes").get_by_text(sentence).wait_for()


def test_background_and_screenshot(page: Any):
    tab(page, "Look")
    page.get_by_label("Background colour").fill("#ff0000")
    red, green, blue, alpha = canvas_picture(page)[0, 0]  # a faint Gaussian reaches there
    assert red > 240
    assert max(green, blue) < 40
    assert alpha == 255
    page.get_by_role("button", name="Transparent").click()
    assert canvas_picture(page)[0, 0, 3] < 40
    picture = b"\x89PNG\r\n\x1a\n" + b"no picture"
    give(page, "Picture", "broken.png", picture)
    page.locator("#notes").get_by_text("is no picture").wait_for()
    tab(page, "Save")
    with page.expect_download() as download:
        page.get_by_role("button", name="Screenshot").click()
    assert download.value.suggested_filename == "plain.png"
    from PIL import Image

    shot = np.asarray(Image.open(download.value.path()))
    assert shot.shape == (SIZE_PX, SIZE_PX, 4)
    assert shot[0, 0, 3] < 40
    assert (shot[..., 3] > 200).mean() > 0.1


def test_overlays_and_detail(page: Any):
    whole = canvas_picture(page)
    tab(page, "Look")
    page.get_by_label("Wireframe").check()
    wire = canvas_picture(page)
    page.get_by_label("Wireframe").uncheck()
    page.get_by_label("Gaussians", exact=True).and_(page.locator("[type=checkbox]")).uncheck()
    assert np.ptp(canvas_picture(page)[..., :3], axis=(0, 1)).max() == 0
    page.get_by_label("Centres of the Gaussians").check()
    assert np.ptp(canvas_picture(page)[..., :3], axis=(0, 1)).max() > 50
    assert (wire != whole).mean() > 0.01
    page.get_by_label("Gaussians", exact=True).and_(page.locator("[type=range]")).fill("1000")
    assert page.evaluate("() => avatar3d.viewer.avatars[0].count") == 1000
    page.get_by_label("Frame time and counts").check()
    page.locator("#stats").get_by_text("of 1,000 Gaussians").wait_for()


def test_detail_follows_frame_time(page: Any):
    """Frames of 100 ms: fewer Gaussians, until all but the fewest are gone."""
    page.evaluate(
        """() => { const { viewer } = avatar3d; viewer.autoDetail = true;
        for (let i = 0; i < 400; i++) viewer.adapt(100); }"""
    )
    # The plain avatar is smaller than the least level, so it keeps all.
    assert page.evaluate("() => avatar3d.viewer.avatars[0].count") == 3000


def test_a_recording_is_a_film(page: Any):
    tab(page, "Save")
    page.get_by_role("button", name="Record").click()
    # Not a time but pictures: a busy machine draws few in a second and a half.
    page.evaluate(
        """async () => {
            for (let n = 0; n < 45; n++) {
                avatar3d.viewer.camera.yaw = 0.02 * n;
                await new Promise((done) => requestAnimationFrame(done));
            }
        }"""
    )
    page.wait_for_timeout(1500)
    with page.expect_download() as download:
        page.get_by_role("button", name="Stop recording").click()
    content = Path(download.value.path()).read_bytes()
    assert download.value.suggested_filename == "plain.webm"
    assert content[:4] == b"\x1a\x45\xdf\xa3"
    assert len(content) > 2000


def test_a_link_carries_the_state(page: Any, server: ViewerServer, chromium: Any):
    page.get_by_role("button", name="Laugh").click()
    page.evaluate("() => { avatar3d.viewer.camera.yaw = 0.4; }")
    page.locator("#canvas").focus()
    page.keyboard.press("-")
    page.wait_for_function("location.hash.includes('jawOpen') && location.hash.includes('zoom')")
    other = chromium.new_page(viewport={"width": SIZE_PX + 330, "height": SIZE_PX})
    open_page(other, page.evaluate("() => location.href"))
    assert coefficients(other) == pytest.approx(EXPRESSIONS["laugh"], abs=1e-3)
    assert camera(other)["yaw"] == pytest.approx(0.4)
    other.close()


def test_a_hostile_link_does_no_harm(page: Any, server: ViewerServer):
    page.goto("about:blank")
    fragment = (
        "#yaw=NaN&zoom=-1e99&face=evil:1,jawOpen:9,jawOpen:x&background=url(evil)&head=1&pan=,"
    )
    open_page(page, server.url + fragment)
    assert coefficients(page) == {"jawOpen": 1.0}
    assert camera(page) == {"yaw": 0, "pitch": 0, "zoom": 0.3, "pan": [0, 0]}


def test_live_codes_move_the_face_and_a_lost_line_is_told(page: Any, server: ViewerServer):
    code = ExpressionCode.from_named(jawOpen=0.7)
    server.push(code)
    page.wait_for_function("avatar3d.viewer.avatars[0].code.coefficients[17] > 0.69")


def test_the_server_goes_and_the_page_stays(chromium: Any):
    with ViewerServerOf("gone") as server:
        page = chromium.new_page(viewport={"width": SIZE_PX + 330, "height": SIZE_PX})
        open_page(page, server.url)
    page.locator("#notes").get_by_text("connection to the server is lost").wait_for(timeout=20_000)
    page.get_by_role("button", name="Smile").click()
    assert coefficients(page)
    page.close()


class ViewerServerOf(ViewerServer):
    def __init__(self, name: str) -> None:
        from viewer.server import ServerConfig

        super().__init__(ServerConfig(port=0))
        self.show(encode_web_asset(plain_avatar()), name)


def test_a_lost_graphics_context_comes_back(page: Any):
    before = canvas_picture(page)
    page.evaluate(
        """async () => { const { viewer } = avatar3d;
        const lose = viewer.gl.getExtension('WEBGL_lose_context');
        lose.loseContext(); await new Promise(done => setTimeout(done, 200));
        lose.restoreContext(); await new Promise(done => setTimeout(done, 500)); }"""
    )
    assert "graphics driver" in notes(page)
    after = canvas_picture(page)
    assert np.abs(after.astype(int) - before).max() < 3


def test_without_webgl2_the_page_says_so(chromium: Any, server: ViewerServer):
    page = chromium.new_page()
    page.add_init_script("HTMLCanvasElement.prototype.getContext = () => null")
    page.goto(server.url)
    page.get_by_text("no WebGL2").wait_for()
    page.close()


def test_a_phone_shows_stage_and_controls_within_its_screen(chromium: Any, server: ViewerServer):
    context = chromium.new_context(
        viewport={"width": 390, "height": 844}, is_mobile=True, has_touch=True
    )
    page = context.new_page()
    open_page(page, server.url)
    stage, panel = (page.locator(name).bounding_box() for name in ("#stage", "#panel"))
    assert stage["height"] > 350
    assert panel["y"] + panel["height"] <= 845
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 390
    smile = page.get_by_role("button", name="Smile", exact=True)
    assert smile.bounding_box()["height"] >= 40
    smile.tap()
    assert coefficients(page)
    page.get_by_label("Fold or unfold the controls").tap()
    assert page.locator("#stage").bounding_box()["height"] > 700
    context.close()


def test_light_and_dark(chromium: Any, server: ViewerServer):
    grounds = []
    for scheme in ("light", "dark"):
        context = chromium.new_context(
            color_scheme=scheme, viewport={"width": SIZE_PX + 330, "height": SIZE_PX}
        )
        page = context.new_page()
        open_page(page, server.url)
        grounds.append(int(canvas_picture(page)[0, 0, 0]))
        context.close()
    assert grounds[0] > 200
    assert grounds[1] < 60


def test_every_control_has_a_name(page: Any):
    """What a screen reader says: no button, slider or field without a name."""
    nameless = page.evaluate(
        """() => [...document.querySelectorAll('button, input, select, a, canvas, [role]')].filter(e =>
          !(e.getAttribute('aria-label') || e.getAttribute('aria-labelledby') || e.textContent.trim()
            || (e.labels && e.labels.length) || e.id === 'notes')).map(e => e.outerHTML)"""
    )
    assert nameless == []
    tab(page, "Face")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("() => document.activeElement.textContent") == "Move"


# Files.


@pytest.fixture
def host(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A plain web host of a folder, as write_web leaves it."""
    write_web(plain_avatar(), tmp_path / "site")
    with static_host(tmp_path / "site") as url:
        yield url, tmp_path / "site"


def test_the_same_page_works_as_static_files(chromium: Any, host: tuple[str, Path]):
    url, folder = host
    assert sorted(path.name for path in folder.iterdir()) == ["avatar.a3dweb", "index.html"]
    asked: list[str] = []
    page = chromium.new_page(viewport={"width": SIZE_PX + 330, "height": SIZE_PX})
    page.on("request", lambda request: asked.append(request.url))
    page.on("websocket", lambda socket: asked.append(socket.url))
    open_page(page, url)
    assert np.ptp(canvas_picture(page)[..., :3], axis=(0, 1)).max() > 100
    # Nothing but the page and the avatar: no other host, no line to a server.
    assert {re.sub(r"^.*/", "/", address) for address in asked if not address.startswith("data:")} == {"/", "/avatar.a3dweb"}  # fmt: skip  # noqa: E501
    page.close()


def test_an_absent_avatar_is_asked_for(chromium: Any, host: tuple[str, Path]):
    url, folder = host
    (folder / "avatar.a3dweb").unlink()
    page = chromium.new_page()
    page.goto(url)
    page.get_by_text("Drop an avatar here").wait_for()
    give(page, "Open an avatar", "me.a3dweb", encode_web_asset(plain_avatar(200)))
    page.wait_for_function("avatar3d.viewer.avatars.length > 0")
    page.goto(url + "?avatar=missing.a3dweb")
    page.locator("#notes").get_by_text("404").wait_for()
    page.close()


def damaged() -> list[bytes]:
    """Truncations, flipped bits outside and inside the gzip, and other files altogether."""
    sound = encode_web_asset(plain_avatar(300))
    inner = gzip.decompress(sound)
    generator = random.Random(5)

    def flipped(content: bytes) -> bytes:
        changed = bytearray(content)
        changed[generator.randrange(len(changed))] ^= 1 << generator.randrange(8)
        return bytes(changed)

    files = [sound[:length] for length in (0, 1, 5, 100, len(sound) // 2, len(sound) - 1)]
    files += [inner[:length] for length in (7, 8, 100, len(inner) // 2, len(inner) - 1)]
    files += [flipped(sound) for _ in range(12)]
    files += [flipped(inner[:4000]) + inner[4000:] for _ in range(12)]
    files += [gzip.compress(bytes(200_000_000), 9), b"PK\x03\x04", b"<!doctype html>", b"\xff" * 64]
    header = json.dumps({"__metadata__": {"avatar3d": "[]"}}).encode()
    files += [len(header).to_bytes(8, "little") + header, (2**62).to_bytes(8, "little") + b"{}"]
    return files


def test_damaged_avatars_are_refused_in_words(page: Any):
    """Either a sentence, or (where the damage is to a number like any other) a sound avatar."""
    files = damaged()
    outcomes = page.evaluate(
        """async (files) => { const out = []; const [avatar] = avatar3d.viewer.avatars;
        for (const file of files) {
          const bytes = Uint8Array.from(atob(file), c => c.charCodeAt(0));
          try { const other = await avatar.constructor.read(bytes); out.push(`read ${other.count}`); }
          catch (error) { out.push(`${error.name}: ${error.message}`); } }
        return out; }""",
        [__import__("base64").b64encode(file).decode() for file in files],
    )
    assert len(outcomes) == len(files)
    assert all(re.match(r"read 300$|AssetError: [A-Z].*\.$", outcome) for outcome in outcomes), (
        outcomes
    )
    assert sum(outcome.startswith("AssetError") for outcome in outcomes) > len(files) / 2
    assert any("unpacks to more" in outcome for outcome in outcomes)
    give(page, "Open an avatar", "broken.a3dweb", files[4])
    page.locator("#notes").get_by_text("damaged or not complete").wait_for()
    assert page.evaluate("() => avatar3d.viewer.avatars.length") == 1
