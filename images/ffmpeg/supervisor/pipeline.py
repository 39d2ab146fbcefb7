"""One live stream's packager, as the supervisor sees it."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from typing import Any

from .child import DIES_WITH_US, Child
from .config import Config
from .live import Stream
from .log import note
from .packager import Job
from .places import folder_of

COMMAND = (sys.executable, "-m", "supervisor.packager")
LARGEST_REPORT = 64 * 1024  # characters
SPARES = 3  # packagers that wait, at 26 MB each
RETRY = 1.0  # seconds
RESTARTED_FOR = 60.0  # seconds for which a restart is told


class Spares(threading.Thread):
    """Keeps packagers ready, so that a stream that begins does not wait for Python and its libraries.

    The thread lives as long as we do: the kernel ends a packager with the thread that started it.
    """

    def __init__(self) -> None:
        super().__init__(name="spares", daemon=True)
        self._ready: list[subprocess.Popen[str]] = []
        self._wanted = 0  # by pipelines that wait for one
        self._changed = threading.Condition()
        self._stopping = False

    def _missing(self) -> int:
        """Return how many are to be started."""
        return max(0, SPARES + self._wanted - len(self._ready))

    def run(self) -> None:
        """Start packagers whenever some are missing, all of them side by side."""
        while not self._stopping:
            with self._changed:
                self._changed.wait_for(lambda: self._stopping or self._missing())
                count = 0 if self._stopping else self._missing()
            for process in [self._unready() for _ in range(count)]:
                self._admit(process)
        for process in self._ready:
            _let_go(process)

    @staticmethod
    def _unready() -> subprocess.Popen[str]:
        """Return a packager that may not be ready yet."""
        return subprocess.Popen([*DIES_WITH_US, *COMMAND], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def _admit(self, process: subprocess.Popen[str]) -> None:
        """Wait until *process* is ready, and give it to whoever waits."""
        assert process.stdout  # noqa: S101  # tells mypy what Popen was called with
        if not process.stdout.readline(LARGEST_REPORT):
            _let_go(process)
            note("packager", result="does not start", code=process.returncode)
            time.sleep(RETRY)
            return
        with self._changed:
            self._ready.append(process)
            self._changed.notify_all()

    def wait(self) -> None:
        """Return when all are ready."""
        with self._changed:
            self._changed.wait_for(lambda: not self._missing())

    def take(self) -> subprocess.Popen[str]:
        """Return a packager that waits for its job."""
        with self._changed:
            self._wanted += 1
            self._changed.notify_all()
            self._changed.wait_for(lambda: bool(self._ready))
            self._wanted -= 1
            process = self._ready.pop()
            self._changed.notify_all()
            return process

    def stop(self) -> None:
        """Keep none ready any more."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self.join()


def _let_go(process: subprocess.Popen[str]) -> None:
    """End *process*, and leave nothing of it."""
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe:
            pipe.close()


class Pipeline(Child):
    """Runs a packager, again when it dies. The folder holds this session's HLS and nothing else."""

    first_retry = 0.5

    def __init__(self, config: Config, slug: str, stream: Stream, spares: Spares, *, encode: bool) -> None:
        self._config = config
        self._stream = stream
        self._spares = spares
        self.private = stream.private
        self.folder = folder_of(config.hls_root, slug, stream.private)
        self.attached = threading.Event()
        self.encode = encode
        self.began = time.monotonic()
        self.restarts = 0
        self._restarted = -RESTARTED_FOR
        self._report: dict[str, Any] = {}
        super().__init__(slug, stream.session)

    def _once(self) -> None:
        """Let a packager work until it ends."""
        config = self._config
        source = config.source(self._stream.application)
        job = Job(
            self.slug, self.session, source, self.folder, config.ladder,
            config.segment_seconds, config.playlist_segments, self.encode,
        )  # fmt: skip
        process = self._adopt(self._spares.take())
        assert process.stdin and process.stdout  # noqa: S101  # tells mypy what Popen was called with
        self._write(job.line())
        while line := process.stdout.readline(LARGEST_REPORT):
            self._take(line)
        code = process.wait()
        _let_go(process)
        if code and not self.stopping:
            self.restarts += 1
            self._restarted = time.monotonic()
            note("packager", slug=self.slug, session=self.session, result="ended", code=code)
        elif not code:  # a new packager would empty the folder, and viewers would not learn of the end
            self._stopping.wait()

    def _take(self, line: str) -> None:
        """Take a line of the packager."""
        try:
            said = json.loads(line)
        except ValueError:
            return  # it was killed while it wrote
        if "attached" in said:
            self.attached.set()
        else:
            self._report = said

    def _write(self, line: str) -> None:
        """Write *line* to the packager."""
        process = self._process
        try:
            if process and process.stdin:
                process.stdin.write(line)
                process.stdin.flush()
        except (BrokenPipeError, ValueError):
            return  # it has gone; it is started again

    def order(self, *, encode: bool) -> None:
        """Let the packager encode renditions or not."""
        if encode != self.encode:
            self.encode = encode
            self._write(json.dumps({"encode": encode}) + "\n")

    @property
    def encoder(self) -> tuple[int | None, float | None]:
        """The encoder's process, and how many seconds it is behind; None for each where there is none."""
        said = self._report.get("encoder", {})
        return said.get("pid"), said.get("lag")

    def report(self) -> dict[str, Any]:
        """Return what is to be told of this stream."""
        problems = list(self._report.get("problems", []))
        if time.monotonic() - self._restarted < RESTARTED_FOR:
            problems.append({"code": "restarted", "count": self.restarts})
        return {"session": self.session, "facts": self._report.get("facts", {}), "problems": problems}
