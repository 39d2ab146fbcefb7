"""The supervisor as a whole: what it begins, keeps and ends."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
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


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An ffprobe that finds a stream and an ffmpeg that notes its life; the real ones are the checklist's business."""
    folder = tmp_path / "tools"
    folder.mkdir()
    (folder / "ffprobe").write_text(f"#!/bin/sh\necho '{answer(H264, AAC)}'\n")
    (folder / "ffmpeg").write_text(
        "#!/bin/sh\n"
        f"trap 'echo ended >>{tmp_path}/notes; exit 0' TERM\n"
        f"echo begun $$ >>{tmp_path}/notes\n"
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
