"""What goes from the recordings' disk, and what never does."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from supervisor import retention
from supervisor.retention import Limits, discard, fits, keep_within

DAY = 86_400
PLENTY = 1 << 50


def put(root: Path, number: int, days: float, size: int) -> Path:
    path = root / "alice" / f"2026-01-{number:02}T00-00-00Z.mp4"
    path.parent.mkdir(exist_ok=True)
    path.touch()
    os.truncate(path, size)
    os.utime(path, (time.time() - days * DAY,) * 2)
    return path


def kept(root: Path, limits: Limits, *writing: Path) -> dict[str, str]:
    """Return {day: why it went} of what went."""
    return {path.name[8:10]: reason for path, reason in keep_within(root, limits, writing)}


def test_what_is_old_goes(tmp_path: Path) -> None:
    put(tmp_path, 1, 14.1, 10)
    put(tmp_path, 2, 13.9, 10)
    assert kept(tmp_path, Limits(14, PLENTY, 0)) == {"01": "age"}
    assert [path.name for path in tmp_path.glob("*/*")] == ["2026-01-02T00-00-00Z.mp4"]


def test_the_oldest_go_until_the_rest_fits(tmp_path: Path) -> None:
    for number in range(1, 6):
        put(tmp_path, number, 10 - number, 100)
    assert kept(tmp_path, Limits(14, 300, 0)) == {"01": "size", "02": "size"}
    assert kept(tmp_path, Limits(14, 300, 0)) == {}


def test_the_oldest_go_until_the_disk_has_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(1, 6):
        put(tmp_path, number, 10 - number, 100)
    monkeypatch.setattr(retention, "free_bytes", lambda _root: 750)
    assert kept(tmp_path, Limits(14, PLENTY, 1000)) == {"01": "disk", "02": "disk", "03": "disk"}


def test_what_is_being_written_stays_and_then_nothing_fits(tmp_path: Path) -> None:
    writing = put(tmp_path, 1, 20, 500)
    put(tmp_path, 2, 1, 100)
    assert kept(tmp_path, Limits(14, 300, 0), writing) == {"02": "size"}
    assert writing.exists()
    assert not fits(tmp_path, Limits(14, 300, 0))
    assert fits(tmp_path, Limits(14, 500, 0))
    assert not fits(tmp_path, Limits(14, 500, PLENTY))


def test_the_last_of_a_stream_takes_the_folder_along(tmp_path: Path) -> None:
    put(tmp_path, 1, 20, 1)
    kept(tmp_path, Limits(14, PLENTY, 0))
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_recording_is_left_alone(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("precious")
    (tmp_path / "alice").mkdir()
    (tmp_path / "alice" / "notes.txt").touch()
    (tmp_path / "alice" / "2026-01-01T00-00-00Z.mp4").symlink_to(outside)
    for path in tmp_path.rglob("*.txt"):
        os.utime(path, (0, 0))
    assert kept(tmp_path, Limits(1, 1, PLENTY)) == {}
    assert outside.read_text() == "precious"
    assert list(discard(tmp_path, ["alice/2026-01-09T00-00-00Z.mp4"])) == []


@given(sizes=st.lists(st.integers(1, 1000), max_size=8), total=st.integers(1, 3000))
def test_what_stays_fits_and_nothing_went_in_vain(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], total: int
) -> None:
    root = tmp_path_factory.mktemp("disk")
    for number, size in enumerate(sizes, start=1):
        put(root, number, 10 - number, size)
    gone = len(kept(root, Limits(14, total, 0)))
    assert fits(root, Limits(14, total, 0))
    assert gone == 0 or sum(sizes[gone - 1 :]) > total
