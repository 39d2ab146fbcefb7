"""The supervisor as a whole: what it begins, keeps and ends."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fake_packager
import pytest
from answering import Orchestrator
from supervisor.__main__ import Supervisor
from supervisor.config import from_environment
from supervisor.live import Stream
from supervisor.pipeline import Pipeline, load

ENVIRONMENT = {
    "STREAMS_URL": "http://127.0.0.1:1/streams",
    "RTMP_SOURCE": "rtmp://127.0.0.1:1/live",
}


def says(orchestrator: Orchestrator, *streams: dict[str, object], discards: tuple[str, ...] = ()) -> None:
    orchestrator.said = {"streams": streams, "discards": discards}


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A packager and an ffmpeg that note their lives; what the real ones do is the live tests' business."""
    notes = tmp_path / "notes"
    notes.touch()
    ffmpeg = tmp_path / "tools" / "ffmpeg"
    ffmpeg.parent.mkdir()
    ffmpeg.write_text(
        f"#!/bin/sh\ntrap 'echo ended >>{notes}; exit 0' TERM\n"
        f'echo begun $$ $0 "$@" >>{notes}\nwhile :; do sleep 0.05; done\n'
    )
    ffmpeg.chmod(0o755)
    monkeypatch.setenv("PATH", f"{ffmpeg.parent}:{os.environ['PATH']}")
    monkeypatch.setattr("supervisor.packager.work", fake_packager.work)
    return notes


Supervise = Callable[[dict[str, str]], Supervisor]


@pytest.fixture(scope="module")
def loaded() -> None:
    """Packagers start at once, as where the supervisor is a program."""
    load()


@pytest.fixture
def supervise(loaded: None) -> Iterator[Supervise]:
    """Make supervisors, and end what they began."""
    made: list[Supervisor] = []

    def make(settings: dict[str, str]) -> Supervisor:
        made.append(Supervisor(from_environment(ENVIRONMENT | settings)))
        return made[-1]

    yield make
    for supervisor in made:
        supervisor.stop()


def noted(notes: Path, count: int, seconds: float = 8) -> list[str]:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        lines = notes.read_text().splitlines() if notes.exists() else []
        if len(lines) >= count:
            return lines
        time.sleep(0.05)
    raise AssertionError(f"only {lines} within {seconds} s")


def test_a_stream_begins_survives_silence_and_ends(
    tmp_path: Path, tools: Path, orchestrator: Orchestrator, supervise: Supervise
) -> None:
    root = tmp_path / "hls"
    root.mkdir()
    supervisor = supervise({"HLS_ROOT": str(root), "STREAMS_URL": orchestrator.url})
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


def test_a_packager_that_dies_is_run_again_and_it_is_told(
    tmp_path: Path, tools: Path, orchestrator: Orchestrator, supervise: Supervise
) -> None:
    supervisor = supervise({"HLS_ROOT": str(tmp_path), "STREAMS_URL": orchestrator.url})
    says(orchestrator, {"slug": "bob", "session": "1"})
    supervisor.round()
    os.kill(int(noted(tools, 1)[0].split()[1]), 9)
    assert noted(tools, 2)[1].startswith("begun")
    assert {"code": "restarted", "count": 1} in supervisor.pipelines["bob"].report()["problems"]
    supervisor.stop()


def test_a_stream_that_ended_is_left_as_it_ended_until_another_begins(
    tmp_path: Path, tools: Path, orchestrator: Orchestrator, supervise: Supervise
) -> None:
    supervisor = supervise({"HLS_ROOT": str(tmp_path), "STREAMS_URL": orchestrator.url})
    says(orchestrator, {"slug": "bob", "session": "1"})
    supervisor.round()
    os.kill(int(noted(tools, 1)[0].split()[1]), signal.SIGTERM)  # as if the publisher had gone
    assert noted(tools, 2)[1] == "ended"
    time.sleep(3 * Pipeline.first_retry)
    supervisor.round()
    assert len(noted(tools, 2)) == 2, "a new packager empties the folder, and with it the playlists' end"
    assert supervisor.pipelines["bob"].report()["problems"] == []
    says(orchestrator, {"slug": "bob", "session": "2"})
    supervisor.round()
    supervisor.pipelines["bob"].join()
    supervisor.round()
    assert noted(tools, 3)[2].startswith("begun")


def test_what_an_earlier_supervisor_left_is_removed_after_a_while(
    tmp_path: Path, orchestrator: Orchestrator, supervise: Supervise
) -> None:
    for name, age in (("public/old-stream", 60), ("private/older", 90), ("private/new-stream", 5), ("public/x", 60)):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "index.m3u8").touch()
        for path in (tmp_path / name / "index.m3u8", tmp_path / name):
            os.utime(path, (time.time() - age,) * 2)
    (tmp_path / "former-version").mkdir()
    (tmp_path / "former-version" / "index.m3u8").touch()
    supervise({"HLS_ROOT": str(tmp_path), "STREAMS_URL": orchestrator.url}).round()
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.glob("*/*")} == {"private/new-stream", "public/x"}
    assert {path.name for path in tmp_path.iterdir()} == {"public", "private"}


def settled(supervisor: Supervisor, done: Callable[[], bool], seconds: float = 8) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline
        supervisor.round()
        time.sleep(0.1)


def test_a_stream_that_becomes_private_leaves_nothing_public(
    tmp_path: Path, tools: Path, orchestrator: Orchestrator, supervise: Supervise
) -> None:
    root = tmp_path / "hls"
    root.mkdir()
    supervisor = supervise({"HLS_ROOT": str(root), "STREAMS_URL": orchestrator.url})
    for private, here, there in (
        (False, "public", "private"),
        (True, "private", "public"),
        (False, "public", "private"),
    ):
        says(orchestrator, {"slug": "bob", "session": "1", "private": private})
        (root / there / "bob").mkdir(exist_ok=True)
        settled(supervisor, lambda here=here: tools.exists() and f"{root}/{here}/bob" in tools.read_text())
        tools.unlink()
        assert not (root / there / "bob").exists()
    supervisor.stop()


def test_what_asks_for_it_is_recorded_beside_what_is_shown(
    tmp_path: Path, tools: Path, orchestrator: Orchestrator, supervise: Supervise
) -> None:
    hls, disk = tmp_path / "hls", tmp_path / "disk"
    hls.mkdir()
    disk.mkdir()
    settings = {"HLS_ROOT": str(hls), "STREAMS_URL": orchestrator.url, "RECORDINGS_ROOT": str(disk)}
    supervisor = supervise(settings)
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
    supervise: Supervise,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("supervisor.__main__.RETENTION_EVERY", 0.0)
    monkeypatch.setattr("supervisor.retention.free_bytes", lambda _root: 0)
    hls, disk = tmp_path / "hls", tmp_path / "disk"
    hls.mkdir()
    disk.mkdir()
    settings = {"HLS_ROOT": str(hls), "STREAMS_URL": orchestrator.url, "RECORDINGS_ROOT": str(disk)}
    supervisor = supervise(settings)
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


def test_a_recording_that_somebody_deleted_goes(
    tmp_path: Path, orchestrator: Orchestrator, supervise: Supervise
) -> None:
    hls, disk = tmp_path / "hls", tmp_path / "disk"
    hls.mkdir()
    (disk / "bob").mkdir(parents=True)
    for name in ("2026-01-01T00-00-00Z.mp4", "2026-01-02T00-00-00Z.mp4"):
        (disk / "bob" / name).touch()
    settings = {"HLS_ROOT": str(hls), "STREAMS_URL": orchestrator.url, "RECORDINGS_ROOT": str(disk)}
    says(orchestrator, discards=("bob/2026-01-01T00-00-00Z.mp4", "eve/2026-01-01T00-00-00Z.mp4"))
    supervise(settings).round()
    assert [path.name for path in disk.glob("*/*")] == ["2026-01-02T00-00-00Z.mp4"]


def test_whoever_is_pushed_runs_before_the_poll_knows_and_until_it_should(
    tmp_path: Path, tools: Path, orchestrator: Orchestrator, supervise: Supervise, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("supervisor.__main__.ATTACHES", 20.0)  # how busy this machine is decides nothing here
    supervisor = supervise({"HLS_ROOT": str(tmp_path), "STREAMS_URL": orchestrator.url})
    assert supervisor.push("bob", Stream("1"))
    supervisor.round()
    assert [(p.session, p.stopping) for p in supervisor.pipelines.values()] == [("1", False)]
    assert supervisor.push("bob", Stream("2")), "a newcomer takes over at once"
    assert [(p.session, p.stopping) for p in supervisor.pipelines.values()] == [("2", False)]
    monkeypatch.setattr("supervisor.__main__.BELIEVED", -1.0)
    supervisor.push("bob", Stream("2"))
    settled(supervisor, lambda: not supervisor.pipelines)
    supervisor.stop()


def test_what_packagers_find_is_told(
    tmp_path: Path, tools: Path, orchestrator: Orchestrator, supervise: Supervise
) -> None:
    supervisor = supervise({"HLS_ROOT": str(tmp_path), "STREAMS_URL": orchestrator.url})
    says(orchestrator, {"slug": "bob", "session": "1"})
    settled(supervisor, lambda: any(told["reports"] and told["reports"][0]["facts"] for told in orchestrator.heard))
    told = orchestrator.heard[-1]
    assert told["reports"] == [{"session": "1", "facts": {"width": 1}, "problems": []}]
    assert told["host"].keys() == {"encode_more", "carry_more", "load_percent", "failures"}
    supervisor.stop()


def test_a_stream_that_fails_in_any_way_is_told_and_hurts_no_other(
    tmp_path: Path,
    tools: Path,
    orchestrator: Orchestrator,
    supervise: Supervise,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Failing(Pipeline):
        def __init__(self, config: Any, slug: str, *arguments: Any, **options: Any) -> None:
            if slug == "bob":
                raise OverflowError("width")
            super().__init__(config, slug, *arguments, **options)

    monkeypatch.setattr("supervisor.__main__.Pipeline", Failing)
    supervisor = supervise({"HLS_ROOT": str(tmp_path), "STREAMS_URL": orchestrator.url})
    says(orchestrator, {"slug": "bob", "session": "1"}, {"slug": "eve", "session": "2"})
    supervisor.round()
    assert supervisor.pipelines.keys() == {"eve"}
    supervisor.round()
    assert orchestrator.heard[-1]["host"]["failures"] == 1
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert any("OverflowError: width" in line.get("traceback", "") for line in lines)
    supervisor.stop()


def test_a_round_that_fails_in_any_way_is_told_and_has_no_heartbeat(
    tmp_path: Path,
    orchestrator: Orchestrator,
    supervise: Supervise,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    beats: list[int] = []
    monkeypatch.setattr("supervisor.follower.beat", lambda: beats.append(1))
    supervisor = supervise({"HLS_ROOT": str(tmp_path), "STREAMS_URL": orchestrator.url})
    with monkeypatch.context() as broken:
        broken.setattr("supervisor.places.forget", lambda *_: 1 / 0)
        supervisor.round()
    assert beats == []
    assert "ZeroDivisionError" in capsys.readouterr().out
    supervisor.round()
    assert beats == [1]
