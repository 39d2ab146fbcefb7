"""Run programs of the host, and end with one sentence where something fails."""

from __future__ import annotations

import subprocess
from typing import Any

# By this path others call back: systemd's timers, certbot's hook.
COMMAND = "/usr/local/sbin/streamkeep-host"


class Failure(Exception):
    """Ends the command with *status* and one sentence; with none, where a program has said what is wrong."""

    def __init__(self, sentence: str = "", status: int = 1) -> None:
        """Keep both."""
        super().__init__(sentence)
        self.status = status


def failed(status: int) -> Failure:
    """Return the failure of a program that has said what is wrong, by its *status* as subprocess tells it."""
    if status == 255:  # by which ssh says that it has failed itself
        return Failure(status=1)
    return Failure(status=status if status > 0 else 128 - status)  # as a shell counts what a signal ended


def run(*words: str, check: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a program; what it says goes where ours goes, unless *options* of subprocess.run say otherwise.

    Raises:
        Failure: it is not installed, or, with *check*, it failed; then by its status.
    """
    try:
        done = subprocess.run(words, check=False, text=True, encoding="utf-8", errors="replace", **options)
    except FileNotFoundError as missing:
        raise Failure(f"{missing.filename} is not there: deploy again.", 127) from missing
    if check and done.returncode:
        raise failed(done.returncode)
    return done


def output(*words: str, **options: Any) -> str:
    """Return what a program prints, without the last line's end; its complaints go where ours go."""
    return run(*words, stdout=subprocess.PIPE, **options).stdout.rstrip("\n")
