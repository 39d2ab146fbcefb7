"""How much a publisher sends, computed from the bytes that nginx-rtmp counted.

Its own `bw_in` is an average over half a minute that changes each half minute.
"""

from __future__ import annotations

from collections import deque

WINDOW = 10.0  # seconds over which a bitrate is averaged; a keyframe's burst is no excess
SHORTEST_WINDOW = 2.0  # seconds; from less nothing is told


class Meter:
    """Counts what one session sends."""

    def __init__(self) -> None:
        self._marks: deque[tuple[float, int]] = deque()
        self._moved: float | None = None

    def count(self, received: int, moment: float) -> int:
        """Take the counter *received* (bytes) at *moment* (seconds) and return how many bytes came since the last time.

        A counter that went back began anew.
        """
        if self._marks and received < self._marks[-1][1]:
            self._marks.clear()
        came = received - self._marks[-1][1] if self._marks else 0
        self._marks.append((moment, received))
        if came or self._moved is None:
            self._moved = moment
        while len(self._marks) > 1 and moment - self._marks[1][0] >= WINDOW:
            self._marks.popleft()
        return came

    def silent(self, moment: float) -> float:
        """Return for how many seconds nothing had come at *moment*, as far as anybody looked."""
        if self._moved is None:
            self._moved = moment
        return moment - self._moved

    @property
    def seconds(self) -> float:
        """The time that the bitrate is an average of."""
        return self._marks[-1][0] - self._marks[0][0] if self._marks else 0.0

    @property
    def kbps(self) -> int:
        """The bitrate in kbit/s, over WINDOW where there is so much; 0 at the very beginning."""
        if self.seconds < SHORTEST_WINDOW:
            return 0
        return round((self._marks[-1][1] - self._marks[0][1]) * 8 / self.seconds / 1000)
