"""Whether streams that go on for hours leak.

`./streamkeep test --media images/ffmpeg/tests/live/soak.py -s --minutes 60` publishes three streams and prints each
minute what the supervisor and all that it has started hold: memory (MiB), open files, threads, and what lies in the HLS
folder (MiB). What they hold at the end may not be more than they held after a tenth of the time, but for what a segment
that is being written takes; and nothing may have died meanwhile.
"""

from __future__ import annotations

import time
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import House

ROWS = ("full_rate", "wrap_24_bit", "keyframes_of_obs")
MEMORY_SLACK, FILES_SLACK, THREADS_SLACK = 1.1, 6, 2  # a factor, files, and threads that answer somebody just then


@dataclass(frozen=True)
class Held:
    """What a family of processes holds. *pids* are those that last; memory and *hls* are MiB."""

    pids: frozenset[int]
    memory: float
    files: int
    threads: int
    hls: float

    def __str__(self) -> str:
        processes = f"{len(self.pids)} processes, {self.memory:.1f} MiB, {self.files} files, {self.threads} threads"
        return f"{processes}, {self.hls:.1f} MiB of HLS"


def family(root: int) -> list[Path]:
    """Return the folders under /proc of *root* and all its descendants."""
    children = defaultdict(list)
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            children[int((folder / "stat").read_text().rpartition(")")[2].split()[1])].append(int(folder.name))
        except (FileNotFoundError, ProcessLookupError):
            continue
    found, left = [], [root]
    while left:
        pid = left.pop()
        found.append(Path(f"/proc/{pid}"))
        left += children[pid]
    return found


def held(house: House, pid: int) -> Held:
    """Return what the supervisor *pid* and its descendants hold; one that ends meanwhile holds nothing."""
    memory, files, threads, pids = 0, 0, 0, set()
    for folder in family(pid):
        try:
            lines = (folder / "status").read_text().splitlines()
            told = dict(line.split(":", 1) for line in lines if ":" in line)
            files += len(list((folder / "fd").iterdir()))
        except (FileNotFoundError, ProcessLookupError):
            continue
        memory += int(told.get("VmRSS", "0 kB").split()[0])
        threads += int(told["Threads"])
        pids.add(int(folder.name))
    size = 0
    for file in house.hls.rglob("*"):
        with suppress(FileNotFoundError):  # the oldest segment goes whenever a new one comes
            size += file.stat().st_size
    return Held(frozenset(pids), memory / 1024, files, threads, size / (1 << 20))


@pytest.mark.timeout(0)  # as long as --minutes says; the container has an end of its own
def test_nothing_leaks(house: House, request: pytest.FixtureRequest) -> None:
    minutes = request.config.getoption("--minutes")
    supervisor = house.supervise()
    publishers = {row: house.send(row, seconds=60 * minutes + 600) for row in ROWS}
    began = time.monotonic()
    for row in ROWS:
        house.eventually(lambda row=row: ".ts" in house.playlist(row), 60, f"{row} plays")
    base = None
    for minute in range(1, minutes + 1):
        time.sleep(max(0.0, began + minute * 60 - time.monotonic()))
        now = held(house, supervisor.pid)
        print(f"minute {minute}: {now}", flush=True)
        if minute >= minutes / 10 and base is None:
            base = now
        assert all(publisher.running for publisher in publishers.values()), "each is still published"
    assert base
    assert now is not base, "--minutes is 2 at least"
    assert now.memory <= base.memory * MEMORY_SLACK
    assert now.files <= base.files + FILES_SLACK
    assert now.threads <= base.threads + THREADS_SLACK
    assert supervisor.pid in now.pids
    assert len(base.pids & now.pids) >= 1 + len(ROWS), "what packages each stream lives as long as it"
    assert [line for line in house.log() if "traceback" in line] == []
