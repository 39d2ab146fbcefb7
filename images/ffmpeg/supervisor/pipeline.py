"""One live stream's packager, as the supervisor sees it."""

from __future__ import annotations

import json
import multiprocessing
import threading
import time
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

from . import packager
from .child import GRACE, Child
from .config import Config
from .live import Stream
from .log import note
from .packager import Job
from .places import folder_of

# Each packager is a copy of one process that has loaded all it needs: it takes milliseconds where Python and its
# libraries take half a second, and shares their memory. https://docs.python.org/3/library/multiprocessing.html
FORKS = multiprocessing.get_context("forkserver")
LARGEST_REPORT = 64 * 1024  # bytes
RESTARTED_FOR = 60.0  # seconds for which a restart is told


def load() -> None:
    """Return when packagers can be started at once."""
    FORKS.set_forkserver_preload([packager.__name__])
    first = FORKS.Process(target=int, daemon=True)
    first.start()
    first.join()


class Pipeline(Child):
    """Runs a packager, again when it dies. The folder holds this session's HLS and nothing else."""

    first_retry = 0.5

    def __init__(self, config: Config, slug: str, stream: Stream, *, encode: bool) -> None:
        self._config = config
        self._stream = stream
        self._link: Connection | None = None
        self._linking = threading.Lock()  # who writes may not meet another file under the number of what was closed
        self.private = stream.private
        self.folder = folder_of(config.hls_root, slug, stream.private)
        self.attached = threading.Event()
        self.encode = encode
        self.began = time.monotonic()
        self.restarts = 0
        self._restarted = -RESTARTED_FOR
        self._report: dict[str, Any] = {}
        self._over = False
        super().__init__(slug, stream.session)

    def _once(self) -> None:
        """Let a packager work until it ends."""
        config = self._config
        source = config.source(self._stream.application)
        job = Job(
            self.slug, self.session, source, config.play_socket, self.folder, config.ladder,
            config.segment_seconds, config.playlist_segments, self.encode,
        )  # fmt: skip
        ours, theirs = FORKS.Pipe()
        with ours:
            with theirs:
                process = FORKS.Process(target=packager.work, args=(job, theirs), daemon=True)
                process.start()
            self._adopt(process)
            self._listen(ours)
        process.join(GRACE)
        process.kill()
        process.join()
        if self._over:  # another packager would empty the folder, and viewers would not learn of the end
            self._stopping.wait()
        elif not self.stopping:
            self.restarts += 1
            self._restarted = time.monotonic()
            note("packager", slug=self.slug, session=self.session, result="ended", code=process.exitcode)

    def _listen(self, link: Connection) -> None:
        """Take what the packager says at *link*, until it has gone, or nobody can understand it."""
        with self._linking:
            self._link = link
        with suppress(EOFError, OSError, ValueError):
            while True:
                self._take(json.loads(link.recv_bytes(LARGEST_REPORT)))
        with self._linking:
            self._link = None

    def _take(self, said: dict[str, Any]) -> None:
        """Take what the packager says."""
        if "attached" in said:
            self.attached.set()
        elif "over" in said:
            self._over = True
        else:
            self._report = said

    def order(self, *, encode: bool) -> None:
        """Let the packager encode renditions or not."""
        if encode != self.encode:
            self.encode = encode
            with self._linking, suppress(OSError):  # it has gone, and the next one is told with its job
                if self._link:
                    self._link.send_bytes(json.dumps({"encode": encode}).encode())

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
