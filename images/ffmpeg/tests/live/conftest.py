"""A small house on loopback: the orchestrator's answer, a real nginx-rtmp, real publishers and the real supervisor."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from obs import Obs
from publishers import ROWS, Publisher, publish
from standing_in import Orchestrator

PACKAGE = Path(__file__).parents[2]
RTMP_MODULE = Path("/usr/lib/nginx/modules/ngx_rtmp_module.so")
LADDER = [{"name": "source"}, {"name": "240p", "height": 240, "video_kbps": 300, "audio_kbps": 64}]
CLIPS_DAYS = 7
# As templates/opt/streamkeep/nginx-rtmp/nginx.conf.j2 has it, but for limits, addresses and the second door.
NGINX = """
load_module {module};
{user}
daemon off; master_process off; pid {root}/nginx.pid; error_log {root}/error.log warn;
events {{ worker_connections 256; }}
rtmp {{
    access_log off;
    server {{
        listen 127.0.0.1:{rtmp};
        listen unix:{root}/play.sock;
        chunk_size 16384; out_queue 4096; max_message 4M; timeout 20s; ping 20s; ping_timeout 10s;
        notify_method post; netcall_timeout 3s;
        application live {{
            live on; wait_key off; interleave on; meta copy; publish_notify on; idle_streams on;
            drop_idle_publisher 15s;
            on_publish {app}/rtmp/publish;
            on_publish_done {app}/rtmp/done;
        }}
    }}
}}
http {{
    access_log off;
    client_body_temp_path {root}/tmp; proxy_temp_path {root}/tmp; fastcgi_temp_path {root}/tmp;
    uwsgi_temp_path {root}/tmp; scgi_temp_path {root}/tmp;
    server {{
        listen 127.0.0.1:{http};
        location = /stat {{ rtmp_stat all; }}
        location /control {{ rtmp_control all; }}
    }}
}}
"""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--minutes", type=int, default=60, help="how long soak.py streams")


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
    """Everything around one supervisor. Whoever publishes is admitted by *app* and is live; a test may say more."""

    eventually = staticmethod(eventually)

    def __init__(self, root: Path, clips: Path) -> None:
        self.root = root
        self.hls = root / "hls"
        self.hls.mkdir()
        self.recordings = root / "recordings"
        self.recordings.mkdir()
        self.rtmp_port, self.http_port, self.media_port = free_port(), free_port(), free_port()
        self.app = Orchestrator()
        self.app.control_url = f"http://127.0.0.1:{self.http_port}/control"
        self.supervisor: subprocess.Popen[str] | None = None
        self.started: list[subprocess.Popen[Any]] = []
        self.publishers: list[Publisher] = []
        self.clips = clips

    @property
    def rtmp(self) -> str:
        """The address to which a publisher connects."""
        return f"rtmp://127.0.0.1:{self.rtmp_port}/live"

    @property
    def live(self) -> dict[str, str] | None:
        """What the app says is live (session by slug); None is no answer."""
        return self.app.live

    @live.setter
    def live(self, said: dict[str, str] | None) -> None:
        self.app.live = said

    def run(self, command: list[str], **options: Any) -> subprocess.Popen[Any]:
        self.started.append(subprocess.Popen(command, **options))
        return self.started[-1]

    def start_nginx(self) -> None:
        config = self.root / "nginx.conf"
        # Root's nginx would give its folders to nobody, for which root needs rights that a container may lack.
        user = "user root;" if os.geteuid() == 0 else ""
        words = {"user": user, "rtmp": self.rtmp_port, "http": self.http_port, "app": self.app.url}
        config.write_text(NGINX.format(module=RTMP_MODULE, root=self.root, **words), encoding="utf-8")
        self.run(["nginx", "-p", str(self.root), "-e", str(self.root / "error.log"), "-c", str(config)])

        def answers() -> bool:
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", self.rtmp_port)) == 0

        eventually(answers, 10, "nginx-rtmp answers")

    def supervise(self, **settings: str) -> subprocess.Popen[Any]:
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(PACKAGE),
            "STREAMS_URL": f"{self.app.url}/streams",
            "RTMP_SOURCE": self.rtmp,
            "PLAY_SOCKET": f"{self.root}/play.sock",
            "MEDIA_PORT": str(self.media_port),
            "HLS_ROOT": str(self.hls),
            "RECORDINGS_ROOT": str(self.recordings),
            "LADDER": json.dumps(LADDER),
            "ENDED_RETENTION_SECONDS": "3",
            "SHED_RENDITIONS": "false",  # how busy this machine is decides one test, not all of them
        } | settings
        self.app.media_url = f"http://127.0.0.1:{self.media_port}"
        with (self.root / "log").open("ab") as log:
            self.supervisor = self.run(
                [sys.executable, "-m", "supervisor"], env=environment, stdout=log, stderr=subprocess.STDOUT
            )
        return self.supervisor

    def listens(self) -> None:
        """Wait until the supervisor hears of publishers at once."""

        def answers() -> bool:
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", self.media_port)) == 0

        eventually(answers, 10, "the supervisor answers")

    def publish(self, slug: str, *, sound: bool = True, picture: bool = True) -> subprocess.Popen[Any]:
        inputs, codecs = [], []
        if picture:
            inputs += ["-re", "-f", "lavfi", "-i", "testsrc2=size=640x360:rate=30"]
            codecs += ["-c:v", "libx264", "-preset", "ultrafast", "-g", "60", "-b:v", "800k", "-pix_fmt", "yuv420p"]
        if sound:
            inputs += ["-re", "-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000"]
            codecs += ["-c:a", "aac", "-b:a", "96k"]
        return self.run(["ffmpeg", "-nostdin", "-v", "error", *inputs, *codecs, "-f", "flv", f"{self.rtmp}/{slug}"])

    def send(self, row: str, slug: str = "", seconds: float = 3600) -> Publisher:
        """Begin to publish the row of that name in publishers.TABLE, as its name unless a *slug* is given."""
        made = publish(ROWS[row], self.rtmp.removesuffix("/live"), slug or row, self.clips, seconds)
        self.publishers.append(made)
        return made

    def obs(self, key: str) -> Obs:
        """Begin to publish by an OBS that has *key* (such as alice?key=secret) as its stream key."""
        home = self.root / "obs"
        home.mkdir()
        made = Obs(self.rtmp, key, home)
        self.publishers.append(made)
        return made

    def log(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.root / "log").read_text(encoding="utf-8").splitlines()]

    def playlist(self, slug: str, name: str = "source") -> str:
        try:
            return (self.hls / "public" / slug / name / "index.m3u8").read_text(encoding="utf-8")
        except FileNotFoundError:
            return ""

    def encoders(self) -> list[int]:
        """Return the pids of the ffmpegs that write into this house."""
        return self._processes(lambda words, _: words.startswith(b"ffmpeg\0") and str(self.hls).encode() in words)

    def packagers(self) -> list[int]:
        """Return the pids of the packagers, oldest first: the children of the supervisor's fork server."""

        def parent(process: Path) -> int:
            return int((process / "stat").read_text().rpartition(")")[2].split()[1])

        def ours(words: bytes, process: Path) -> bool:
            forked = b"multiprocessing.forkserver" in words and self.supervisor
            return bool(forked) and parent(Path(f"/proc/{parent(process)}")) == self.supervisor.pid

        return sorted(self._processes(ours))

    @staticmethod
    def _processes(wanted: Callable[[bytes, Path], bool]) -> list[int]:
        """Return the pids of the processes that are *wanted*, by their command line and their place in /proc."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if wanted((process / "cmdline").read_bytes(), process):
                    found.append(int(process.name))
            except (FileNotFoundError, ProcessLookupError):
                continue
        return found

    def close(self) -> None:
        if self.supervisor and self.supervisor.poll() is None:
            self.supervisor.terminate()
            self.supervisor.wait(20)
        for publisher in self.publishers:
            publisher.stop()
        for process in self.started:
            if process.poll() is None:
                process.kill()
            process.wait(10)
            for pipe in (process.stdin, process.stdout):
                if pipe:
                    pipe.close()
        for pid in self.encoders():
            os.kill(pid, signal.SIGKILL)
        self.app.close()


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder in which clips are kept, each made once: CLIPS, for a week, or one of this run alone."""
    if not (kept := os.environ.get("CLIPS")):
        return tmp_path_factory.mktemp("clips")
    for file in Path(kept).iterdir():
        if file.stat().st_mtime < time.time() - CLIPS_DAYS * 86400:
            file.unlink(missing_ok=True)
    return Path(kept)


@pytest.fixture
def house(tmp_path: Path, clips: Path) -> Iterator[House]:
    missing = [tool for tool in ("ffmpeg", "ffprobe", "nginx", "setpriv") if not shutil.which(tool)]
    if missing or not RTMP_MODULE.exists():
        pytest.fail("These tests need real tools: apt-get install ffmpeg nginx libnginx-mod-rtmp util-linux")
    made = House(tmp_path, clips)
    made.start_nginx()
    yield made
    made.close()
