"""Public names are chosen: adding or removing one is a change of this page."""

from __future__ import annotations

import importlib
import importlib.util

import pytest

PUBLIC = {
    "avatar3d": [
        "ARKIT_NAMES",
        "Avatar",
        "Camera",
        "ExpressionCode",
        "Gaussians",
        "HeadModel",
        "Motion",
        "UserError",
        "__version__",
        "load_head",
    ],
    "render": ["Rendering", "rasterize", "rasterize_8_bit", "warm_up"],
    "recon": ["CreateConfig", "CreateResult", "create"],
}


@pytest.mark.parametrize("package", PUBLIC)
def test_public_names(package: str):
    assert sorted(importlib.import_module(package).__all__) == PUBLIC[package]


@pytest.mark.parametrize("package", PUBLIC)
def test_every_public_name_can_be_imported(package: str):
    module = importlib.import_module(package)
    for name in module.__all__:
        assert getattr(module, name) is not None
    assert set(module.__all__) <= set(dir(module))


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'Avator'"):
        importlib.import_module("avatar3d").Avator  # noqa: B018
