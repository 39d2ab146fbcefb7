"""Recordings: files that ffmpeg's supervisor writes and removes; here they are found, and asked to be removed."""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import select

from ..models import Discard, StreamKey
from ..site.clock import now
from ..site.database import db

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


def of(keys: Iterable[StreamKey], root: Path, page: int = 1, size: int = 50) -> tuple[list[Recording], int]:
    """Return page *page* (from 1, of *size*) of the recordings of the streams of *keys*, newest first, and their count.

    Those that are to go are left out. A file's name says when it began, so only those of the page are looked at.
    """
    gone = discarded()
    found = [(*one, key.slug) for key in keys for one in _files(root, key.slug) if f"{key.slug}/{one[1]}" not in gone]
    shown = sorted(found, reverse=True)[(page - 1) * size : page * size]
    read = [_read(root, slug, file, started) for started, file, slug in shown]
    return [recording for recording in read if recording is not None], len(found)


def find(slug: str, file: str, root: Path) -> Recording | None:
    """Return the recording *file* of *slug*."""
    if not FILE.fullmatch(file) or f"{slug}/{file}" in discarded():
        return None
    return next((_read(root, slug, name, started) for started, name in _files(root, slug) if name == file), None)


def _files(root: Path, slug: str) -> list[tuple[datetime, str]]:
    """Return (when it began, its name) of each recording of *slug*."""
    found = []
    with suppress(FileNotFoundError):
        for path in (root / slug).iterdir():
            with suppress(ValueError):
                started = datetime.strptime(path.name, STARTED)
                if FILE.fullmatch(path.name):
                    found.append((started, path.name))
    return found


def _read(root: Path, slug: str, file: str, started: datetime) -> Recording | None:
    """Return the recording *file* of *slug*; one that goes while we look is none."""
    try:
        return Recording(slug, file, started, (root / slug / file).stat().st_size)
    except FileNotFoundError:
        return None


def download_headers(recording: Recording) -> dict[str, str]:
    """Return the headers with which the proxy sends *recording* in the place of an empty answer."""
    return {
        "Content-Type": "video/mp4",
        "Content-Disposition": f'attachment; filename="{recording.slug}-{recording.file}"',
        "X-Accel-Redirect": f"/recordings/{recording.path}",
    }


def discard(recording: Recording) -> None:
    """Let the supervisor remove *recording*; from now on it is not shown any more."""
    db.session.merge(Discard(path=recording.path, at=now()))
    db.session.commit()


def discard_all(slug: str, root: Path) -> None:
    """Let the supervisor remove all recordings of *slug*, whose next user is somebody else; the caller commits."""
    for _started, file in _files(root, slug):
        db.session.merge(Discard(path=f"{slug}/{file}", at=now()))


def forget_discarded(root: Path) -> None:
    """Forget the wishes that the supervisor has fulfilled."""
    for wish in db.session.scalars(select(Discard)):
        if not (root / wish.path).exists():
            db.session.delete(wish)
    db.session.commit()
