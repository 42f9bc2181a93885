"""`benchmark viewer` sees a head before it measures; weights keep their limits whatever the machine."""

from __future__ import annotations

from contextlib import nullcontext

import pytest

from tests.support.avatars import plain_avatar
from viewer.benchmark import RUN, THROTTLE, least_disturbed, run_viewer


def test_weights_keep_their_limits(chromium: object, monkeypatch: pytest.MonkeyPatch):
    """30,000 Gaussians; times are only there, because a test's machine is busy."""
    monkeypatch.setattr("viewer.benchmark._browser", lambda: nullcontext(chromium))
    report = run_viewer(plain_avatar(30_000), quick=True)
    (row,) = report.rows
    assert row["gaussians"] == 30_000
    assert report.summary["page_gzip_kb"] < 80
    assert row["asset_mb"] < 1.6
    assert row["texture_mb"] < 12
    assert row["drawn"] > 10_000
    assert row["layers_head"] > 1
    assert 0 < row["cpu_ms"] < row["cpu_throttled_ms"]
    assert row["slowdown"] > THROTTLE / 2
    assert f"{row['asset_mb']:.3f}" in report.markdown()


def test_of_a_throttled_core_the_run_that_others_disturbed_least():
    fixed = [3.0] * RUN + [2.0] * RUN + [9.0] * RUN
    deform, sort = [1.0] * RUN + [1.5] * RUN + [0.1] * RUN, [0.5] * (3 * RUN)
    assert least_disturbed([deform, sort, fixed], 0.5) == pytest.approx((2.0, 4.0))
