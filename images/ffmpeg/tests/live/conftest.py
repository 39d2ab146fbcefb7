"""A small house on loopback: the orchestrator's answer, a real nginx-rtmp, real publishers and the real supervisor."""

from __future__ import annotations

import http.server
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

PACKAGE = Path(__file__).parents[2]
RTMP_MODULE = Path("/usr/lib/nginx/modules/ngx_rtmp_module.so")
LADDER = [{"name": "source"}, {"name": "240p", "height": 240, "video_kbps": 300, "audio_kbps": 64}]
NGINX = """
load_module {module};
daemon off; master_process off; pid {root}/nginx.pid; error_log {root}/error.log warn;
events {{ worker_connections 64; }}
rtmp {{ access_log off; server {{ listen 127.0.0.1:{port}; application live {{
    live on; wait_key on; interleave on; publish_notify on; idle_streams off; }} }} }}
"""


def eventually(probe: Callable[[], Any], seconds: float, what: str) -> Any:
    """Return the first true answer of *probe* within *seconds*, or fail with *what* was expected."""
    deadline = time.monotonic() + seconds
    while not (answer := probe()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.1)
    return answer


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class House:
    """Everything around one supervisor. *live* is what the orchestrator answers; None is no answer."""

    eventually = staticmethod(eventually)

    def __init__(self, root: Path) -> None:
        self.root = root
        self.hls = root / "hls"
        self.hls.mkdir()
        self.live: dict[str, str] | None = {}
        self.private: set[str] = set()
        self.recorded: set[str] = set()
        self.recordings = root / "recordings"
        self.recordings.mkdir()
        self.rtmp_port = free_port()
        self.supervisor: subprocess.Popen[str] | None = None
        self.started: list[subprocess.Popen[Any]] = []
        self.server = self._orchestrator()

    def _orchestrator(self) -> http.server.ThreadingHTTPServer:
        house = self

        class Answer(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                live = house.live
                self.send_response(503 if live is None else 200)
                self.end_headers()
                streams = [
                    {
                        "slug": slug,
                        "session": session,
                        "private": slug in house.private,
                        "record": slug in house.recorded,
                    }
                    for slug, session in (live or {}).items()
                ]
                self.wfile.write(json.dumps({"streams": streams}).encode())

            def log_message(self, *_: Any) -> None:
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return server

    def run(self, command: list[str], **options: Any) -> subprocess.Popen[Any]:
        self.started.append(subprocess.Popen(command, **options))
        return self.started[-1]

    def start_nginx(self) -> None:
        config = self.root / "nginx.conf"
        config.write_text(NGINX.format(module=RTMP_MODULE, root=self.root, port=self.rtmp_port), encoding="utf-8")
        self.run(["nginx", "-p", str(self.root), "-e", str(self.root / "error.log"), "-c", str(config)])

        def answers() -> bool:
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", self.rtmp_port)) == 0

        eventually(answers, 10, "nginx-rtmp answers")

    def supervise(self, **settings: str) -> subprocess.Popen[Any]:
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(PACKAGE),
            "STREAMS_URL": f"http://127.0.0.1:{self.server.server_address[1]}/internal/streams",
            "RTMP_SOURCE": f"rtmp://127.0.0.1:{self.rtmp_port}/live",
            "HLS_ROOT": str(self.hls),
            "RECORDINGS_ROOT": str(self.recordings),
            "LADDER": json.dumps(LADDER),
            "ENDED_RETENTION_SECONDS": "3",
        } | settings
        with (self.root / "log").open("ab") as log:
            self.supervisor = self.run(
                [sys.executable, "-m", "supervisor"], env=environment, stdout=log, stderr=subprocess.STDOUT
            )
        return self.supervisor

    def publish(self, slug: str, *, sound: bool = True, picture: bool = True) -> subprocess.Popen[Any]:
        inputs, codecs = [], []
        if picture:
            inputs += ["-re", "-f", "lavfi", "-i", "testsrc2=size=640x360:rate=30"]
            codecs += ["-c:v", "libx264", "-preset", "ultrafast", "-g", "60", "-b:v", "800k", "-pix_fmt", "yuv420p"]
        if sound:
            inputs += ["-re", "-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000"]
            codecs += ["-c:a", "aac", "-b:a", "96k"]
        target = f"rtmp://127.0.0.1:{self.rtmp_port}/live/{slug}"
        return self.run(["ffmpeg", "-nostdin", "-v", "error", *inputs, *codecs, "-f", "flv", target])

    def log(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.root / "log").read_text(encoding="utf-8").splitlines()]

    def playlist(self, slug: str, name: str = "source") -> str:
        try:
            return (self.hls / "public" / slug / name / "index.m3u8").read_text(encoding="utf-8")
        except FileNotFoundError:
            return ""

    def encoders(self) -> list[int]:
        """Return the pids of the ffmpegs that write into this house."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                words = (process / "cmdline").read_bytes()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if words.startswith(b"ffmpeg\0") and str(self.hls).encode() in words:
                found.append(int(process.name))
        return found

    def close(self) -> None:
        if self.supervisor and self.supervisor.poll() is None:
            self.supervisor.terminate()
            self.supervisor.wait(20)
        for process in self.started:
            if process.poll() is None:
                process.kill()
            process.wait(10)
        for pid in self.encoders():
            os.kill(pid, signal.SIGKILL)
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    missing = [tool for tool in ("ffmpeg", "ffprobe", "nginx", "setpriv") if not shutil.which(tool)]
    if missing or not RTMP_MODULE.exists():
        pytest.fail("These tests need real tools: apt-get install ffmpeg nginx libnginx-mod-rtmp util-linux")
    made = House(tmp_path)
    made.start_nginx()
    yield made
    made.close()
