"""`python3 -m orchestrator.worker`: each 2 s, measure what is live, count who watches, and end what exceeds its limits.

It runs once, beside the web server's workers, which come and go.
"""

from __future__ import annotations

import math
import os
import socket
import sys
import threading
import time
from collections import Counter
from datetime import timedelta
from pathlib import Path

from flask import Flask
from sqlalchemy import delete

from . import create_app
from .models import Health, Sample, Session, Tally
from .site.clock import now
from .site.database import db
from .site.events import log, note
from .site.settings import RefusedSetting, Settings
from .streams import health, limits, recordings, rtmp_statistics, samples, sessions
from .streams.bitrate import Meter
from .streams.rtmp_statistics import NoAnswer, Reading
from .streams.viewers import Audience

EX_CONFIG = 78  # sysexits.h: configuration error
ROUND = 2.0  # seconds
SAMPLE_EVERY = 10.0  # seconds
HEALTH_KEPT = timedelta(days=30)  # after the stream's end; why it ended is asked for later than how it ran
HOUSEKEEPING = 60.0  # seconds
PORT = 5514
HEARTBEAT = Path("/tmp/heartbeat")  # noqa: S108  # the container's own tmpfs, where heartbeat.py looks


class Worker:
    """Measures the streams of *app*."""

    def __init__(self, app: Flask, audience: Audience) -> None:
        self.app = app
        self.settings: Settings = app.config["STREAMKEEP"]
        self.audience = audience
        self.meters: dict[str, Meter] = {}
        self.sampled: dict[str, float] = {}
        self.answered = True
        self.tidied = 0.0
        self.failures: Counter[str] = Counter()

    def go_round(self) -> None:
        """Go round once and note that; whatever goes wrong is logged and counted, and the next round tries again."""
        try:
            self.round()
            beat()
        except Exception:
            self._failed("worker_rounds")

    def _failed(self, what: str, **details: str) -> None:
        """Log the exception that is being handled, and count *what* of `internal.metrics.TALLIES` went wrong."""
        log.exception("worker", extra={"details": {"result": "failed", "what": what, **details}})
        self.failures[what] += 1

    def round(self) -> None:
        """Go round once. What nginx-rtmp says is asked before the database is locked."""
        readings = self._readings()
        moment = time.monotonic()
        watching = self.audience.count(moment)
        with self.app.app_context():
            live = sessions.live()
            self.meters = {session.id: self.meters.get(session.id, Meter()) for session in live}
            self.sampled = {session.id: self.sampled.get(session.id, -math.inf) for session in live}
            for session_id, slug in [(session.id, session.stream_key.slug) for session in live]:
                try:
                    self._look_after(db.session.get_one(Session, session_id), readings, watching, moment)
                except Exception:
                    self._failed("worker_streams", slug=slug, session=session_id)
            sessions.end_silent()
            self._tell_failures()
            db.session.commit()
            self.failures.clear()
            if moment - self.tidied >= HOUSEKEEPING:
                tidy()
                recordings.forget_discarded(self.settings.recordings_path)
                self.tidied = moment

    def _tell_failures(self) -> None:
        """Write down for /metrics what failed since the last round that worked; nobody scrapes this process."""
        for what, count in self.failures.items():
            tally = db.session.get(Tally, what)
            if tally is None:
                tally = Tally(name=what, count=0)
                db.session.add(tally)
            tally.count += count

    def _readings(self) -> rtmp_statistics.Readings | None:
        """Return what nginx-rtmp says; without an answer None, which is said once."""
        try:
            readings = rtmp_statistics.fetch(self.settings.rtmp_stat_url)
        except NoAnswer as reason:
            if self.answered:
                note("measuring", "no answer", None, reason=str(reason))
            self.answered = False
            return None
        self.answered = True
        return readings

    def _look_after(
        self, session: Session, readings: rtmp_statistics.Readings | None, watching: dict[str, int], moment: float
    ) -> None:
        """Measure *session*, and send it away when that is too much."""
        with db.session.begin_nested():  # what fails of one stream takes nothing of the others with it
            self._measure(session, readings, watching, moment)
        reason = None if session.ending else limits.exceeded(session, self.meters[session.id], now())
        if reason:
            sessions.send_away(session, reason, sessions.HOLD)
            slug = session.stream_key.slug
            note("limit", "exceeded", session.address, reason=reason, slug=slug, session=session.id)

    def _measure(
        self, session: Session, readings: rtmp_statistics.Readings | None, watching: dict[str, int], moment: float
    ) -> None:
        """Write down what is known of *session*."""
        slug = session.stream_key.slug
        session.viewers = watching.get(slug, 0)
        session.peak_viewers = max(session.peak_viewers, session.viewers)
        meter = self.meters[session.id]
        if readings is not None:
            self._read(session, readings.get((slug, session.client_id)), meter, moment)
        if moment - self.sampled[session.id] >= SAMPLE_EVERY:
            sample = Sample(session_id=session.id, bitrate_kbps=session.bitrate_kbps, viewers=session.viewers)
            db.session.add(sample)
            self.sampled[session.id] = moment

    def _read(self, session: Session, reading: Reading | None, meter: Meter, moment: float) -> None:
        """Write down what nginx-rtmp says of *session*; what the supervisor found in the stream itself counts more."""
        if reading is not None:
            session.updated_at = now()  # still there, also while the app restarts and hears of nobody
            session.bytes_received += meter.count(reading.received, moment)
            session.bitrate_kbps = meter.kbps
            session.width, session.height, session.frame_rate = reading.width, reading.height, reading.frame_rate
            session.video_codec, session.audio_codec = reading.video_codec, reading.audio_codec
        session.silent_seconds = meter.silent(moment)
        for name, value in health.measured(session).items():
            setattr(session, name, value)


def tidy() -> None:
    """Merge the samples that have become old, and forget those of streams that ended a while ago, and how they were."""
    samples.thin()
    samples.forget()
    ended = db.select(Session.id).where(Session.ended_at < now() - HEALTH_KEPT)
    db.session.execute(delete(Health).where(Health.session_id.in_(ended)))
    db.session.commit()


def beat() -> None:
    """Note that a round has been completed."""
    HEARTBEAT.touch()


def serve(worker: Worker, port: socket.socket) -> None:
    """Go round for as long as somebody listens to the proxy at *port*."""
    arguments = (port, worker.settings.trusted_proxy)
    listener = threading.Thread(target=worker.audience.listen, args=arguments, name="viewers", daemon=True)
    listener.start()
    note("worker", "started", None, process=os.getpid())
    while listener.is_alive():
        worker.go_round()
        time.sleep(ROUND)


def main() -> None:
    """Measure until the container is stopped."""
    try:
        app = create_app()
    except RefusedSetting as refusal:
        print(f"The worker does not start: {refusal}", file=sys.stderr)
        sys.exit(EX_CONFIG)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as port:
        port.bind(("0.0.0.0", PORT))  # noqa: S104  # the container's own network; only the proxy is listened to
        serve(Worker(app, Audience()), port)
    sys.exit("The worker ends: nobody listens to the proxy any more.")


if __name__ == "__main__":
    main()
