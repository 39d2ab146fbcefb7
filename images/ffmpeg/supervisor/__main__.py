"""`python3 -m supervisor`: once a second, make what runs follow what is live."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import threading
import time
from pathlib import Path

from .config import Config, RefusedSetting, from_environment
from .health import beat
from .live import SLUG, NoAnswer, fetch
from .log import note
from .pipeline import Pipeline
from .reconcile import reconcile

EX_CONFIG = 78  # sysexits.h: configuration error


class Supervisor:
    """Holds the pipelines."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.pipelines: dict[str, Pipeline] = {}
        self.answered = True

    def round(self) -> None:
        """Ask what is live and act on it; without an answer what runs goes on."""
        try:
            wanted = fetch(self.config.streams_url)
        except NoAnswer as reason:
            if self.answered:
                note("orchestrator", result="no answer", reason=str(reason))
            self.answered = False
            return
        if not self.answered:
            note("orchestrator", result="answers again")
        self.answered = True
        self.pipelines = {slug: p for slug, p in self.pipelines.items() if not p.ended}
        end, begin = reconcile(wanted, {slug: p.session for slug, p in self.pipelines.items()})
        for slug in end:
            self.pipelines[slug].stop()
        for slug in begin:
            self.pipelines[slug] = Pipeline(self.config, slug, wanted[slug])
        self.forget_ended()
        beat()

    def forget_ended(self) -> None:
        """Remove the folders of streams that ended a while ago, or that an earlier supervisor left."""
        oldest = time.time() - self.config.ended_retention_seconds
        for folder in self.config.hls_root.iterdir():
            if folder.name not in self.pipelines and SLUG.fullmatch(folder.name) and _last_change(folder) < oldest:
                shutil.rmtree(folder, ignore_errors=True)
                note("stream", slug=folder.name, result="forgotten")

    def stop(self) -> None:
        """End all pipelines."""
        for pipeline in self.pipelines.values():
            pipeline.stop()
        for pipeline in self.pipelines.values():
            pipeline.join()


def _last_change(folder: Path) -> float:
    """Return when (seconds since 1970) something under *folder* changed last."""
    return max(path.stat().st_mtime for path in (folder, *folder.rglob("*")))


def main() -> None:
    """Run until SIGTERM."""
    try:
        supervisor = Supervisor(from_environment(os.environ))
    except RefusedSetting as refusal:
        print(f"The ffmpeg supervisor does not start: {refusal}", file=sys.stderr)
        sys.exit(EX_CONFIG)
    os.umask(0o022)  # the proxy reads what ffmpeg writes
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    note("supervisor", result="started", renditions=[r.name for r in supervisor.config.ladder])
    while not stopping.wait(supervisor.config.poll_seconds):
        supervisor.round()
    supervisor.stop()
    note("supervisor", result="ended")


if __name__ == "__main__":
    main()
