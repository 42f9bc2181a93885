"""What hushes the whole process is shared by threads: nobody's leaving takes it from the others."""

from __future__ import annotations

import os
import threading
import warnings

import pytest

from recon.capture.quiet import no_native_stderr, no_warnings


def test_stderr_comes_back_when_the_last_thread_leaves(capfd: pytest.CaptureFixture[str]) -> None:
    inside, leave = threading.Event(), threading.Event()

    def other() -> None:
        with no_native_stderr():
            inside.set()
            leave.wait(10)
            os.write(2, b"hushed too\n")

    thread = threading.Thread(target=other)
    with no_native_stderr():
        thread.start()
        inside.wait(10)
        os.write(2, b"hushed\n")
    leave.set()
    thread.join()
    os.write(2, b"heard\n")
    assert capfd.readouterr().err == "heard\n"


def test_warnings_come_back_when_the_last_thread_leaves() -> None:
    inside, leave = threading.Event(), threading.Event()
    raised: list[BaseException] = []

    def other() -> None:
        try:
            with no_warnings():
                inside.set()
                leave.wait(10)
                warnings.warn("of a library", DeprecationWarning, stacklevel=1)
        except BaseException as error:  # noqa: BLE001 (told below)
            raised.append(error)

    thread = threading.Thread(target=other)
    with no_warnings():
        thread.start()
        inside.wait(10)
    leave.set()
    thread.join()
    assert not raised
    with pytest.raises(DeprecationWarning):
        warnings.warn("of one's own", DeprecationWarning, stacklevel=1)
