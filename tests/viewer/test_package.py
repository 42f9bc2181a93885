"""The npm package: its examples run, its types hold, two avatars share a scene, headsets see both."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.avatars import plain_avatar
from tests.viewer.browser import canvas_picture, static_host
from tests.viewer.conftest import SIZE_PX
from viewer.asset import encode_web_asset, write_web_asset
from viewer.server import ViewerServer

WEB = Path(__file__).parents[2] / "viewer" / "web"
MODULES = WEB / "node_modules"


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A host of the built package with its examples and an avatar: its address and folder."""
    if not (MODULES / "three").is_dir() or shutil.which("node") is None:
        pytest.skip("the page's tools are not here; install them with: cd viewer/web && npm ci")
    folder = tmp_path_factory.mktemp("package")
    build = ["node", str(WEB / "build.mjs"), "--package", "--out", str(folder / "dist")]
    subprocess.run(build, check=True, capture_output=True, timeout=120)
    shutil.copytree(WEB / "examples", folder / "examples")
    three = folder / "node_modules" / "three" / "build"
    three.parent.mkdir(parents=True)
    shutil.copytree(MODULES / "three" / "build", three)
    write_web_asset(plain_avatar(), folder / "examples" / "avatar.a3dweb")

    with static_host(folder) as address:
        yield f"{address}examples/", folder


def picture_of(page: Any, size: int = 300) -> np.ndarray:
    import io

    from PIL import Image

    page.set_viewport_size({"width": size, "height": size})
    page.wait_for_timeout(500)
    return np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("RGB")).astype(int)


def test_the_example_of_twenty_lines(chromium: Any, package: tuple[str, Path]):
    page = chromium.new_page(viewport={"width": 300, "height": 300})
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(package[0] + "minimal.html")
    page.wait_for_timeout(1500)
    middle = picture_of(page)[100:200, 100:200].mean((0, 1))
    assert middle[0] > 90, "no skin in the middle of the picture"
    assert problems == []
    page.close()
    text = (WEB / "examples" / "minimal.html").read_text()
    script = text.partition('<script type="module">')[2].partition("</script>")[0]
    assert len(script.strip().splitlines()) <= 20


def centre(picture: np.ndarray, empty: np.ndarray) -> float:
    """Column of the middle of what is there."""
    columns = (np.abs(picture - empty).max(-1) > 30).sum(0)
    return float((columns * np.arange(len(columns))).sum() / columns.sum())


def test_an_avatar_stands_in_a_three_scene(chromium: Any, package: tuple[str, Path]):
    """Beside a cube that is nearer and hides it, and behind which it shows when the cube is."""
    page = chromium.new_page(viewport={"width": 300, "height": 300})
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(package[0] + "three.html")
    page.wait_for_function("window.layer && layer.splats.stats.drawn > 0")
    page.evaluate("() => { head.avatar.idle = false; }")
    near = picture_of(page)
    page.evaluate("() => { cube.position.z = -0.3; }")
    far = picture_of(page)
    page.evaluate("() => { cube.visible = false; }")
    gone = picture_of(page)
    page.evaluate("() => { head.visible = false; }")
    empty = picture_of(page)
    assert np.abs(gone - empty).max(-1).mean() > 20, "no avatar is drawn"
    hidden = (np.abs(near - gone).max(-1) > 40).mean()
    behind = (np.abs(far - gone).max(-1) > 40).mean()
    assert hidden > 0.02, "the cube before the face is not seen"
    assert behind < hidden / 4, "the cube behind the head is seen through it"
    page.evaluate("() => { head.visible = true; head.position.x = 0.1; }")
    moved = picture_of(page)
    assert centre(moved, empty) - centre(gone, empty) > 25, "the head does not follow its object"
    assert problems == []
    page.close()


def test_types_hold_for_those_who_use_them(package: tuple[str, Path], tmp_path: Path):
    (tmp_path / "node_modules").symlink_to(MODULES)
    (tmp_path / "dist").symlink_to(package[1] / "dist")
    (tmp_path / "use.ts").write_text(
        "import { load, type Avatar } from './dist/types/index.js';\n"
        "import { AvatarLayer } from './dist/types/three.js';\n"
        "declare const canvas: HTMLCanvasElement;\n"
        "const avatar: Avatar = await load('x', { canvas });\n"
        "avatar.setExpression({ jawOpen: 1 });\n"
        "avatar.on('ended', (motion) => motion.name.length);\n"
        "// @ts-expect-error: there is no such coefficient\n"
        "avatar.setExpression({ jawsOpen: 1 });\n"
        "export { AvatarLayer };\n"
    )
    check = [
        str(MODULES / ".bin" / "tsc"), "--noEmit", "--strict", "--skipLibCheck", "--target", "es2022",
        "--module", "esnext", "--moduleResolution", "bundler", "--types", "webxr", "use.ts",
    ]  # fmt: skip
    done = subprocess.run(
        check, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout


def second_avatar(page: Any, server: ViewerServer) -> None:
    """The page's avatar twice, 16 cm to either side."""
    import base64

    asset = base64.b64encode(encode_web_asset(plain_avatar())).decode()
    page.evaluate(
        """async (asset) => { const { viewer } = avatar3d;
        const bytes = Uint8Array.from(atob(asset), c => c.charCodeAt(0));
        await viewer.load(bytes);
        viewer.avatars.forEach((avatar, i) => {
          avatar.modelMatrix = [1,0,0,0, 0,1,0,0, 0,0,1,0, 0.32 * i - 0.16,0,0,1]; });
        viewer.camera.zoom = 0.5; viewer.background = [0, 0, 0, 1]; }""",
        asset,
    )


def test_two_avatars_in_one_scene(page: Any, server: ViewerServer):
    second_avatar(page, server)
    page.evaluate("() => { avatar3d.viewer.avatars[1].setExpression({ jawOpen: 1 }); }")
    both = canvas_picture(page)[..., :3].astype(int)
    half = SIZE_PX // 2
    left, right = both[:, :half], both[:, half:]
    assert (left.max(-1) > 60).mean() > 0.15
    assert (right.max(-1) > 60).mean() > 0.15
    page.evaluate("() => { avatar3d.viewer.avatars[0].visible = false; }")
    one = canvas_picture(page)[..., :3].astype(int)
    assert (one[:, : half - 90].max(-1) > 60).mean() < 0.05
    # The nearer one covers the farther, in whichever order they came.
    page.evaluate(
        """() => { const [a, b] = avatar3d.viewer.avatars; a.visible = true;
        a.modelMatrix = [1,0,0,0, 0,1,0,0, 0,0,1,0, 0,0,0.3,1];
        b.modelMatrix = [1,0,0,0, 0,1,0,0, 0,0,1,0, 0,0,-0.3,1]; }"""
    )
    a_near = canvas_picture(page).astype(int)
    page.evaluate("() => { const { avatars } = avatar3d.viewer; avatars.reverse(); }")
    assert np.abs(canvas_picture(page).astype(int) - a_near).max() <= 1


def test_a_headset_sees_the_avatar_with_both_eyes(chromium: Any, server: ViewerServer):
    """In the WebXR emulator: two views that differ as eyes do, and back to the page after."""
    emulator = MODULES / "iwer" / "build" / "iwer.min.js"
    if not emulator.is_file():
        pytest.skip("the emulator is not here; install it with: cd viewer/web && npm ci")
    page = chromium.new_page(viewport={"width": SIZE_PX + 330, "height": SIZE_PX})
    page.add_init_script(emulator.read_text(encoding="utf-8"))
    page.add_init_script(
        """const device = new IWER.XRDevice(IWER.metaQuest3);
        device.installRuntime({ forceInstall: true }); device.stereoEnabled = true;
        device.position.set(0, 1.5, 0); window.device = device;
        window.XRWebGLLayer = class extends XRWebGLLayer {
          constructor(session, gl, options) { super(session, gl, options); window.asked = options; } };
        const request = navigator.xr.requestSession.bind(navigator.xr);
        navigator.xr.requestSession = async (...a) => (window.session = await request(...a));"""
    )
    page.goto(server.url)
    page.wait_for_function("window.avatar3d && avatar3d.viewer.avatars.length > 0")
    page.get_by_role("tab", name="Save").click()
    page.get_by_role("button", name="Enter VR").click()
    page.get_by_role("button", name="Leave VR").wait_for()
    eyes = page.evaluate(
        """async () => { const { gl } = avatar3d.viewer; const out = [];
        const space = await session.requestReferenceSpace('local');
        const frames = (n) => new Promise((done, failed) => {
          const next = (_, frame) => {
            try { n-- > 0 ? session.requestAnimationFrame(next) : done(look(frame)); }
            catch (error) { failed(error); } };
          session.requestAnimationFrame(next); });
        const look = (frame) => { const { baseLayer } = session.renderState;
          gl.bindFramebuffer(gl.FRAMEBUFFER, baseLayer.framebuffer);
          for (const view of frame.getViewerPose(space).views) { const p = baseLayer.getViewport(view);
            const pixels = new Uint8Array(4 * p.width * p.height);
            gl.readPixels(p.x, p.y, p.width, p.height, gl.RGBA, gl.UNSIGNED_BYTE, pixels);
            let covered = 0, sum = 0;
            for (let i = 0; i < pixels.length; i += 4) if (pixels[i] > 60) {
              covered++; sum += (i / 4) % p.width; }
            out.push({ share: covered / (p.width * p.height), x: sum / covered / p.width }); }
          return out; };
        const late = new Promise((_, failed) => setTimeout(failed, 20000, 'no frames'));
        return Promise.race([frames(3), late]); }"""
    )
    assert page.evaluate("() => asked.framebufferScaleFactor") == 0.8  # xr.ts: 0.8 if not given
    left, right = eyes
    assert left["share"] > 0.02
    assert right["share"] > 0.02
    assert left["x"] - right["x"] > 0.01, "the eyes see the same picture"
    page.evaluate("() => document.getElementById('vr').click()")  # the emulator lies over it
    page.wait_for_function("document.getElementById('vr').textContent === 'Enter VR'")
    assert (canvas_picture(page)[..., :3].max(-1) > 0).any()
    page.close()
