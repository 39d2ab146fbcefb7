"""Where HLS lies: public and private have a root each, so that no address of the one reaches the other."""

from __future__ import annotations

import shutil
import time
from collections.abc import Collection, Iterator
from pathlib import Path

from .live import SLUG

ROOTS = ("public", "private")


def folder_of(root: Path, slug: str, private: bool) -> Path:
    """Return the folder of the stream *slug*."""
    return root / ROOTS[private] / slug


def leave(root: Path, slug: str, private: bool) -> None:
    """Remove what *slug* has under the root for *private* streams, or for public ones."""
    shutil.rmtree(folder_of(root, slug, private), ignore_errors=True)


def make_roots(root: Path) -> None:
    """Make both roots, and remove what another version of this program left beside them."""
    for entry in root.iterdir():
        if entry.name not in ROOTS and SLUG.fullmatch(entry.name) and any(entry.rglob("*.m3u8")):
            shutil.rmtree(entry, ignore_errors=True)
    for name in ROOTS:
        (root / name).mkdir(mode=0o755, exist_ok=True)


def forget(root: Path, running: Collection[Path], seconds: float) -> Iterator[str]:
    """Remove the folders under *root*, but those *running*, that did not change for *seconds*; yield their slugs."""
    oldest = time.time() - seconds
    for folder in (folder for name in ROOTS for folder in (root / name).iterdir()):
        if folder not in running and SLUG.fullmatch(folder.name) and _last_change(folder) < oldest:
            shutil.rmtree(folder, ignore_errors=True)
            yield folder.name


def _last_change(folder: Path) -> float:
    """Return when (seconds since 1970) something under *folder* changed last."""
    return max((_changed(path) for path in (folder, *folder.rglob("*"))), default=0.0)


def _changed(path: Path) -> float:
    """Return when *path* changed last; what was renamed or removed meanwhile did so just now."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return time.time()
