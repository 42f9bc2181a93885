"""Avatars being made: few at a time, each in a process and a folder of its own, cleaned up after."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from viewer.job import ASSET, AVATAR

MAX_SECONDS = 900.0
_LONGEST_LINE = 1 << 16


@dataclass(frozen=True)
class Made:
    asset: bytes
    avatar: bytes


class Jobs:
    """Use from the server's own event loop."""

    def __init__(self, folder: Path, preset: str, head: str, limit: int = 1) -> None:
        self._folder, self._preset, self._head, self._limit = folder, preset, head, limit
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._claimed = 0

    def claim(self) -> Path | None:
        """An empty folder for a new job's photos, or None while enough are at work."""
        if len(self._tasks) + self._claimed >= self._limit:
            return None
        self._claimed += 1
        folder = self._folder / secrets.token_hex(8)
        folder.mkdir()
        return folder

    def abandon(self, folder: Path) -> None:
        """Give back what `claim` gave."""
        self._claimed -= 1
        shutil.rmtree(folder, ignore_errors=True)

    def start(
        self,
        folder: Path,
        progress: Callable[[str, str, float], None],
        done: Callable[[str, Made], None],
        failed: Callable[[str, str], None],
    ) -> str:
        """Make an avatar of the photos in a claimed folder; returns the job's name at once."""
        self._claimed -= 1
        job = folder.name

        async def run() -> None:
            try:
                made = await asyncio.wait_for(
                    self._make(folder, lambda stage, share: progress(job, stage, share)),
                    MAX_SECONDS,
                )
            except asyncio.CancelledError:
                failed(job, "Making the avatar was stopped.")
            except asyncio.TimeoutError:
                failed(
                    job, f"Making the avatar took more than {MAX_SECONDS:.0f} s and was stopped."
                )
            except _JobError as error:
                failed(job, str(error))
            else:
                done(job, made)
            finally:
                self._tasks.pop(job, None)
                shutil.rmtree(folder, ignore_errors=True)

        self._tasks[job] = asyncio.create_task(run())
        return job

    def cancel(self, job: str) -> None:
        task = self._tasks.get(job)
        if task is not None:
            task.cancel()

    async def close(self) -> None:
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _make(self, folder: Path, progress: Callable[[str, float], None]) -> Made:
        log = folder / "log.txt"
        with open(log, "wb") as errors:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "viewer.job", str(folder), self._preset, self._head,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
                limit=_LONGEST_LINE,
                start_new_session=True,
            )  # fmt: skip
        try:
            assert process.stdout is not None
            sentence = None
            async for line in process.stdout:
                said = json.loads(line)
                sentence = said.get("error", sentence)
                if "stage" in said:
                    progress(said["stage"], said["share"])
            if await process.wait() != 0:
                raise _JobError(sentence or f"Making the avatar failed ({_last_line(log)}).")
        finally:
            # Also what it may have started; a finished one has no group any more.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
        return Made((folder / ASSET).read_bytes(), (folder / AVATAR).read_bytes())


class _JobError(Exception):
    """Said to the page."""


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1][:300] if lines else "it said nothing"
