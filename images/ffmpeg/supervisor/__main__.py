"""`python3 -m supervisor`: every two seconds, make what runs follow what is live."""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from . import places, pushes, retention
from .capacity import Capacity, Encoding, Processors
from .config import Config, RefusedSetting, from_environment
from .follower import EX_CONFIG, Follower, stop_all
from .live import Answer, Stream, fetch
from .log import note
from .pipeline import Pipeline, load
from .reconcile import reconcile
from .recorder import Recorder

RETENTION_EVERY = 10.0  # seconds
BELIEVED = 6.0  # seconds for which a push holds that the poll does not know of yet
ATTACHES = 0.6  # seconds; the publisher waits meanwhile


class Supervisor(Follower):
    """Holds the pipelines and the recorders."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.pipelines: dict[str, Pipeline] = {}
        self.recorders: dict[str, Recorder] = {}
        self.room = True
        self.looked = 0.0
        self.lock = threading.Lock()  # a push and a round act on the same pipelines
        self.pushed: dict[str, tuple[Stream, float]] = {}
        self.capacity = Capacity(Processors(), sheds=config.sheds)
        places.make_roots(config.hls_root)

    def folders(self) -> list[Path]:
        """Return the folders of what runs."""
        return [pipeline.folder for pipeline in list(self.pipelines.values())]

    def follow(self) -> None:
        """Ask what is live and act on it."""
        answer = fetch(self.config.streams_url, self.told())
        with self.lock:
            self.encode(answer)
            self.judge()
        if self.config.recordings_root:
            self.record(answer, self.config.recordings_root)
        for slug in places.forget(self.config.hls_root, self.folders(), self.config.ended_retention_seconds):
            note("stream", slug=slug, result="forgotten")

    def told(self) -> dict[str, Any]:
        """Return what the orchestrator is told with each question."""
        reports = [pipeline.report() for pipeline in list(self.pipelines.values()) if not pipeline.stopping]
        host = self.capacity.told(self.config.hls_root) | {"failures": self.failures}
        return {"reports": reports, "host": host}

    def encode(self, answer: Answer) -> None:
        """Make the pipelines follow *answer*; a stream that changes between public and private begins anew."""
        self.pipelines = {slug: p for slug, p in self.pipelines.items() if not p.ended}
        now = time.monotonic()
        self.pushed = {
            slug: (stream, until)
            for slug, (stream, until) in self.pushed.items()
            if now < until and (slug not in answer.streams or answer.streams[slug].session != stream.session)
        }
        streams = answer.streams | {slug: stream for slug, (stream, _) in self.pushed.items()}
        wanted = {slug: (stream.session, stream.private) for slug, stream in streams.items()}
        end, begin = reconcile(wanted, {slug: (p.session, p.private) for slug, p in self.pipelines.items()})
        for slug in end:
            self.attempt(slug, self.pipelines[slug].stop)
        for slug in begin:
            self.attempt(slug, partial(self.begin, slug, streams[slug]))

    def begin(self, slug: str, stream: Stream) -> None:
        """Begin to package a stream."""
        # What was public a moment ago must not stay so.
        places.leave(self.config.hls_root, slug, not stream.private)
        encode = self.capacity.admits(time.monotonic())
        if not encode:
            self.capacity.shed.add(slug)
        self.pipelines[slug] = Pipeline(self.config, slug, stream, encode=encode)

    def push(self, slug: str, stream: Stream) -> bool:
        """Begin a stream that was admitted just now, and tell whether nothing of it will be missed."""
        with self.lock:
            running = self.pipelines.get(slug)
            if running and (running.session != stream.session or running.stopping or running.ended):
                running.kill()  # its publisher has gone
                running.join()
                running = None
            if running is None:
                self.begin(slug, stream)
            self.pushed[slug] = (stream, time.monotonic() + BELIEVED)
            pipeline = self.pipelines[slug]
        return pipeline.attached.wait(ATTACHES)

    def judge(self) -> None:
        """Decide who may encode."""
        running = {slug: p for slug, p in self.pipelines.items() if not p.stopping}
        self.capacity.judge({slug: Encoding(p.began, *p.encoder) for slug, p in running.items()}, time.monotonic())
        for slug, pipeline in running.items():
            pipeline.order(encode=slug not in self.capacity.shed)

    def record(self, answer: Answer, root: Path) -> None:
        """Make the recorders follow *answer* as far as there is room."""
        self.recorders = {slug: r for slug, r in self.recorders.items() if not r.ended}
        self.make_room(answer, root)
        streams = answer.streams.items() if self.room else ()
        wanted = {slug: stream.session for slug, stream in streams if stream.record}
        end, begin = reconcile(wanted, {slug: r.session for slug, r in self.recorders.items()})
        for slug in end:
            self.attempt(slug, self.recorders[slug].stop)
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
    orchestrator = socket.gethostbyname(urlsplit(config.streams_url).hostname or "")
    load()  # who is told of a stream can take it at once
    pushes.listen(config.push_port, orchestrator, supervisor.push)
    supervisor.run("supervisor", config.poll_seconds, renditions=[rendition.name for rendition in config.ladder])


if __name__ == "__main__":
    main()
