"""A program that runs for one live stream: a thread that starts it, and starts it again when it dies."""

from __future__ import annotations

import subprocess
import threading
import time
import traceback
from abc import ABC, abstractmethod
from collections import deque
from typing import Protocol

from .log import note

GRACE = 8.0  # seconds that ffmpeg gets to write the end of what it writes
SLOWEST_RETRY = 10.0  # seconds
LASTS = 30.0  # seconds after which a program was no failure, so that the next try comes soon
LAST_WORDS = 3  # lines of ffmpeg's complaints that are kept
LONGEST_LINE = 500  # characters
# The kernel ends a child whose parent was killed (prctl(2), PR_SET_PDEATHSIG). Parent is the thread that started it: a
# stream's thread waits for its child, so it never goes first.
DIES_WITH_US = ("setpriv", "--pdeathsig", "KILL")


def last_words(process: subprocess.Popen[str], lines: int = LAST_WORDS) -> list[str]:
    """Wait for *process* and return the last *lines* that it complained with.

    A broken source makes ffmpeg complain with each frame, for hours: no more than the end is kept in memory.
    """
    assert process.stderr  # noqa: S101  # tells mypy what Popen was called with
    kept: deque[str] = deque(maxlen=lines)
    while line := process.stderr.readline(LONGEST_LINE):
        kept.append(line.rstrip())
    process.stderr.close()
    process.wait()
    return list(kept)


class Program(Protocol):
    """What runs. To end what has ended already does nothing."""

    def terminate(self) -> None:
        """Ask it to end."""

    def kill(self) -> None:
        """End it."""


class Child(ABC):
    """Runs until `stop`. Subclasses say in `_once` what is run; *event* is what the log calls it."""

    event = "stream"
    first_retry = 1.0  # seconds
    slowest_retry = SLOWEST_RETRY

    def __init__(self, slug: str, session: str) -> None:
        self.slug = slug
        self.session = session
        self._stopping = threading.Event()
        self._asked = 0.0
        self._process: Program | None = None
        self._thread = threading.Thread(target=self._run, name=slug, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ask the program to write the end and go; asked again after GRACE, it is killed."""
        process = self._process
        if not self._stopping.is_set():
            self._asked = time.monotonic()
            self._stopping.set()
            if process:
                process.terminate()
        elif process and time.monotonic() - self._asked > GRACE:
            process.kill()

    def join(self) -> None:
        """Wait until the program has gone, GRACE after it was asked at the latest."""
        self._thread.join(max(0.0, self._asked + GRACE - time.monotonic()))
        if self._thread.is_alive():
            self._asked = 0.0
            self.stop()
            self._thread.join()

    @property
    def ended(self) -> bool:
        """Whether nothing of this runs any more."""
        return not self._thread.is_alive()

    @property
    def stopping(self) -> bool:
        """Whether it was asked to end."""
        return self._stopping.is_set()

    @abstractmethod
    def _once(self) -> None:
        """Run the program until it ends."""

    def _run(self) -> None:
        """Run until told to stop."""
        wait = self.first_retry / 2
        while not self._stopping.is_set():
            began = time.monotonic()
            try:
                self._once()
            except Exception:  # a full disk, no more processes, a fault: others go on, this one tries again
                note(self.event, slug=self.slug, result="failed", traceback=traceback.format_exc())
            lasted = time.monotonic() - began > LASTS
            wait = self.first_retry if lasted else min(wait * 2, self.slowest_retry)
            self._stopping.wait(wait)

    def _spawn(
        self, command: list[str], stdout: int, stderr: int, stdin: int = subprocess.DEVNULL
    ) -> subprocess.Popen[str]:
        """Start *command*, known to `stop` from its first moment."""
        process = subprocess.Popen(
            [*DIES_WITH_US, *command], stdin=stdin, stdout=stdout, stderr=stderr, text=True, errors="replace"
        )
        self._adopt(process)
        return process

    def _adopt(self, process: Program) -> None:
        """Let `stop` know *process*."""
        self._process = process
        if self._stopping.is_set():
            process.terminate()

    def kill(self) -> None:
        """End the program at once, whatever it was writing, and do not start it again."""
        self._stopping.set()
        process = self._process
        if process:
            process.kill()
