"""Text to speech by espeak-ng, where it is installed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from avatar3d.errors import UserError

MAX_CHARACTERS = 100_000
_SECONDS_A_CHARACTER = 0.02  # espeak-ng is some hundred times faster than speech
_WAV_HEADER_BYTES = 44
_INSTALL = (
    "install it (Debian, Ubuntu: apt-get install espeak-ng), or give a recording with --audio"
)


def speak_to_file(text: str, output: Path, language: str = "en-us") -> None:
    """Speak `text` into a WAV file. `language` is a voice of espeak-ng: en-us, de, fr-fr+f3, ..."""
    program = shutil.which("espeak-ng")
    if program is None:
        raise UserError(f"--text needs espeak-ng, which is not on this machine; {_INSTALL}")
    if not text.strip():
        raise UserError("--text is empty; give the words to be spoken")
    if len(text) > MAX_CHARACTERS:
        raise UserError(
            f"--text has {len(text):,} characters, expected at most {MAX_CHARACTERS:,}; split it"
        )
    if not language or language.startswith("-"):
        raise UserError(f"there is no voice {language!r}; `espeak-ng --voices` lists them")
    command = [program, "-v", language, "-w", str(output), "--stdin"]
    try:
        done = subprocess.run(
            command,
            input=text.encode(),
            capture_output=True,
            timeout=20 + _SECONDS_A_CHARACTER * len(text),
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise UserError(
            f"espeak-ng did not finish with the text in {language!r} within "
            f"{20 + _SECONDS_A_CHARACTER * len(text):.0f} s; give a shorter text, or a recording "
            "with --audio"
        ) from None
    said = done.stderr.decode("utf-8", "replace").strip().splitlines()
    # An unknown voice is an error on stderr only: it goes on with another one.
    refused = done.returncode != 0 or any("does not exist" in line for line in said)
    if refused or not output.is_file() or output.stat().st_size <= _WAV_HEADER_BYTES:
        why = said[-1] if said else f"it ended with {done.returncode}"
        raise UserError(
            f"espeak-ng could not speak with the voice {language!r} ({why}); `espeak-ng --voices` "
            "lists them"
        )
