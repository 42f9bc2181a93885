"""Settings of the whole test run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest
from jaxtyping import install_import_hook

import tests.support.typecheck  # noqa: F401 (the hook below looks it up, but imports only `tests`)

# As the command line sets it: threads that spin would make two test workers crawl.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("KMP_BLOCKTIME", "0")

# Shapes and types of the floor are checked on every call. Not the packages above it: their Numba
# kernels cannot be compiled from a wrapped function.
install_import_hook("avatar3d", "tests.support.typecheck.typecheck")

# A loaded machine is slow now and then; the examples are still the same ones.
hypothesis.settings.register_profile("default", deadline=None, derandomize=True)
hypothesis.settings.load_profile("default")


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """One browser for all tests of a process: Playwright runs no second one beside it."""
    from tests.viewer.browser import find_chromium, open_browser

    if find_chromium() is None:
        pytest.skip("there is no Chromium here; install it with: apt-get install chromium")
    with open_browser() as browser:
        yield browser
