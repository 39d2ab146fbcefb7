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
from datetime import timedelta
from pathlib import Path

from flask import Flask
from sqlalchemy.exc import SQLAlchemyError

from . import create_app, measuring, recordings, samples, sessions
from .clock import now
from .database import db
from .events import log, note
from .measuring import Meter, NoAnswer, Reading
from .models import Sample, Session
from .settings import RefusedSetting, Settings
from .viewers import Audience

EX_CONFIG = 78  # sysexits.h: configuration error
ROUND = 2.0  # seconds
SAMPLE_EVERY = 10.0  # seconds
HOUSEKEEPING = 60.0  # seconds
# An encoder that was sent away comes back at once; for this long it is told at the door.
HOLD = timedelta(seconds=60)
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

    def round(self) -> None:
        """Go round once. What nginx-rtmp says is asked before the database is locked."""
        readings = self._readings()
        moment = time.monotonic()
        watching = self.audience.count(moment)
        with self.app.app_context():
            live = sessions.live()
            self.meters = {session.id: self.meters.get(session.id, Meter()) for session in live}
            self.sampled = {session.id: self.sampled.get(session.id, -math.inf) for session in live}
            for session in live:
                self._measure(session, readings.get(session.stream_key.slug), watching, moment)
            sessions.end_silent()
            db.session.commit()
            if moment - self.tidied >= HOUSEKEEPING:
                tidy()
                recordings.forget_discarded(self.settings.recordings_path)
                self.tidied = moment

    def _readings(self) -> dict[str, Reading]:
        """Return what nginx-rtmp says; without an answer nothing, which is said once."""
        try:
            readings = measuring.fetch(self.settings.rtmp_stat_url)
        except NoAnswer as reason:
            if self.answered:
                note("measuring", "no answer", None, reason=str(reason))
            self.answered = False
            return {}
        self.answered = True
        return readings

    def _playlist(self, session: Session) -> Path:
        """Return where ffmpeg says what it makes of *session*."""
        folder = "private" if session.stream_key.visibility == "private" else "public"
        return self.settings.hls_path / folder / session.stream_key.slug / "index.m3u8"

    def _measure(self, session: Session, reading: Reading | None, watching: dict[str, int], moment: float) -> None:
        """Write down what is known of *session*, and send it away when that is too much."""
        session.viewers = watching.get(session.stream_key.slug, 0)
        session.peak_viewers = max(session.peak_viewers, session.viewers)
        meter = self.meters[session.id]
        # For a moment after a takeover nginx-rtmp still tells of the former publisher.
        if reading is not None and reading.client_id == session.client_id:
            session.updated_at = now()  # still there, also while the app restarts and hears of nobody
            session.bytes_received += meter.count(reading.received, moment)
            session.bitrate_kbps = meter.kbps
            session.width, session.height, session.frame_rate = reading.width, reading.height, reading.frame_rate
            width, height = measuring.picture(self._playlist(session), session.started_at)
            if height > session.height:
                session.width, session.height = width, height
            session.video_codec, session.audio_codec = reading.video_codec, reading.audio_codec
        if moment - self.sampled[session.id] >= SAMPLE_EVERY:
            sample = Sample(session_id=session.id, bitrate_kbps=session.bitrate_kbps, viewers=session.viewers)
            db.session.add(sample)
            self.sampled[session.id] = moment
        reason = None if session.ending else measuring.excess(session, meter, now())
        if reason:
            sessions.send_away(session, reason, HOLD)
            note("limit", "exceeded", session.address, reason=reason, slug=session.stream_key.slug, session=session.id)


def tidy() -> None:
    """Merge the samples that have become old, and forget those of streams that ended a while ago."""
    samples.thin()
    samples.forget()


def beat() -> None:
    """Note that a round has been completed."""
    HEARTBEAT.touch()


def main() -> None:
    """Measure until the container is stopped."""
    try:
        app = create_app()
    except RefusedSetting as refusal:
        print(f"The worker does not start: {refusal}", file=sys.stderr)
        sys.exit(EX_CONFIG)
    worker = Worker(app, Audience())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as port:
        port.bind(("0.0.0.0", PORT))  # noqa: S104  # the container's own network; only the proxy is listened to
        listener = threading.Thread(
            target=worker.audience.listen, args=(port, worker.settings.trusted_proxy), name="viewers", daemon=True
        )
        listener.start()
        note("worker", "started", None, process=os.getpid())
        while listener.is_alive():
            try:
                worker.round()
                beat()
            except SQLAlchemyError:
                log.exception("worker")  # a database that is locked: no heartbeat, and the next round tries again
            time.sleep(ROUND)
    sys.exit("The worker ends: nobody listens to the proxy any more.")


if __name__ == "__main__":
    main()
