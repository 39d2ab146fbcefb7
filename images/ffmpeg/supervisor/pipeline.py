"""One live stream's way from RTMP to HLS: a thread that probes, runs ffmpeg, and runs it again when it dies."""

from __future__ import annotations

import shutil
import signal
import subprocess
import threading
import time

from .config import Config
from .ffmpeg import Source, Unplayable, hls_command, probe_command, understand
from .log import note

GRACE = 8.0  # seconds that ffmpeg gets to write the end of its playlists
SLOWEST_RETRY = 10.0  # seconds


class Pipeline:
    """Runs until `stop`. The folder holds this session's HLS and nothing else."""

    def __init__(self, config: Config, slug: str, session: str) -> None:
        self.slug = slug
        self.session = session
        self._config = config
        self._folder = config.hls_root / slug
        self._url = f"{config.rtmp_source}/{slug}"
        self._stopping = threading.Event()
        self._asked = 0.0
        self._process: subprocess.Popen[str] | None = None
        self._thread = threading.Thread(target=self._run, name=slug, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ask ffmpeg to write the end of its playlists and go; asked again after GRACE, it is killed."""
        process = self._process
        if not self._stopping.is_set():
            self._asked = time.monotonic()
            self._stopping.set()
            if process and process.poll() is None:
                process.send_signal(signal.SIGINT)
        elif process and time.monotonic() - self._asked > GRACE:
            process.kill()

    def join(self) -> None:
        """Wait until ffmpeg has gone, which takes GRACE at the most."""
        self._thread.join(GRACE)
        if self._thread.is_alive():
            self._asked = 0.0
            self.stop()
            self._thread.join()

    @property
    def ended(self) -> bool:
        """Whether nothing of this pipeline runs any more."""
        return not self._thread.is_alive()

    def _run(self) -> None:
        """Probe and encode until told to stop."""
        wait = 0.5
        while not self._stopping.is_set():
            began = time.monotonic()
            try:
                self._encode(self._probe())
            except Unplayable as reason:
                note("stream", slug=self.slug, result="unplayable", reason=str(reason))
            wait = 0.5 if time.monotonic() - began > 30 else min(wait * 2, SLOWEST_RETRY)
            self._stopping.wait(wait)

    def _spawn(self, command: list[str]) -> subprocess.Popen[str]:
        """Start *command*, known to `stop` from its first moment."""
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        if self._stopping.is_set():
            self._process.send_signal(signal.SIGINT)
        return self._process

    def _probe(self) -> Source:
        """Return what the stream holds."""
        answer, _ = self._spawn(probe_command(self._url)).communicate()
        return understand(answer)

    def _encode(self, source: Source) -> None:
        """Run ffmpeg until it ends, in a folder that holds nothing of an earlier run."""
        if self._stopping.is_set():
            return
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(mode=0o755)
        process = self._spawn(hls_command(self._config, self._url, self._folder, int(time.time()), source))
        note("ffmpeg", slug=self.slug, session=self.session, result="started", height=source.height)
        _, complaints = process.communicate()
        note(
            "ffmpeg",
            slug=self.slug,
            session=self.session,
            result="ended",
            code=process.returncode,
            said=complaints.strip().splitlines()[-3:],
        )
