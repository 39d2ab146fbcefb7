"""The supervisor: what it is told, what it begins and ends, and how it calls ffmpeg."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from supervisor import health
from supervisor.__main__ import Supervisor
from supervisor.config import Config, RefusedSetting, Rendition, from_environment
from supervisor.ffmpeg import Source, Unplayable, fitting, hls_command, understand
from supervisor.live import NoAnswer, fetch
from supervisor.reconcile import reconcile

LADDER = [{"name": "source"}, {"name": "480p", "height": 480, "video_kbps": 1000, "audio_kbps": 96}]
ENVIRONMENT = {
    "STREAMS_URL": "http://127.0.0.1:1/streams",
    "RTMP_SOURCE": "rtmp://127.0.0.1:1/live",
    "LADDER": json.dumps(LADDER),
}


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return from_environment(ENVIRONMENT | {"HLS_ROOT": str(tmp_path)})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("STREAMS_URL", ""),
        ("RTMP_SOURCE", ""),
        ("SEGMENT_SECONDS", "0"),
        ("SEGMENT_SECONDS", "two"),
        ("LADDER", "not json"),
        ("LADDER", "[]"),
        ("LADDER", "{}"),
        ("LADDER", '[{"name": "../x"}]'),
        ("LADDER", '[{"height": 480}]'),
        ("LADDER", '[{"name": "a"}, {"name": "a"}]'),
        ("LADDER", '[{"name": "a", "height": 480}]'),
        ("LADDER", '[{"name": "a", "height": true, "video_kbps": 1, "audio_kbps": 1}]'),
        ("LADDER", '[{"name": "a", "height": -2, "video_kbps": 1, "audio_kbps": 1}]'),
        ("LADDER", '[{"name": "a", "codec": "vp9"}]'),
    ],
)
def test_a_bad_setting_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(RefusedSetting, match=name):
        from_environment(ENVIRONMENT | {name: value})


SESSIONS = st.dictionaries(st.sampled_from(["ann", "bob", "eve", "dan"]), st.sampled_from(["1", "2", "3"]))


@given(wanted=SESSIONS, running=SESSIONS)
def test_what_runs_becomes_what_is_wanted(wanted: dict[str, str], running: dict[str, str]) -> None:
    for _ in range(2):  # a changed session ends in the first round and begins in the second
        end, begin = reconcile(wanted, running)
        assert not end & begin
        assert all(wanted.get(slug) != running[slug] for slug in end)
        running = {slug: session for slug, session in running.items() if slug not in end}
        running |= {slug: wanted[slug] for slug in begin}
    assert running == wanted
    assert reconcile(wanted, running) == (set(), set())


def answer(*streams: dict[str, object]) -> str:
    return json.dumps({"streams": streams})


H264 = {"codec_type": "video", "codec_name": "h264", "height": 720}
AAC = {"codec_type": "audio", "codec_name": "aac"}


def test_a_stream_is_understood() -> None:
    assert understand(answer(H264, AAC)) == Source(height=720, has_audio=True)
    assert understand(answer(H264)) == Source(height=720, has_audio=False)


@pytest.mark.parametrize(
    "text",
    ["", "{}", answer(), answer(AAC), answer(H264 | {"codec_name": "hevc"}), answer(H264, AAC | {"codec_name": "mp3"})],
)
def test_what_can_not_become_hls_is_told(text: str) -> None:
    with pytest.raises(Unplayable):
        understand(text)


@pytest.mark.parametrize(("height", "names"), [(1080, ["source", "480p"]), (480, ["source"]), (240, ["source"])])
def test_no_rendition_enlarges_the_source(config: Config, height: int, names: list[str]) -> None:
    assert [r.name for r in fitting(config.ladder, Source(height, True))] == names


def test_a_ladder_without_a_copy_still_has_a_rendition() -> None:
    tall = Rendition("1080p", 1080, 5000, 128)
    assert fitting([tall], Source(480, True)) == [tall]


@pytest.mark.parametrize("sound", [True, False])
def test_ffmpeg_is_asked_for_sound_only_where_there_is_some(config: Config, sound: bool) -> None:
    command = hls_command(config, "rtmp://x/live/bob", config.hls_root / "bob", 7, Source(720, sound))
    variants = command[command.index("-var_stream_map") + 1]
    assert variants == ("v:0,a:0,name:source v:1,a:1,name:480p" if sound else "v:0,name:source v:1,name:480p")
    assert any(word.startswith("-c:a") for word in command) is sound
    assert ("0:a:0" in command) is sound
    assert command[command.index("-c:v:0") + 1] == "copy"
    assert command[command.index("-c:v:1") + 1] == "libx264"


class Orchestrator:
    """A web server that says what a test lets it say."""

    def __init__(self) -> None:
        self.status, self.body = 200, b'{"streams": []}'
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(outer.status)
                self.end_headers()
                self.wfile.write(outer.body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/streams"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def says(self, *streams: dict[str, str]) -> None:
        self.body = json.dumps({"streams": streams}).encode()


@pytest.fixture
def orchestrator() -> Iterator[Orchestrator]:
    made = Orchestrator()
    yield made
    made.server.shutdown()
    made.server.server_close()


def test_only_names_that_are_names_come_through(orchestrator: Orchestrator) -> None:
    orchestrator.says(
        {"slug": "bob", "session": "1"}, {"slug": "../../etc", "session": "2"}, {"slug": "a", "session": "3"}
    )
    assert fetch(orchestrator.url) == {"bob": "1"}


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"streams": 3}', b'{"streams": [{"slug": 5}]}', b"\xff"])
def test_an_answer_that_makes_no_sense_is_no_answer(orchestrator: Orchestrator, body: bytes) -> None:
    orchestrator.body = body
    with pytest.raises(NoAnswer):
        fetch(orchestrator.url)


def test_an_error_is_no_answer(orchestrator: Orchestrator) -> None:
    orchestrator.status = 503
    with pytest.raises(NoAnswer):
        fetch(orchestrator.url)


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An ffprobe that finds a stream and an ffmpeg that notes its life; the real ones are the checklist's business."""
    folder = tmp_path / "tools"
    folder.mkdir()
    (folder / "ffprobe").write_text(f"#!/bin/sh\necho '{answer(H264, AAC)}'\n")
    (folder / "ffmpeg").write_text(
        "#!/bin/sh\n"
        f"echo begun $$ >>{tmp_path}/notes\n"
        f"trap 'echo ended >>{tmp_path}/notes; exit 0' INT\n"
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
    orchestrator.says({"slug": "bob", "session": "1"})
    supervisor.round()
    supervisor.round()
    assert noted(tools, 1)[0].startswith("begun")
    orchestrator.status = 500
    supervisor.round()
    assert len(noted(tools, 1)) == 1, "an orchestrator that does not answer must not end streams"
    orchestrator.status = 200
    orchestrator.says({"slug": "bob", "session": "2"})
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
    orchestrator.says({"slug": "bob", "session": "1"})
    supervisor.round()
    os.kill(int(noted(tools, 1)[0].split()[1]), 9)
    assert noted(tools, 2)[1].startswith("begun")
    supervisor.stop()


def test_what_an_earlier_supervisor_left_is_removed_after_a_while(tmp_path: Path, orchestrator: Orchestrator) -> None:
    for name, age in (("old-stream", 60), ("new-stream", 5), ("x", 60)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "index.m3u8").touch()
        for path in (tmp_path / name / "index.m3u8", tmp_path / name):
            os.utime(path, (time.time() - age,) * 2)
    Supervisor(from_environment(ENVIRONMENT | {"HLS_ROOT": str(tmp_path), "STREAMS_URL": orchestrator.url})).round()
    assert {path.name for path in tmp_path.iterdir()} == {"new-stream", "x"}


def test_health_is_a_young_heartbeat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "HEARTBEAT", tmp_path / "heartbeat")
    assert health.main() == 1
    health.beat()
    assert health.main() == 0
    os.utime(tmp_path / "heartbeat", (time.time() - 60,) * 2)
    assert health.main() == 1
