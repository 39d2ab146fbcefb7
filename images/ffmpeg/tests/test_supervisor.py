"""The supervisor as a whole: what it begins, keeps and ends."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from answering import Orchestrator
from supervisor.__main__ import Supervisor
from supervisor.config import from_environment

ENVIRONMENT = {
    "STREAMS_URL": "http://127.0.0.1:1/streams",
    "RTMP_SOURCE": "rtmp://127.0.0.1:1/live",
}


def answer(*streams: dict[str, object]) -> str:
    return json.dumps({"streams": streams})


H264 = {"codec_type": "video", "codec_name": "h264", "height": 720}
AAC = {"codec_type": "audio", "codec_name": "aac"}


def says(orchestrator: Orchestrator, *streams: dict[str, object], discards: tuple[str, ...] = ()) -> None:
    orchestrator.said = {"streams": streams, "discards": discards}


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An ffprobe that finds a stream and an ffmpeg that notes its life; the real ones are the checklist's business."""
    folder = tmp_path / "tools"
    folder.mkdir()
    (folder / "ffprobe").write_text(f"#!/bin/sh\necho '{answer(H264, AAC)}'\n")
    (folder / "ffmpeg").write_text(
        "#!/bin/sh\n"
        f"trap 'echo ended >>{tmp_path}/notes; exit 0' TERM\n"
        f'echo begun $$ $0 "$@" >>{tmp_path}/notes\n'
        "while :; do sleep 0.05; done\n"
    )
    for tool in folder.iterdir():
        tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return tmp_path / "notes"


def noted(notes: Path, count: int, seconds: float = 8) -> list[str]:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        lines = notes.read_text().splitlines() if notes.exists() else []
        if len(lines) >= count:
            return lines
        time.sleep(0.05)
    raise AssertionError(f"only {lines} within {seconds} s")


def test_a_stream_begins_survives_silence_and_ends(tmp_path: Path, tools: Path, orchestrator: Orchestrator) -> None:
    root = tmp_path / "hls"
    root.mkdir()
    supervisor = Supervisor(from_environment(ENVIRONMENT | {"HLS_ROOT": str(root), "STREAMS_URL": orchestrator.url}))
    says(orchestrator, {"slug": "bob", "session": "1"})
    supervisor.round()
    supervisor.round()
    assert noted(tools, 1)[0].startswith("begun")
    orchestrator.status = 500
    supervisor.round()
    assert len(noted(tools, 1)) == 1, "an orchestrator that does not answer must not end streams"
    orchestrator.status = 200
    says(orchestrator, {"slug": "bob", "session": "2"})
    supervisor.round()
    assert noted(tools, 2)[1] == "ended"
    supervisor.pipelines["bob"].join()
    supervisor.round()
    assert noted(tools, 3)[2].startswith("begun")
    supervisor.stop()
    assert noted(tools, 4)[3] == "ended"
    assert all(pipeline.ended for pipeline in supervisor.pipelines.values())


def test_ffmpeg_that_dies_is_run_again(tmp_path: Path, tools: Path, orchestrator: Orchestrator) -> None:
    supervisor = Supervisor(
        from_environment(ENVIRONMENT | {"HLS_ROOT": str(tmp_path), "STREAMS_URL": orchestrator.url})
    )
    says(orchestrator, {"slug": "bob", "session": "1"})
    supervisor.round()
    os.kill(int(noted(tools, 1)[0].split()[1]), 9)
    assert noted(tools, 2)[1].startswith("begun")
    supervisor.stop()


def test_what_an_earlier_supervisor_left_is_removed_after_a_while(tmp_path: Path, orchestrator: Orchestrator) -> None:
    for name, age in (("public/old-stream", 60), ("private/older", 90), ("private/new-stream", 5), ("public/x", 60)):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "index.m3u8").touch()
        for path in (tmp_path / name / "index.m3u8", tmp_path / name):
            os.utime(path, (time.time() - age,) * 2)
    (tmp_path / "former-version").mkdir()
    (tmp_path / "former-version" / "index.m3u8").touch()
    Supervisor(from_environment(ENVIRONMENT | {"HLS_ROOT": str(tmp_path), "STREAMS_URL": orchestrator.url})).round()
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.glob("*/*")} == {"private/new-stream", "public/x"}
    assert {path.name for path in tmp_path.iterdir()} == {"public", "private"}


def settled(supervisor: Supervisor, done: Callable[[], bool], seconds: float = 8) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline
        supervisor.round()
        time.sleep(0.1)


def test_a_stream_that_becomes_private_leaves_nothing_public(
    tmp_path: Path, tools: Path, orchestrator: Orchestrator
) -> None:
    root = tmp_path / "hls"
    root.mkdir()
    supervisor = Supervisor(from_environment(ENVIRONMENT | {"HLS_ROOT": str(root), "STREAMS_URL": orchestrator.url}))
    for private, here, there in (
        (False, "public", "private"),
        (True, "private", "public"),
        (False, "public", "private"),
    ):
        says(orchestrator, {"slug": "bob", "session": "1", "private": private})
        settled(supervisor, lambda here=here: (root / here / "bob").exists())
        assert not (root / there / "bob").exists()
    supervisor.stop()


def test_what_asks_for_it_is_recorded_beside_what_is_shown(
    tmp_path: Path, tools: Path, orchestrator: Orchestrator
) -> None:
    hls, disk = tmp_path / "hls", tmp_path / "disk"
    hls.mkdir()
    disk.mkdir()
    settings = {"HLS_ROOT": str(hls), "STREAMS_URL": orchestrator.url, "RECORDINGS_ROOT": str(disk)}
    supervisor = Supervisor(from_environment(ENVIRONMENT | settings))
    says(
        orchestrator, {"slug": "bob", "session": "1", "record": True}, {"slug": "eve", "session": "2", "record": False}
    )
    supervisor.round()
    begun = noted(tools, 3)
    (recorder,) = [line for line in begun if str(disk) in line]
    assert f"{disk}/bob/20" in recorder
    os.kill(int(recorder.split()[1]), 9)
    assert str(disk) in noted(tools, 4)[3], "a recorder that dies is run again"
    assert supervisor.pipelines.keys() == {"bob", "eve"}
    says(orchestrator, {"slug": "bob", "session": "1", "record": False}, {"slug": "eve", "session": "2"})
    settled(supervisor, lambda: not supervisor.recorders)
    assert supervisor.pipelines.keys() == {"bob", "eve"}
    supervisor.stop()


def test_nothing_is_recorded_where_there_is_no_room(
    tmp_path: Path,
    tools: Path,
    orchestrator: Orchestrator,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("supervisor.__main__.RETENTION_EVERY", 0.0)
    monkeypatch.setattr("supervisor.retention.free_bytes", lambda _root: 0)
    hls, disk = tmp_path / "hls", tmp_path / "disk"
    hls.mkdir()
    disk.mkdir()
    settings = {"HLS_ROOT": str(hls), "STREAMS_URL": orchestrator.url, "RECORDINGS_ROOT": str(disk)}
    supervisor = Supervisor(from_environment(ENVIRONMENT | settings))
    says(orchestrator, {"slug": "bob", "session": "1", "record": True})
    supervisor.round()
    supervisor.round()
    assert not supervisor.recorders
    assert capsys.readouterr().out.count("disk full") == 1
    monkeypatch.setattr("supervisor.retention.free_bytes", lambda _root: 1 << 40)
    supervisor.round()
    assert supervisor.recorders.keys() == {"bob"}
    monkeypatch.setattr("supervisor.retention.free_bytes", lambda _root: 0)
    settled(supervisor, lambda: not supervisor.recorders)
    assert supervisor.pipelines.keys() == {"bob"}, "who watches does not notice"
    supervisor.stop()


def test_a_recording_that_somebody_deleted_goes(tmp_path: Path, orchestrator: Orchestrator) -> None:
    hls, disk = tmp_path / "hls", tmp_path / "disk"
    hls.mkdir()
    (disk / "bob").mkdir(parents=True)
    for name in ("2026-01-01T00-00-00Z.mp4", "2026-01-02T00-00-00Z.mp4"):
        (disk / "bob" / name).touch()
    settings = {"HLS_ROOT": str(hls), "STREAMS_URL": orchestrator.url, "RECORDINGS_ROOT": str(disk)}
    says(orchestrator, discards=("bob/2026-01-01T00-00-00Z.mp4", "eve/2026-01-01T00-00-00Z.mp4"))
    Supervisor(from_environment(ENVIRONMENT | settings)).round()
    assert [path.name for path in disk.glob("*/*")] == ["2026-01-02T00-00-00Z.mp4"]
