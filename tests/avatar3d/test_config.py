from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import pytest
import tyro

from avatar3d import config
from avatar3d.config import FromPreset, fill, load_preset, preset_names, with_preset
from avatar3d.errors import UserError


@dataclass(frozen=True)
class Fit:
    steps: int = 80
    rate: float = 0.01


@dataclass(frozen=True)
class Settings:
    size_px: int = 256
    head: Literal["default", "ict"] = "default"
    weights: tuple[float, float] = (0.8, 0.2)
    mask: Path | None = None
    baked: bool = False
    fit: Fit = field(default_factory=Fit)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "make").mkdir()
    (tmp_path / "make" / "draft.yaml").write_text("size_px: 128\nfit:\n  steps: 10\n  rate: 1e-3\n")
    (tmp_path / "make" / "default.yaml").write_text("# as the code has it\n")
    (tmp_path / "make" / "broken.yaml").write_text("a: [")
    monkeypatch.setattr(config, "configs_folder", lambda: tmp_path)
    return tmp_path


def test_given_beats_preset_beats_default(folder: Path):
    loaded = load_preset(Settings, "make", "draft", {"fit": {"steps": 3}, "mask": "m.png"})
    assert loaded == Settings(size_px=128, mask=Path("m.png"), fit=Fit(steps=3, rate=0.001))
    assert load_preset(Settings, "make") == Settings()
    assert preset_names("make") == ["broken", "default", "draft"]


def test_lists_become_the_tuple_that_is_asked_for():
    assert fill(Settings, {"weights": [1, 0]}, "x").weights == (1.0, 0.0)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"size": 1}, "unknown setting 'size'; did you mean 'size_px'?"),
        ({"fit": {"step": 1}}, "x: fit: unknown setting 'step'; did you mean 'steps'?"),
        ({"size_px": "wide"}, r"x: size_px: expected int, got 'wide' \(str\)"),
        ({"size_px": True}, "expected int, got True"),
        ({"size_px": 1.5}, "expected int, got 1.5"),
        ({"head": "flame"}, "expected one of default, ict, got 'flame'"),
        ({"weights": [1]}, "x: weights: expected"),
        ({"fit": 3}, "x: fit: expected names with values, got 3"),
        ({"fit": {"rate": "fast"}}, "x: fit: rate: expected float, got 'fast'"),
        ([1], "x: expected names with values"),
    ],
)
def test_bad_values_are_named(values: object, message: str):
    with pytest.raises(UserError, match=message):
        fill(Settings, values, "x")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "draught",
            "no preset 'draught' for make; did you mean 'draft'?; found: broken, default, draft",
        ),
        ("../make/draft", "no preset"),
        ("broken", "is not a YAML file"),
    ],
)
def test_bad_presets_are_named(folder: Path, name: str, message: str):
    with pytest.raises(UserError, match=message.replace("?", r"\?")):
        load_preset(Settings, "make", name)


def test_a_command_takes_its_defaults_from_the_preset(folder: Path):
    def make(
        path: tyro.conf.Positional[Path],
        preset: Literal["draft", "default"] = "default",
        settings: Annotated[Settings, FromPreset("make")] = Settings(),
    ) -> tuple[str, Settings]:
        return preset, settings

    for arguments, size_px, steps in [
        (["a"], 256, 80),
        (["a", "--preset", "draft"], 128, 10),
        (["a", "--preset=draft", "--settings.fit.steps", "5"], 128, 5),
    ]:
        _, settings = tyro.cli(with_preset(make, arguments), args=arguments)
        assert (settings.size_px, settings.fit.steps) == (size_px, steps)
    with pytest.raises(SystemExit):  # the option parser lists the choices
        tyro.cli(with_preset(make, ["--preset", "no"]), args=["a", "--preset", "no"])


def test_the_presets_of_this_checkout_are_found():
    assert config.configs_folder().is_dir()
