"""Where the web server's workers count for Prometheus: in files that are bounded, whole from the start, and in no way.

prometheus_client makes files for each process that ever was, and lets them grow while it writes to them by mmap(2):
when the disk is full, the kernel kills the process that writes (SIGBUS), and whoever comes after it at the start. Here

- a worker takes a place, and whoever comes after it goes on with the files of that place: there are never more;
- a file gets all of its room when the place is taken, so that none can be missing later;
- a number that finds no room, or no file, is kept in memory. It is missing from the scrapes, and nothing else happens.

Counter and Histogram are taken from here, so that none is made before they know where to count.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Any

from prometheus_client import Counter as Counter
from prometheus_client import Histogram as Histogram
from prometheus_client import values
from prometheus_client.mmap_dict import MmapedDict, mmap_key

from .events import log

FOLDER = "PROMETHEUS_MULTIPROC_DIR"  # where prometheus_client looks for the name of the folder
# Bytes by kind of metric. test_metrics.py says that they are enough.
ROOM = {"counter": 64 * 1024, "histogram": 4 * 1024 * 1024, "gauge_max": 64 * 1024}


class Numbers(MmapedDict):
    """A file of numbers by name, which does not grow."""

    def __init__(self, path: Path, room: int) -> None:
        _reserve(path, room)
        super().__init__(str(path))  # type: ignore[no-untyped-call]  # prometheus_client types it not

    def takes(self, key: str) -> bool:
        """Tell whether there is room for *key*: its length, itself and what aligns it, and two doubles."""
        return key in self._positions or self._used + 4 + len(key.encode()) + 8 + 16 <= self._capacity


def _reserve(path: Path, room: int) -> None:
    """Give the file *path* its *room* (bytes) on the disk; one that can't be read begins anew.

    Raises:
        OSError: there is no such room.
    """
    if not _is_readable(path):
        path.unlink(missing_ok=True)
    with path.open("ab") as file:
        os.posix_fallocate(file.fileno(), 0, room)


def _is_readable(path: Path) -> bool:
    """Tell whether *path* holds numbers from its beginning to where it says that they end."""
    try:
        for key, *_ in MmapedDict.read_all_values_from_file(str(path)):  # type: ignore[no-untyped-call]  # as above
            json.loads(key)
    except Exception:  # whatever is wrong with it, as many kinds of error as there are kinds of damage
        return False
    return True


class Number:
    """One number of a metric, as prometheus_client's metrics want it."""

    _multiprocess = True

    def __init__(
        self,
        typ: str,
        metric_name: str,
        name: str,
        labelnames: Sequence[str],
        labelvalues: Sequence[str],
        help_text: str,
        multiprocess_mode: str = "",
        **_options: Any,
    ) -> None:
        self._kind = f"{typ}_{multiprocess_mode}" if multiprocess_mode else typ
        self._key = mmap_key(metric_name, name, list(labelnames), list(labelvalues), help_text)
        self._value = self._timestamp = 0.0
        self._file: Numbers | None = None
        _worker.keep(self)

    def settle(self, files: dict[str, Numbers]) -> None:
        """Go on in the file of *files* that is for this kind, from what it says; without room in memory."""
        file = files.get(self._kind)
        if file is None or not file.takes(self._key):
            return
        try:
            self._value, self._timestamp = file.read_value(self._key)  # type: ignore[no-untyped-call]  # as above
        except Exception:  # damaged since it was opened; metrics are never a reason not to serve
            log.exception("a metric is not counted: its file can't be used")
            return
        self._file = file

    def _write(self) -> None:
        """Let the other workers see the number."""
        if self._file is not None:
            self._file.write_value(self._key, self._value, self._timestamp)  # type: ignore[no-untyped-call]  # as above

    def inc(self, amount: float) -> None:
        """Add *amount*."""
        with _worker.lock:
            self._value += amount
            self._write()

    def set(self, value: float, timestamp: float | None = None) -> None:
        """Become *value* as of *timestamp*."""
        with _worker.lock:
            self._value, self._timestamp = value, timestamp or 0.0
            self._write()

    def get(self) -> float:
        """Return the number as this worker knows it."""
        return self._value

    def set_exemplar(self, exemplar: Any) -> None:
        """Forget *exemplar*: prometheus_client keeps none either where there are several workers."""

    def get_exemplar(self) -> None:
        """Return that there is none."""


class Worker:
    """The process that counts. The metrics that are there before it has a place wait for one."""

    def __init__(self) -> None:
        self.lock = Lock()
        self._files: dict[str, Numbers] | None = None
        self._waiting: list[Number] = []

    def keep(self, number: Number) -> None:
        """Find a place for *number*."""
        with self.lock:
            if self._files is None:
                self._waiting.append(number)
            else:
                number.settle(self._files)

    def take(self, place: int) -> None:
        """Count in the files of *place* from now on; where that can't be, in memory, which is said once."""
        files: dict[str, Numbers] = {}
        try:
            folder = Path(os.environ[FOLDER])
            files = {kind: Numbers(folder / f"{kind}_{place}.db", room) for kind, room in ROOM.items()}
        except Exception:  # metrics are never a reason not to serve
            log.exception("metrics are not counted: /tmp is full, or can't be written")
        with self.lock:
            self._files = files
            for number in self._waiting:
                number.settle(files)
            self._waiting.clear()


_worker = Worker()
take = _worker.take


if FOLDER in os.environ:
    values.ValueClass = Number
