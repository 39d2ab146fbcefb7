"""From the publisher's clock to ours: a timeline that never leaps, whatever the timestamps do.

RTMP's timestamps are the encoder's own. They begin anywhere, wrap at 32 bits, and leap when an encoder's clock is set,
a file begins anew, or somebody means harm. Here each kind of message has an origin that moves when it leaps, so that
what comes out follows what went before; pictures and sound that leap by as much keep their distance to each other.
"""

from __future__ import annotations

from dataclasses import dataclass

from .rtmp import AUDIO, VIDEO

FORWARD = 3000  # ms that a message may be ahead of what has passed on our clock
BACKWARD = 500  # ms
APART = 3000  # ms; sound and picture that begin further apart than this are brought together
TOGETHER = 1500  # ms; leaps of both kinds that differ by no more are one leap
USUAL = {VIDEO: 33, AUDIO: 23}  # ms from one message to the next, where nothing tells it


@dataclass
class _Track:
    """One kind of message: its last timestamp, when it came, where it lies on our timeline, and the usual distance."""

    raw: int
    arrived: float
    origin: int
    step: int


class Timeline:
    """Gives each message its place. All times are milliseconds, but *now*, which is seconds of a steady clock."""

    def __init__(self) -> None:
        self._tracks: dict[int, _Track] = {}
        self._last_leap: tuple[float, int] | None = None
        self.leaps = 0
        self.leapt_by = 0
        self.apart = 0

    def place(self, kind: int, raw: int, now: float) -> tuple[int, bool]:
        """Return (where a message of *kind* lies, whether the stream's timestamps leapt here)."""
        track = self._tracks.get(kind)
        if track is None:
            track = self._tracks[kind] = self._first(kind, raw, now)
            return track.raw - track.origin, False
        distance = raw - track.raw
        waited = (now - track.arrived) * 1000
        leapt = False
        if distance < -BACKWARD or distance > waited + FORWARD:
            leapt = self._move(track, distance, now)
        elif 0 < distance < 500:
            track.step = distance
        track.raw, track.arrived = raw, now
        return raw - track.origin, leapt

    def _first(self, kind: int, raw: int, now: float) -> _Track:
        """Return the track of the first message of *kind*: beside the other kind, unless that is far away."""
        other = next(iter(self._tracks.values()), None)
        if other is None:
            return _Track(raw, now, raw, USUAL[kind])
        beside = other.raw + round((now - other.arrived) * 1000)
        self.apart = raw - beside if kind == AUDIO else beside - raw
        if abs(self.apart) <= APART:
            return _Track(raw, now, other.origin, USUAL[kind])
        return _Track(raw, now, raw - (beside - other.origin), USUAL[kind])

    def _move(self, track: _Track, distance: int, now: float) -> bool:
        """Move the origin of *track*, which leapt by *distance*; tell whether the other kind did not do so before."""
        by = distance - track.step
        last = self._last_leap
        together = last is not None and now - last[0] < 5 and abs(last[1] - by) < TOGETHER
        if last and together:
            by = last[1]  # both keep their distance to each other
            self._last_leap = None
        else:
            self.leaps += 1
            self.leapt_by = distance
            self._last_leap = (now, by)
        track.origin += by
        return not together
