"""What is measured of a stream, and that a limit ends exactly what exceeds it."""

from __future__ import annotations

import itertools
import json
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from orchestrator import worker
from orchestrator.models import Sample, Session
from orchestrator.site.database import db
from orchestrator.streams import keys, samples, sessions
from orchestrator.streams.viewers import Audience
from orchestrator.worker import Worker
from peers import reported, stat
from sqlalchemy import select, text

Call = Callable[..., int]


class Stage:
    """A worker whose nginx-rtmp says what a test lets it say; each round takes two seconds."""

    def __init__(self, app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
        self.worker = Worker(app, Audience())
        self.answer: bytes | None = stat(0)
        self.clock = itertools.count(1000.0, 2.0)
        monkeypatch.setattr("urllib.request.urlopen", self._open)
        monkeypatch.setattr(worker, "time", self)

    def monotonic(self) -> float:
        return next(self.clock)

    def _open(self, *_: Any, **__: Any) -> BytesIO:
        if self.answer is None:
            raise OSError
        return BytesIO(self.answer)

    def send(self, kbps: float, rounds: int, **said: int) -> Session:
        """Send for some rounds and return the session."""
        start = getattr(self, "received", 0)
        for number in range(1, rounds + 1):
            self.received = start + int(kbps * 125 * 2 * number)
            self.answer = stat(self.received, **said)
            self.round()
        return latest()

    def round(self) -> None:
        """Go round once; the test's own transaction would keep the worker out."""
        db.session.rollback()
        self.worker.round()


def latest() -> Session:
    db.session.expire_all()
    found = db.session.scalar(select(Session).order_by(Session.started_at.desc()))
    assert found
    return found


@pytest.fixture
def stage(app: Flask, monkeypatch: pytest.MonkeyPatch, rtmp_callback: Call, alice_secret: str) -> Iterator[Stage]:
    assert rtmp_callback("publish", name="alice", key=alice_secret) == 204
    yield Stage(app, monkeypatch)


def test_a_live_stream_is_measured(stage: Stage) -> None:
    session = stage.send(3000, 8)
    assert session.bitrate_kbps == 3000
    assert session.bytes_received == 7 * 750_000
    assert (session.width, session.height, session.frame_rate) == (1280, 720, 30.0)
    assert (session.video_codec, session.audio_codec) == ("H264 Baseline", "AAC LC")
    assert session.ending is None
    assert len(samples.newest(session)) == 2
    assert samples.newest(session)[-1].bitrate_kbps == 3000


def test_the_former_publisher_is_not_taken_for_this_one(stage: Stage) -> None:
    session = stage.send(3000, 8, client=77)
    assert (session.bytes_received, session.bitrate_kbps, session.height) == (0, 0, 0)


def test_a_worker_that_begins_anew_goes_on_counting(stage: Stage, app: Flask) -> None:
    before = stage.send(3000, 4).bytes_received
    stage.worker = Worker(app, stage.worker.audience)
    assert stage.send(3000, 4).bytes_received == before + 3 * 750_000


def test_without_an_answer_nothing_changes_and_it_is_said_once(
    stage: Stage, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(worker, "note", lambda event, result, *_, **__: said.append(result))
    bitrate = stage.send(3000, 8).bitrate_kbps
    stage.answer = None
    stage.round()
    stage.round()
    assert latest().bitrate_kbps == bitrate
    assert said == ["no answer"]
    stage.send(3000, 1)
    stage.answer = None
    stage.round()
    assert said == ["no answer", "no answer"]


@pytest.mark.parametrize(
    ("limit", "value", "kbps", "ending"),
    [
        ("max_bitrate_kbps", 2000, 3000, "bitrate"),
        ("max_bitrate_kbps", 3000, 3000, None),
        ("max_bitrate_kbps", 2800, 3000, None),  # within what encoders overshoot
        ("max_height", 719, 100, "resolution"),
        ("max_height", 720, 100, None),
        ("max_minutes", 1, 100, None),
    ],
)
def test_what_exceeds_a_limit_is_sent_away_and_only_that(
    stage: Stage, rtmp_callback: Call, alice_secret: str, limit: str, value: int, kbps: int, ending: str | None
) -> None:
    keys.change(keys.known("alice"), **{limit: value})
    assert stage.send(kbps, 8).ending == ending
    assert rtmp_callback("update", call="update_publish", name="alice", key=alice_secret) == (403 if ending else 204)
    # An encoder comes back at once, and would for ever.
    assert rtmp_callback("publish", name="alice", key=alice_secret, clientid="2") == 403
    if ending:
        assert keys.known("alice").held_until


def test_who_lies_about_the_picture_is_seen_through(stage: Stage, client: FlaskClient) -> None:
    keys.change(keys.known("alice"), max_height=720)
    assert stage.send(100, 1, height=360).ending is None
    facts = {"width": 1920, "height": 1080, "frame_rate": 29.97, "video_codec": "H.264", "profile": "High"}
    reported(client, {"session": latest().id, "facts": facts})
    session = stage.send(100, 1, height=360)
    assert (session.width, session.height, session.frame_rate) == (1920, 1080, 29.97)
    assert (session.video_codec, session.audio_codec) == ("H.264 High", "AAC LC")
    assert session.ending == "resolution"


def test_what_the_supervisor_has_not_said_lately_is_not_believed(stage: Stage, client: FlaskClient) -> None:
    reported(client, {"session": latest().id, "facts": {"height": 1080, "bitrate_kbps": 7000}})
    assert (stage.send(100, 1).height, latest().bitrate_kbps) == (1080, 7000)
    assert latest().health
    latest().health.at -= timedelta(seconds=11)  # type: ignore[union-attr]  # it is there
    db.session.commit()
    assert stage.send(100, 1).height == 720


def test_a_burst_is_no_excess(stage: Stage) -> None:
    keys.change(keys.known("alice"), max_bitrate_kbps=2000)
    assert stage.send(1500, 8).ending is None
    assert stage.send(4000, 1).ending is None
    assert stage.send(1500, 8).ending is None
    assert stage.send(4000, 5).ending == "bitrate"


def test_a_stream_ends_when_its_time_is_over(stage: Stage) -> None:
    keys.change(keys.known("alice"), max_minutes=1)
    assert stage.send(100, 2).ending is None
    latest().started_at -= timedelta(seconds=61)
    db.session.commit()
    assert stage.send(100, 1).ending == "duration"
    assert stage.send(100, 1).ending == "duration"


def test_who_watches_is_counted(stage: Stage) -> None:
    line = b"<190>Nov 24 23:51:15 viewers: alice 203.0.113.%d VLC/3"
    for number in (1, 2):
        stage.worker.audience.hear(line % number, 1000.0)
    assert stage.send(100, 1).viewers == 2
    session = stage.send(100, 8)
    assert (session.viewers, session.peak_viewers) == (0, 2)


def test_samples_go_an_hour_after_their_stream(stage: Stage, rtmp_callback: Call, alice_secret: str) -> None:
    stage.send(100, 1)
    rtmp_callback("done", name="alice", key=alice_secret)
    worker.tidy()
    assert db.session.scalars(select(Sample)).all()
    latest().ended_at -= timedelta(minutes=61)  # type: ignore[operator]
    db.session.commit()
    worker.tidy()
    assert not db.session.scalars(select(Sample)).all()


def test_a_stream_that_fell_silent_is_ended(stage: Stage, pass_time: Callable[[float], None]) -> None:
    stage.send(100, 1)
    pass_time(11)
    assert stage.send(100, 1).ending == "silent"
    assert not stage.worker.meters


class StatServer(ThreadingHTTPServer):
    """A server that answers as nginx-rtmp's does, with what a test lets it say."""

    daemon_threads = True

    def __init__(self) -> None:
        self.answer = b""

        class Answer(BaseHTTPRequestHandler):
            server: StatServer

            def do_GET(self) -> None:
                self.send_response(200)
                self.end_headers()
                received = b"%d" % (time.monotonic() * 1e6)
                self.wfile.write(self.server.answer.replace(b"{received}", received))

            def log_message(self, *_: Any) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Answer)
        threading.Thread(target=self.serve_forever, daemon=True).start()


@pytest.fixture
def stat_server() -> Iterator[StatServer]:
    server = StatServer()
    yield server
    server.shutdown()
    server.server_close()


def streams(*streams: tuple[str, int, str]) -> bytes:
    """What nginx-rtmp says of *streams*: (name, connection, width)."""
    return (
        "<rtmp><server><application><live>"
        + "".join(
            f"<stream><name>{name}</name><bytes_in>{{received}}</bytes_in>"
            f"<client><id>{client}</id><publishing/></client>"
            f"<meta><video><width>{width}</width><height>9</height></video></meta></stream>"
            for name, client, width in streams
        )
        + "</live></application></server></rtmp>"
    ).encode()


@pytest.fixture
def running(
    app: Flask, environment: dict[str, str], stat_server: StatServer, tmp_path: Path, rtmp_callback: Call
) -> Iterator[tuple[Path, Path]]:
    """The real worker, on the test's database, with `alice` and `bob` live; gives its heartbeat and its log."""
    heartbeat, log = tmp_path / "heartbeat", tmp_path / "log"
    program = (
        "import pathlib; from orchestrator import worker;"
        f"worker.PORT, worker.ROUND, worker.HEARTBEAT = 0, 0.1, pathlib.Path({str(heartbeat)!r}); worker.main()"
    )
    settings = environment | {
        "PYTHONPATH": str(Path(__file__).parents[1]),
        "RTMP_STAT_URL": f"http://127.0.0.1:{stat_server.server_address[1]}/stat",
        "RECORDINGS_PATH": str(tmp_path),
    }
    with log.open("w") as out:
        process = subprocess.Popen([sys.executable, "-c", program], env=settings, stdout=out, stderr=out)
    eventually(heartbeat.exists, log, 60)  # before anybody is live: a slow start would be their silence
    for number, slug in enumerate(("alice", "bob")):
        assert rtmp_callback("publish", name=slug, key=keys.create(slug)[1], clientid=str(number)) == 204
    db.session.remove()
    yield heartbeat, log
    assert process.poll() is None, log.read_text()
    process.terminate()
    process.wait(10)


def measured(slug: str) -> Session:
    """What is known of the live session of *slug*; the database is left to the worker."""
    found = sessions.of_client(slug, "0" if slug == "alice" else "1")
    db.session.remove()
    assert found
    return found


def eventually(holds: Callable[[], Any], log: Path, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, log.read_text()[-2000:]
        time.sleep(0.1)


def failures(client: FlaskClient, what: str) -> float:
    db.session.remove()  # a request in a test sees what the test's own transaction saw
    text = client.get("/metrics", environ_base={"REMOTE_ADDR": "10.9.1.8"}).text
    return float(re.search(rf"^worker_{what}_failed_total (\S+)$", text, re.M)[1])  # type: ignore[index]  # always there


def test_the_worker_measures_the_others_where_one_stream_fails(
    running: tuple[Path, Path], stat_server: StatServer, client: FlaskClient
) -> None:
    heartbeat, log = running
    stat_server.answer = streams(("alice", 0, "18446744073709551615"), ("bob", 1, "640"))
    eventually(lambda: measured("bob").width == 640 and measured("bob").bytes_received, log)
    assert measured("alice").bytes_received, "a width that can't be is no reason to count nothing"
    assert failures(client, "streams") == 0
    # Whatever it is that fails: here the database refuses what is written of the one.
    condition = "BEFORE UPDATE ON sessions WHEN new.width = 320"
    db.session.remove()  # what has read may not write where the worker wrote meanwhile
    db.session.execute(text(f"CREATE TRIGGER broken {condition} BEGIN SELECT RAISE(ABORT, 'x'); END"))
    db.session.commit()
    stat_server.answer = streams(("alice", 0, "320"), ("bob", 1, "641"))
    eventually(lambda: failures(client, "streams") >= 2, log)
    before, beaten = measured("bob").bytes_received, heartbeat.stat().st_mtime_ns
    eventually(lambda: measured("bob").bytes_received > before, log)
    eventually(lambda: heartbeat.stat().st_mtime_ns > beaten, log)
    assert (measured("alice").width, measured("bob").width) == (0, 641)
    failed = [line for line in map(json.loads, log.read_text().splitlines()) if line["result"] == "failed"]
    assert failed
    assert all(line["slug"] == "alice" and "Traceback" in line["exception"] for line in failed)
    assert failures(client, "rounds") == 0


def test_the_worker_goes_on_after_rounds_that_failed(
    running: tuple[Path, Path], stat_server: StatServer, client: FlaskClient
) -> None:
    heartbeat, log = running
    stat_server.answer = streams(("bob", 1, "640"))
    eventually(lambda: measured("bob").width == 640, log)
    db.session.execute(text("ALTER TABLE sessions RENAME TO away"))
    db.session.commit()
    eventually(lambda: "no such table: sessions" in log.read_text(), log)
    beaten = heartbeat.stat().st_mtime_ns
    time.sleep(0.5)
    assert heartbeat.stat().st_mtime_ns == beaten, "a round that did nothing is no heartbeat"
    db.session.execute(text("ALTER TABLE away RENAME TO sessions"))
    db.session.commit()
    stat_server.answer = streams(("bob", 1, "641"))
    eventually(lambda: measured("bob").width == 641, log)
    eventually(lambda: heartbeat.stat().st_mtime_ns > beaten, log)
    assert failures(client, "rounds") >= 1


def test_the_worker_ends_when_nobody_listens_any_more(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    class Deaf(Audience):
        def listen(self, *_: Any) -> None:
            time.sleep(0.3)

    rounds: list[int] = []
    monkeypatch.setattr(worker, "ROUND", 0.05)
    monkeypatch.setattr(Worker, "go_round", lambda _: rounds.append(1))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as port:
        worker.serve(Worker(app, Deaf()), port)
    assert 1 <= len(rounds) <= 10


def test_the_worker_refuses_bad_settings(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("os.environ", {})
    with pytest.raises(SystemExit) as ended:
        worker.main()
    assert ended.value.code == worker.EX_CONFIG
    assert "JWT_SECRET" in capsys.readouterr().err
