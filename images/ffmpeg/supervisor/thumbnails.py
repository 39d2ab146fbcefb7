"""A picture of each live stream, taken now and then from its newest segment by a program that ends at once."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

from .child import DIES_WITH_US
from .ffmpeg import thumbnail_command
from .log import note

EVERY = 10.0  # seconds
LONGEST = 5.0  # seconds that one picture may take
NAME = "thumbnail.jpg"


def newest_segment(folder: Path, rendition: str) -> Path | None:
    """Return the newest segment of *rendition* under *folder* that is complete."""
    # ffmpeg writes under another name until a segment is complete; the names sort by number.
    return max((folder / rendition).glob("*.ts"), default=None, key=lambda path: path.name)


def take(folder: Path, rendition: str) -> bool:
    """Take a picture of the stream in *folder*, put it there in one step, and tell whether that succeeded."""
    segment = newest_segment(folder, rendition)
    if segment is None:
        return False
    unfinished = folder / f".{NAME}"
    command = [*DIES_WITH_US, *thumbnail_command(segment, unfinished)]
    try:
        subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=LONGEST, check=True)
        unfinished.replace(folder / NAME)
    except (subprocess.SubprocessError, OSError):
        return False
    return True


class Thumbnailer(threading.Thread):
    """Takes pictures of all *folders*, one after the other, from the given rendition."""

    def __init__(self, folders: Callable[[], Iterable[Path]], rendition: str) -> None:
        super().__init__(name="thumbnails", daemon=True)
        self._folders = folders
        self._rendition = rendition
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Take no more."""
        self._stopping.set()

    def run(self) -> None:
        """Take pictures until told to stop; a stream that has none for a second time is said once."""
        rounds_without: dict[Path, int] = {}
        while not self._stopping.wait(EVERY):
            missing = [folder for folder in self._folders() if not take(folder, self._rendition)]
            rounds_without = {folder: rounds_without.get(folder, 0) + 1 for folder in missing}
            for folder in (folder for folder, rounds in rounds_without.items() if rounds == 2):
                note("thumbnail", slug=folder.name, result="none")
