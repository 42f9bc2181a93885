"""Synthetic people: the same for the same seed, whole, seen where their landmarks are, learned from."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch

from avatar3d.camera import Camera
from avatar3d.codes import ExpressionCode
from avatar3d.errors import UserError
from avatar3d.geometry import quaternion_conjugate, quaternion_multiply
from avatar3d.heads import load_head
from avatar3d.light import irradiance
from avatar3d.template import make_template
from recon.prior.episodes import load_episode, person_of
from recon.prior.synthetic import SyntheticPerson, synthetic_clip, synthetic_person
from recon.prior.synthetic.__main__ import write_episodes
from recon.prior.synthetic.episodes import EpisodeStream
from recon.prior.synthetic.motion import random_codes
from recon.prior.synthetic.person import made_person, random_identity
from recon.prior.synthetic.photograph import landmarks_px, photograph
from recon.prior.synthetic.scene import Light, _lobe, random_light
from recon.prior.synthetic.traits import Beard, Clothes, Glasses, HairStyle, random_traits
from recon.prior.train import TrainConfig, train

SIZE_PX, ANCHORS = 128, 3000
CAMERA = Camera.frontal(focal_length_px=375, size_px=SIZE_PX, distance_m=0.9)


@lru_cache(maxsize=8)
def someone(seed: int = 5, **looks: str | float) -> SyntheticPerson:
    head = load_head("default")
    rng = np.random.default_rng(seed)
    traits = replace(random_traits(rng), **looks)  # type: ignore[arg-type]
    return made_person(traits, random_identity(head, rng), head, rng)


def daylight() -> Light:
    return random_light(np.random.default_rng(0))


def test_a_seed_is_a_person() -> None:
    one, same, other = synthetic_person(7), synthetic_person(7), synthetic_person(8)
    assert one.traits == same.traits != other.traits
    assert torch.equal(one.identity, same.identity)
    for name, value in one.attributes.__dict__.items():
        assert torch.equal(value, getattr(same.attributes, name)), name
    assert torch.equal(one.template.triangle, same.template.triangle)


def test_a_clip_is_the_same_each_time() -> None:
    clip, same = (synthetic_clip(3, 2, size_px=96) for _ in range(2))
    assert all(np.array_equal(clip.images[k], same.images[k]) for k in clip.images)
    assert np.array_equal(clip.landmarks, same.landmarks)
    assert clip.name == "synthetic3"
    assert not np.array_equal(clip.images[0], clip.images[1])


def _nth(choices: object, index: int) -> str:
    return get_args(choices)[index % len(get_args(choices))]


_LOOKS = [
    {
        "style": style,
        "beard": _nth(Beard, index),
        "glasses": _nth(Glasses, index),
        "clothes": _nth(Clothes, index),
    }
    for index, style in enumerate(get_args(HairStyle))
]


@pytest.mark.parametrize("looks", _LOOKS, ids=lambda looks: "-".join(looks.values()))
def test_every_look_is_made_of_whole_gaussians(looks: dict[str, str]) -> None:
    person = someone(**looks)
    code = random_codes(np.random.default_rng(1), 2, frontal_first=False).at(1)
    gaussians = person.gaussians(code, daylight(), CAMERA.position())
    for value in gaussians:
        assert torch.isfinite(value).all()
    assert gaussians.count > 30_000
    assert (gaussians.scales > 0).all()
    assert (gaussians.scales < 0.03).all()
    assert ((gaussians.opacities > 0) & (gaussians.opacities < 1)).all()
    assert (gaussians.colors >= 0).all()
    assert (gaussians.means - code.head_translation).norm(dim=-1).max() < 0.6  # nothing flies off
    torch.testing.assert_close(
        person.attributes.rotations.norm(dim=-1), torch.ones(gaussians.count), atol=1e-4, rtol=0
    )


def test_hair_covers_the_scalp() -> None:
    """What looks at the crown sees hair, not skin."""
    above = Camera.frontal(focal_length_px=375, size_px=SIZE_PX, distance_m=0.9, pitch=1.2)
    flat = Light(_neutral(), torch.tensor([0.0, 0.0, 1.0]), torch.zeros(3))
    for style in ("short", "long", "afro"):
        person = someone(style=style, hair=(0.1, 0.2, 0.8), glasses="none")
        shot = _shot(person, ExpressionCode.neutral(), flat, above)
        crown = shot[SIZE_PX // 2 - 24 : SIZE_PX // 2 - 8, SIZE_PX // 2 - 12 : SIZE_PX // 2 + 12]
        blue = crown[..., 2].astype(int) - crown[..., 0] > 5
        assert blue.mean() > 0.97, style


def test_the_matte_is_what_lets_the_background_through() -> None:
    person, code = someone(), ExpressionCode.neutral()
    over = [
        photograph(
            person, code, daylight(), CAMERA, np.full((SIZE_PX, SIZE_PX, 3), value, np.float32),
            np.random.default_rng(0),
        )
        for value in (0.1, 0.6)
    ]  # fmt: skip
    assert np.array_equal(over[0].matte, over[1].matte)
    through = (over[1].image.astype(float) - over[0].image) / (0.5 * 255)
    unclipped = ((over[0].image > 0) & (over[1].image < 255)).all(-1)
    wrong = np.abs(through - (1 - over[0].matte[..., None] / 255))[unclipped]
    assert wrong.max() < 3 / 127  # rounding of three bytes
    assert over[0].matte.max() == 255
    assert over[0].matte.min() == 0


def test_landmarks_lie_on_the_face_that_is_drawn() -> None:
    """Lips are red where the lips' landmarks are, pupils dark, in whatever pose."""
    looks = {"beard": "none", "glasses": "none", "style": "bald", "lipstick": 1.0,
             "lip_color": (0.7, 0.05, 0.05), "skin": (0.8, 0.65, 0.55), "tone": 0.3}  # fmt: skip
    flat = Light(_neutral(), torch.tensor([0.0, 0.0, 1.0]), torch.zeros(3))
    codes = random_codes(np.random.default_rng(2), 6, frontal_first=True)
    codes.coefficients[:] = 0.0
    for index in range(3):
        person, code = someone(seed=index, **looks), codes.at(index)
        image = _shot(person, code, flat, CAMERA).astype(float)
        points = landmarks_px(person, code, CAMERA)

        def seen(*landmarks: int, image=image, points=points) -> np.ndarray:
            column, row = points[list(landmarks), :2].mean(0).astype(int)
            return image[row - 1 : row + 2, column - 1 : column + 2].mean((0, 1))

        lip, chin, forehead = seen(14, 17), seen(199), seen(151)
        redness = [color[0] / color[1] for color in (lip, chin, forehead)]
        assert redness[0] > 1.5 * max(redness[1:])
        for iris in (468, 473):
            assert seen(iris).sum() < 0.75 * forehead.sum()


def test_detectors_noise_is_small_and_drawn() -> None:
    person, code = someone(), ExpressionCode.neutral()
    known = landmarks_px(person, code, CAMERA)
    noisy = landmarks_px(person, code, CAMERA, np.random.default_rng(0))
    away = np.linalg.norm(noisy - known, axis=1) * 512 / SIZE_PX
    assert 0.2 < away.mean() < 1.5
    assert away.max() < 4


def test_codes_are_plausible() -> None:
    codes = random_codes(np.random.default_rng(0), 200, frontal_first=False)
    assert (codes.coefficients >= 0).all()
    assert (codes.coefficients <= 1).all()
    w, x, y, z = codes.head_rotation.unbind(-1)
    yaw = torch.rad2deg(torch.atan2(2 * (x * z + w * y), 1 - 2 * (x * x + y * y)))
    assert 35 < yaw.abs().max() <= 50.5
    bust = quaternion_multiply(codes.head_rotation, quaternion_conjugate(codes.neck_rotation))
    assert (2 * torch.acos(bust[:, 0].clamp(-1, 1))).max() < 0.9


def test_a_lamp_in_the_basis_is_a_lamp() -> None:
    rng = np.random.default_rng(0)
    toward = rng.normal(size=3)
    toward /= np.linalg.norm(toward)
    normals = rng.normal(size=(500, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    light = torch.from_numpy(_lobe(toward))[:, None].expand(9, 3)
    lit = irradiance(light, torch.from_numpy(normals)).numpy()[:, 0]
    assert np.abs(lit - np.maximum(normals @ toward, 0)).max() < 0.1


def test_light_stays_in_the_world() -> None:
    """Whichever way the head turns, the cheek on the lamp's side is the bright one."""
    person = someone(style="bald", glasses="none", beard="none")
    side = np.zeros((9, 3))
    side[:] = _lobe(np.array([1.0, 0.0, 0.0]))[:, None]
    light = Light(torch.from_numpy(side).float(), torch.tensor([1.0, 0.0, 0.0]), torch.zeros(3))
    for yaw in (-0.4, 0.4):
        turned = ExpressionCode.neutral()
        turned.head_rotation[:] = torch.tensor([np.cos(yaw / 2), 0, np.sin(yaw / 2), 0])
        image = _shot(person, turned, light, CAMERA).astype(float).sum(-1)
        column, row = landmarks_px(person, turned, CAMERA)[[50, 280], :2].T.astype(int)
        right, left = image[row, column]
        assert left > 1.3 * right


@lru_cache(maxsize=1)
def stream() -> EpisodeStream:
    head = load_head("default")
    return EpisodeStream(0, make_template(head, ANCHORS), head, size_px=256)


def test_episodes_come_back_from_files_and_go_on(tmp_path: Path) -> None:
    files = write_episodes(tmp_path, 2, anchors=ANCHORS, size_px=256, part=(1, 2))
    assert [file.exists() for file in files] == [False, True]
    made = files[1].stat().st_mtime_ns
    write_episodes(tmp_path, 2, anchors=ANCHORS, size_px=256, part=(1, 2))
    assert files[1].stat().st_mtime_ns == made
    read, streamed = load_episode(files[1]), stream()[1]
    assert read.person == streamed.person == person_of(files[1])
    assert torch.equal(read.start.attributes.colors, streamed.start.attributes.colors)
    assert len(read.queries) == len(streamed.queries) > 0
    for own, same in zip(read.queries, streamed.queries):
        assert torch.equal(own.colors, same.colors)
    # The tracker finds the poses again, so what is asked for is what was drawn.
    clip = synthetic_clip(stream().seed_of(1), len(read.support) + len(read.queries), size_px=256)
    assert np.array_equal(clip.mattes[len(read.support)], read.queries[0].matte.numpy())


def test_the_stream_trains_and_goes_on_bit_by_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recon.prior.train._stream", lambda *_: stream())
    config = TrainConfig(
        steps=8, queries=1, anchors=ANCHORS, refined_share=0.0, warm_up=1, checkpoint_every=4,
        tint=0.0, synthetic_share=1.0, synthetic_people=2, synthetic_window=100,
    )  # fmt: skip
    whole = train([], config)
    assert np.mean(whole.losses[-3:]) < np.mean(whole.losses[:3])

    import recon.prior.train as module

    learn, calls = module._learn, []

    def stopping(*arguments):
        calls.append(1)
        if len(calls) > 6:
            raise KeyboardInterrupt
        return learn(*arguments)

    checkpoint = tmp_path / "run.checkpoint.safetensors"
    monkeypatch.setattr(module, "_learn", stopping)
    with pytest.raises(KeyboardInterrupt):
        train([], config, checkpoint=checkpoint)
    monkeypatch.setattr(module, "_learn", learn)
    assert train([], config, checkpoint=checkpoint).losses == whole.losses


def test_nonsense_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="at least one episode"):
        write_episodes(tmp_path / "none", 0)
    assert not (tmp_path / "none").exists()
    with pytest.raises(UserError, match="there must be episodes"):
        train([], TrainConfig(steps=1, anchors=ANCHORS, synthetic_share=0.5))


def _shot(person: SyntheticPerson, code: ExpressionCode, light: Light, camera: Camera):
    black = np.zeros((SIZE_PX, SIZE_PX, 3), np.float32)
    return photograph(person, code, light, camera, black, np.random.default_rng(0)).image


def _neutral() -> torch.Tensor:
    light = torch.zeros(9, 3)
    light[0] = 1.0
    return light
