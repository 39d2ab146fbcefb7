"""A picture is put there in one step, or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest
from supervisor import thumbnails


@pytest.fixture
def ffmpeg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program in ffmpeg's place."""
    program = tmp_path / "tools" / "ffmpeg"
    program.parent.mkdir()
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    monkeypatch.setattr(thumbnails, "LONGEST", 1.0)
    return program


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "alice" / "source").mkdir(parents=True)
    for name in ("100-000100.ts", "100-000101.ts", "100-000102.ts.tmp"):
        (tmp_path / "alice" / "source" / name).write_text(name)
    return tmp_path / "alice"


def test_the_newest_complete_segment_is_shown(ffmpeg: Path, folder: Path) -> None:
    ffmpeg.write_text('#!/bin/sh\nfor last; do :; done\necho "$@" >"$last"\n')
    ffmpeg.chmod(0o755)
    assert thumbnails.take(folder, "source")
    assert "100-000101.ts" in (folder / "thumbnail.jpg").read_text()
    assert not (folder / ".thumbnail.jpg").exists()


@pytest.mark.parametrize("script", ["exit 1", "sleep 5", ":"])
def test_a_picture_that_fails_leaves_the_former_one(ffmpeg: Path, folder: Path, script: str) -> None:
    (folder / "thumbnail.jpg").write_text("former")
    ffmpeg.write_text(f"#!/bin/sh\n{script}\n")
    ffmpeg.chmod(0o755)
    assert not thumbnails.take(folder, "source")
    assert (folder / "thumbnail.jpg").read_text() == "former"


def test_without_a_segment_there_is_no_picture(tmp_path: Path) -> None:
    (tmp_path / "alice" / "source").mkdir(parents=True)
    assert not thumbnails.take(tmp_path / "alice", "source")
    assert not thumbnails.take(tmp_path / "gone", "source")


def test_a_stream_without_a_picture_is_said_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(thumbnails, "EVERY", 0.0)
    monkeypatch.setattr(thumbnails, "take", lambda *_: False)
    rounds: list[int] = []

    def folders() -> list[Path]:
        rounds.append(1)
        if len(rounds) > 3:
            thumbnailer.stop()
        return [folder]

    thumbnailer = thumbnails.Thumbnailer(folders, "source")
    thumbnailer.start()
    thumbnailer.join(5)
    assert len(rounds) > 3
    assert capsys.readouterr().out.count('"thumbnail"') == 1
