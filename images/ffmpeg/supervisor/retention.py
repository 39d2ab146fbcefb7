"""The recordings' disk: what is old goes, then the oldest until all fit and the disk has room."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from .live import RECORDING

MEGABYTE = 1 << 20


@dataclass(frozen=True)
class Limits:
    """How much may be kept. *free* is what the filesystem must have left; sizes are bytes."""

    days: int
    total: int
    free: int


@dataclass(frozen=True)
class File:
    """A recording on the disk. *changed* is seconds since 1970."""

    path: Path
    changed: float
    size: int


def recordings(root: Path) -> list[File]:
    """Return what lies under *root*, oldest first; whatever else lies there is not ours to touch."""
    found = []
    for path in root.glob("*/*.mp4"):
        if RECORDING.fullmatch(str(path.relative_to(root))) and not path.is_symlink():
            with suppress(FileNotFoundError):  # a recorder removes a file that it could not begin
                status = path.stat()
                found.append(File(path, status.st_mtime, status.st_size))
    return sorted(found, key=lambda file: file.changed)


def free_bytes(root: Path) -> int:
    """Return what the filesystem of *root* has left for us."""
    status = os.statvfs(root)
    return status.f_bavail * status.f_frsize


def discard(root: Path, wishes: Collection[str]) -> Iterator[str]:
    """Remove the recordings *wishes* (paths under *root*) and yield those that were there."""
    for wish in wishes:
        path = root / wish
        if path.is_file():
            _remove(path)
            yield wish


def keep_within(root: Path, limits: Limits, writing: Collection[Path]) -> Iterator[tuple[Path, str]]:
    """Remove what is more than *limits* allow, but nothing that is being written; yield (file, why)."""
    oldest = time.time() - limits.days * 86_400
    files = recordings(root)
    total = sum(file.size for file in files)
    free = free_bytes(root)
    for file in files:
        if file.path in writing:
            continue
        if file.changed < oldest:
            reason = "age"
        elif total > limits.total:
            reason = "size"
        elif free < limits.free:
            reason = "disk"
        else:
            break
        _remove(file.path)
        total -= file.size
        free += file.size
        yield file.path, reason


def fits(root: Path, limits: Limits) -> bool:
    """Tell whether there is room to write more."""
    return free_bytes(root) >= limits.free and sum(file.size for file in recordings(root)) <= limits.total


def _remove(path: Path) -> None:
    """Remove a recording, and its folder with the last one."""
    path.unlink(missing_ok=True)
    with suppress(OSError):  # others lie there, or come at this moment
        path.parent.rmdir()
