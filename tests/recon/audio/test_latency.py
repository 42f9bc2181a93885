from __future__ import annotations

from avatar3d.audio.driver import DELAY_S
from avatar3d.audio.model import load_voice
from recon.audio.latency import sound_to_picture
from tests.support.avatars import plain_avatar


def test_no_picture_comes_before_what_its_code_must_have_heard():
    delays = sound_to_picture(plain_avatar(200), load_voice("clean"), seconds=1.5, size_px=64)
    assert delays["sound_to_picture_ms"] >= 1e3 * DELAY_S - 1.0
    assert delays["sound_to_picture_95_ms"] >= delays["sound_to_picture_ms"]
