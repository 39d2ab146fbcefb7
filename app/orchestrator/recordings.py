"""Recordings: files that ffmpeg's supervisor writes and removes; here they are found, and asked to be removed."""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import select

from .clock import now
from .database import db
from .models import Discard, StreamKey

FILE = re.compile(r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\dZ\.mp4")
STARTED = "%Y-%m-%dT%H-%M-%SZ.mp4"


@dataclass(frozen=True)
class Recording:
    """One file. *size* is bytes."""

    slug: str
    file: str
    started_at: datetime
    size: int

    @property
    def path(self) -> str:
        """Where it lies under the folder of recordings."""
        return f"{self.slug}/{self.file}"


def discarded() -> set[str]:
    """Return the paths of the files that are to go."""
    return set(db.session.scalars(select(Discard.path)))


def of(keys: Iterable[StreamKey], root: Path) -> list[Recording]:
    """Return the recordings under *root* of the streams of *keys*, newest first, without those that are to go."""
    gone = discarded()
    found = [recording for key in keys for recording in _in_folder(root, key.slug) if recording.path not in gone]
    return sorted(found, key=lambda recording: (recording.started_at, recording.slug), reverse=True)


def find(slug: str, file: str, root: Path) -> Recording | None:
    """Return the recording *file* of *slug*."""
    if not FILE.fullmatch(file) or f"{slug}/{file}" in discarded():
        return None
    return next((recording for recording in _in_folder(root, slug) if recording.file == file), None)


def _in_folder(root: Path, slug: str) -> list[Recording]:
    """Return the recordings of *slug*; a file that goes while we look is none."""
    found = []
    with suppress(FileNotFoundError):
        for path in (root / slug).iterdir():
            with suppress(FileNotFoundError, ValueError):
                started = datetime.strptime(path.name, STARTED)
                if FILE.fullmatch(path.name):
                    found.append(Recording(slug, path.name, started, path.stat().st_size))
    return found


def discard(recording: Recording) -> None:
    """Let the supervisor remove *recording*; from now on it is not shown any more."""
    db.session.merge(Discard(path=recording.path, at=now()))
    db.session.commit()


def discard_all(slug: str, root: Path) -> None:
    """Let the supervisor remove all recordings of *slug*: who uses the name next is somebody else."""
    for recording in _in_folder(root, slug):
        discard(recording)


def forget_discarded(root: Path) -> None:
    """Forget the wishes that the supervisor has fulfilled."""
    for wish in db.session.scalars(select(Discard)):
        if not (root / wish.path).exists():
            db.session.delete(wish)
    db.session.commit()
