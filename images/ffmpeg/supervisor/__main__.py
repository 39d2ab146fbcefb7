"""`python3 -m supervisor`: once a second, make what runs follow what is live."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from . import places, retention
from .config import Config, RefusedSetting, from_environment
from .follower import EX_CONFIG, Follower, stop_all
from .live import Answer, fetch
from .log import note
from .pipeline import Pipeline
from .reconcile import reconcile
from .recorder import Recorder
from .thumbnails import Thumbnailer

RETENTION_EVERY = 10.0  # seconds


class Supervisor(Follower):
    """Holds the pipelines and the recorders."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.pipelines: dict[str, Pipeline] = {}
        self.recorders: dict[str, Recorder] = {}
        self.room = True
        self.looked = 0.0
        places.make_roots(config.hls_root)
        self.thumbnailer = Thumbnailer(self.folders, config.ladder[0].name)
        self.thumbnailer.start()

    def folders(self) -> list[Path]:
        """Return the folders of what runs."""
        return [pipeline.folder for pipeline in list(self.pipelines.values())]

    def follow(self) -> None:
        """Ask what is live and act on it."""
        answer = fetch(self.config.streams_url)
        self.encode(answer)
        if self.config.recordings_root:
            self.record(answer, self.config.recordings_root)
        for slug in places.forget(self.config.hls_root, self.folders(), self.config.ended_retention_seconds):
            note("stream", slug=slug, result="forgotten")

    def encode(self, answer: Answer) -> None:
        """Make the pipelines follow *answer*; a stream that changes between public and private begins anew."""
        self.pipelines = {slug: p for slug, p in self.pipelines.items() if not p.ended}
        wanted = {slug: (stream.session, stream.private) for slug, stream in answer.streams.items()}
        end, begin = reconcile(wanted, {slug: (p.session, p.private) for slug, p in self.pipelines.items()})
        for slug in end:
            self.pipelines[slug].stop()
        for slug in begin:
            # What was public a moment ago must not stay so.
            places.leave(self.config.hls_root, slug, not answer.streams[slug].private)
            self.pipelines[slug] = Pipeline(self.config, slug, answer.streams[slug])

    def record(self, answer: Answer, root: Path) -> None:
        """Make the recorders follow *answer* as far as there is room."""
        self.recorders = {slug: r for slug, r in self.recorders.items() if not r.ended}
        self.make_room(answer, root)
        streams = answer.streams.items() if self.room else ()
        wanted = {slug: stream.session for slug, stream in streams if stream.record}
        end, begin = reconcile(wanted, {slug: r.session for slug, r in self.recorders.items()})
        for slug in end:
            self.recorders[slug].stop()
        for slug in begin:
            self.recorders[slug] = Recorder(self.config, root, slug, answer.streams[slug])

    def make_room(self, answer: Answer, root: Path) -> None:
        """Remove recordings that are to go, or that are too old or too many; tell when nothing more may be written."""
        for path in retention.discard(root, answer.discards):
            note("recording", path=path, result="removed", reason="deleted")
        if time.monotonic() - self.looked < RETENTION_EVERY:
            return
        self.looked = time.monotonic()
        writing = {recorder.file for recorder in self.recorders.values() if recorder.file}
        for file, reason in retention.keep_within(root, self.config.recording_limits, writing):
            note("recording", path=str(file.relative_to(root)), result="removed", reason=reason)
        room = retention.fits(root, self.config.recording_limits)
        if room != self.room:
            note("recording", result="goes on" if room else "stopped", reason="there is room" if room else "disk full")
        self.room = room

    def stop(self) -> None:
        """End everything that runs."""
        self.thumbnailer.stop()
        stop_all([*self.pipelines.values(), *self.recorders.values()])


def main() -> None:
    """Run until SIGTERM."""
    os.umask(0o022)  # the proxy reads what ffmpeg writes
    try:
        supervisor = Supervisor(from_environment(os.environ))
    except RefusedSetting as refusal:
        print(f"The ffmpeg supervisor does not start: {refusal}", file=sys.stderr)
        sys.exit(EX_CONFIG)
    config = supervisor.config
    supervisor.run("supervisor", config.poll_seconds, renditions=[rendition.name for rendition in config.ladder])


if __name__ == "__main__":
    main()
