"""The HLS of one stream: its renditions, what a player is told of them, and where the timeline broke."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Iterable
from pathlib import Path

from .playlists import Rendition, Segment, master, replace

REWRITE = 0.1  # by how much a bitrate must have changed for the master to tell it again
MOST_BREAKS = 1000  # breaks of the timeline that are remembered; older ones are in no playlist any more


class Package:
    """Writes playlists under *folder*. Times are ms of the stream's timeline; *wall* is seconds since 1970."""

    def __init__(self, folder: Path, order: list[str], length: int, target: int) -> None:
        """Begin in an empty folder; renditions come in the *order* of their names and list *length* segments."""
        self.folder = folder
        self.began = int(time.time())
        self.order = order
        self.length = length
        self.target = target
        self.frame_rate = 0.0
        self.renditions: dict[str, Rendition] = {}
        self._breaks: list[int] = []
        self._broke = 0  # how many breaks there were in all
        self._walls: list[tuple[int, float]] = []
        self._told: dict[str, tuple[int, int, int, int, str]] = {}
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o755)

    def anchor(self, moment: int, wall: float) -> None:
        """Say that what lies at *moment* was sent at *wall*."""
        self._walls = [*self._walls[-MOST_BREAKS:], (moment, wall - moment / 1000)]

    def broke(self, moment: int) -> None:
        """Say that what comes at *moment* does not follow what came before."""
        if not self._breaks or moment > self._breaks[-1]:
            self._breaks = [*self._breaks[-MOST_BREAKS:], moment]
            self._broke += 1

    def wall(self, moment: int) -> float:
        """Return when (seconds since 1970) what lies at *moment* was sent."""
        known = [wall for at, wall in self._walls if at <= moment + 50]
        return moment / 1000 + (known[-1] if known else self._walls[0][1])

    def part(self, moment: int) -> int:
        """Return how many breaks lie before what begins at *moment*."""
        return self._broke - sum(at > moment + 50 for at in self._breaks)

    def folder_of(self, name: str) -> Path:
        """Return the folder of the rendition *name*, which is made."""
        folder = self.folder / name
        folder.mkdir(mode=0o755, exist_ok=True)
        return folder

    def next_number(self, names: Iterable[str]) -> int:
        """Return the number of the next segment of the renditions *names*: they count on, also beyond a restart."""
        return self.began + max((self.renditions[name].count for name in names if name in self.renditions), default=0)

    def describe(self, name: str, width: int, height: int, codecs: str) -> None:
        """Say what the rendition *name* holds from now on."""
        rendition = self.renditions.get(name)
        if rendition is None:
            rendition = Rendition(name, self.folder_of(name), self.length, self.began)
            self.renditions[name] = rendition
        rendition.width, rendition.height, rendition.codecs = width, height, codecs

    def add(self, name: str, file: str, start: int, end: int) -> None:
        """List *file* of the rendition *name*, which lasts from *start* to *end*."""
        rendition = self.renditions[name]
        size = (rendition.folder / file).stat().st_size
        rendition.add(Segment(file, start / 1000, (end - start) / 1000, self.wall(start), self.part(start), size))
        target = max(self.target, math.floor((end - start) / 1000 + 0.5))
        others = self.renditions.values() if target > self.target else [rendition]
        self.target = target
        for one in others:
            if one.segments:
                one.write(target)
        self.tell()

    def drop(self, name: str) -> None:
        """Offer the rendition *name* no more: who plays it finds its playlist gone, and another in the master."""
        if self.renditions.pop(name, None):
            self.tell()
            shutil.rmtree(self.folder / name, ignore_errors=True)

    def offered(self) -> list[Rendition]:
        """Return the renditions that can be played, in order."""
        playable = [r for r in self.renditions.values() if r.segments]
        return sorted(playable, key=lambda r: self.order.index(r.name) if r.name in self.order else len(self.order))

    def tell(self) -> None:
        """Write the master playlist when something has changed that a player should know."""
        offered = self.offered()
        now = {r.name: (r.peak, r.average, r.width, r.height, r.codecs) for r in offered}
        if list(now) == list(self._told) and all(_alike(now[name], self._told[name]) for name in now):
            return
        self._told = now
        if offered:
            replace(self.folder / "index.m3u8", master(offered, self.frame_rate))
        else:
            (self.folder / "index.m3u8").unlink(missing_ok=True)

    def end(self) -> None:
        """End all playlists."""
        for rendition in self.offered():
            rendition.ended = True
            rendition.write(self.target)


def _alike(now: tuple[int, int, int, int, str], told: tuple[int, int, int, int, str]) -> bool:
    """Tell whether a player may go on believing what it was *told*."""
    return now[2:] == told[2:] and all(abs(a - b) <= REWRITE * b for a, b in zip(now[:2], told[:2], strict=True))
