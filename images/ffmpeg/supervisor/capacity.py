"""How much this host can still encode, and whose renditions are left out when it is too much.

Who copies comes first: renditions are left out, the newest stream's first, when encoders fall behind, and come back,
the oldest first, when the processors have had room for a while.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

SPARE = 0.1  # of the processors, which stay free
USUAL_ENCODER = 0.35  # cores that an encoder takes, before any was measured
CARRYING = 0.04  # cores that a stream takes from the proxy to its segments, all containers together
STREAM_BYTES = 60 << 20  # bytes of segments, of a stream of 6 Mbit/s
BEHIND = 5.0  # seconds
ROUNDS = 2  # in a row, before an overload is believed
SETTLES = 8.0  # seconds after which an encoder's load is part of what is measured
CALM = 8.0  # seconds of room, before renditions come back
MOST = 999


@dataclass(frozen=True)
class Encoding:
    """A stream that is encoded, or would be. *began* is seconds of a steady clock, *lag* is seconds."""

    began: float
    pid: int | None
    lag: float | None


class Processors:
    """Measures the machine: cores that are idle, and what processes take."""

    def __init__(self, root: Path = Path("/proc")) -> None:
        self._root = root
        self._before: tuple[int, int] | None = None
        self._processes: dict[int, int] = {}
        self._tick = os.sysconf("SC_CLK_TCK")
        self.cores = os.cpu_count() or 1
        self.idle = float(self.cores)  # cores
        self.encoder = USUAL_ENCODER  # cores that one encoder takes

    def measure(self, pids: list[int], seconds: float) -> None:
        """Measure what passed since the last time, *seconds* ago (proc(5): stat)."""
        fields = [int(field) for field in (self._root / "stat").read_text().split("\n", 1)[0].split()[1:9]]
        now = sum(fields), fields[3] + fields[4]
        if self._before and now[0] > self._before[0]:
            self.idle = self.cores * (now[1] - self._before[1]) / (now[0] - self._before[0])
        self._before = now
        taken = {pid: ticks for pid in pids if (ticks := self._ticks(pid)) is not None}
        known = [taken[pid] - self._processes[pid] for pid in taken if pid in self._processes]
        self._processes = taken
        if known and seconds > 0:
            measured = sum(known) / len(known) / self._tick / seconds
            self.encoder += (max(measured, 0.02) - self.encoder) / 4  # a keyframe's burst is no trend

    def _ticks(self, pid: int) -> int | None:
        """Return what the process *pid* has taken, or None where it has gone."""
        try:
            text = (self._root / str(pid) / "stat").read_text()
        except OSError:
            return None
        fields = text.rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    @property
    def room(self) -> float:
        """The cores that may still be used."""
        return self.idle - SPARE * self.cores


class Capacity:
    """Decides who may encode. Times are seconds of a steady clock."""

    def __init__(self, processors: Processors, *, sheds: bool = True) -> None:
        """Measure by *processors*; nothing is ever left out unless it *sheds*."""
        self.processors = processors
        self._sheds = sheds
        self._active = 0  # encoders whose load has been measured
        self.shed: set[str] = set()
        self._overloaded = 0
        self._calm_since: float | None = None
        self._begun: list[float] = []  # when encoders began whose load is not measured yet
        self._measured: float | None = None

    def admits(self, now: float) -> bool:
        """Tell whether one more stream may be encoded, and if so remember that it will be.

        Counted is what encoders take, not how busy the machine is: a newcomer is left out when it is too much for all
        processors, and otherwise when it turns out so.
        """
        self._begun = [moment for moment in self._begun if now - moment < SETTLES]
        encoders = self._active + len(self._begun) + 1
        if not self._sheds or (not self.shed and encoders * self.processors.encoder < self.processors.cores):
            self._begun.append(now)
            return True
        return False

    def judge(self, streams: Mapping[str, Encoding], now: float) -> None:
        """Decide anew for *streams* by slug."""
        self.shed &= streams.keys()
        active = {slug: one for slug, one in streams.items() if slug not in self.shed}
        pids = [one.pid for one in active.values() if one.pid is not None]
        self._active = sum(one.pid is not None and now - one.began >= SETTLES for one in active.values())
        self.processors.measure(pids, now - self._measured if self._measured is not None else 0.0)
        self._measured = now
        behind = any((one.lag or 0.0) > BEHIND for one in active.values())
        self._overloaded = self._overloaded + 1 if behind else 0
        if self._sheds and self._overloaded >= ROUNDS:
            newest = sorted(active, key=lambda slug: active[slug].began)
            self.shed |= set(newest[-(1 + len(newest) // 4) :])
            self._overloaded, self._calm_since = 0, None
            return
        self._bring_back(streams, now)

    def _bring_back(self, streams: Mapping[str, Encoding], now: float) -> None:
        """Let the oldest that is left out be encoded again when there has been room for a while."""
        if not self.shed or self.processors.room < 1.25 * self.processors.encoder:
            self._calm_since = None
            return
        self._calm_since = now if self._calm_since is None else self._calm_since
        if now - self._calm_since >= CALM:
            self.shed.discard(min(self.shed, key=lambda slug: streams[slug].began))
            self._calm_since = now

    def told(self, hls_root: Path) -> dict[str, int]:
        """Return what an operator is told: how many more streams this host can encode and carry, and its load."""
        room = max(0.0, self.processors.room)
        disk = os.statvfs(hls_root)
        memory = disk.f_bavail * disk.f_frsize // STREAM_BYTES
        idle = self.processors.idle / self.processors.cores
        return {
            "encode_more": min(MOST, int(room / self.processors.encoder), memory),
            "carry_more": min(MOST, int(room / CARRYING), memory),
            "load_percent": max(0, min(100, round(100 * (1 - idle)))),
        }
