from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from viewer.messages import (
    TO_PAGE,
    TO_SERVER,
    WEB_SOURCES,
    AvatarReady,
    CancelJob,
    Hello,
    JobFailed,
    JobProgress,
    LiveCode,
    decode,
    encode,
    typescript,
)

EVERY = TO_PAGE + TO_SERVER
EXAMPLES = [
    Hello("1", None, None, None, "motion.json", True, 5, "mind"),
    AvatarReady("avatars/x", "x", None),
    LiveCode((0.0, 1.0), (1.0, 0.0, 0.0, 0.0), (0.0, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0)),
    JobProgress("j", "fit", 0.5, 1.0),
    JobFailed("j", "why"),
    CancelJob("j"),
]


def test_the_page_knows_the_same_messages():
    for file, content in typescript().items():
        written = (WEB_SOURCES / file).read_text(encoding="utf-8")
        assert written == content, f"{file} is stale; run: python -m viewer.messages"


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda m: type(m).__name__)
def test_messages_survive_the_wire(message):
    assert decode(encode(message), EVERY) == message


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(), lambda s: st.lists(s, max_size=3) | st.dictionaries(st.text(max_size=8), s, max_size=3), max_leaves=8))  # fmt: skip  # noqa: E501
def test_what_is_no_message_is_refused(content):
    with pytest.raises(ValueError):  # noqa: PT011
        decode(json.dumps(content), EVERY)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[" * 50_000,
        "x" * 70_000,
        '{"type": "CancelJob"}',
        '{"type": "CancelJob", "job": 3}',
        '{"type": "CancelJob", "job": "a", "more": 1}',
        '{"type": ["CancelJob"], "job": "a"}',
        encode(LiveCode((0.0,), (1.0,), (), ())).replace("0.0", "NaN"),
        encode(LiveCode((0.0,), (1.0,), (), ())).replace("0.0", "true"),
    ],
    ids=range(10),
)
def test_wrong_fields_are_refused(text: str):
    with pytest.raises(ValueError):  # noqa: PT011
        decode(text, EVERY)
