"""What the dashboard costs after a month live, beside one hour: `python app/benchmarks/dashboard.py`.

A real gunicorn on loopback, and two streamers with one live stream each: one began an hour ago, the other thirty days
ago, both measured every 10 s. They ask for the dashboard in turn, first with every sample still there, as a host of
before has them when it is upgraded, then when the worker has thinned them out. Prints the median of all rounds and
their spread, and how many times the hour the month takes in the same rounds.
"""

from __future__ import annotations

import json
import re
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlencode

from callbacks import FORM, environment, flask, server

ROUNDS, REQUESTS = 5, 20
STREAMS = {"hour": timedelta(hours=1), "month": timedelta(days=30)}
EVERY = 10  # seconds between two samples
# One round of the worker's housekeeping after the other until nothing is left to merge; prints seconds of each.
HOUSEKEEPING = """
import time
from orchestrator import create_app, worker
from orchestrator.site.database import db
from orchestrator.models import Sample
with create_app().app_context():
    rows = -1
    while (left := db.session.query(Sample).count()) != rows:
        rows, begun = left, time.monotonic()
        db.session.commit()
        worker.tidy()
        print(time.monotonic() - begun)
"""


def fill(database: Path) -> None:
    """Let each of STREAMS be live, and measured, for as long as it says."""
    moment = datetime.now(UTC).replace(tzinfo=None, microsecond=0)
    with closing(sqlite3.connect(database)) as connection, connection:
        for slug, lasting in STREAMS.items():
            begun = moment - lasting
            connection.execute(
                "INSERT INTO sessions (id, stream_key_id, client_id, address, started_at, updated_at, bitrate_kbps,"
                " bytes_received, width, height, frame_rate, video_codec, audio_codec, viewers, peak_viewers)"
                " SELECT slug, id, slug, '198.51.100.7', ?, ?, 3000, 0, 1280, 720, 30, 'H264', 'AAC', 7, 9"
                " FROM stream_keys WHERE slug = ?",
                (str(begun), str(moment + timedelta(days=1)), slug),  # heard until the benchmark is over
            )
            rows = [
                (slug, str(begun + timedelta(seconds=second)), 3000 + second % 700, second % 11)
                for second in range(0, int(lasting.total_seconds()), EVERY)
            ]
            connection.executemany(
                "INSERT INTO samples (session_id, at, bitrate_kbps, viewers) VALUES (?, ?, ?, ?)", rows
            )


def kept(database: Path) -> dict[str, int]:
    """Return how many samples there are of each stream."""
    with closing(sqlite3.connect(database)) as connection:
        return dict(connection.execute("SELECT session_id, count(*) FROM samples GROUP BY session_id"))


def cookie(port: int, name: str, password: str) -> str:
    """Sign in by page and return the cookie that the dashboard asks for."""
    with closing(HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        connection.request("POST", "/session", urlencode({"name": name, "password": password}), FORM)
        answer = connection.getresponse()
        assert answer.status == 303, answer.read()
        found = re.search(r"__Host-access=[^;]+", str(answer.headers))
        assert found
        return found[0]


def look(port: int, cookies: str) -> float:
    """Fetch the dashboard's part and return how long that took in s."""
    with closing(HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        begun = time.monotonic()
        connection.request("GET", "/dashboard/live", headers={"Cookie": cookies})
        answer = connection.getresponse()
        part = answer.read().decode()
        assert answer.status == 200, part
        assert "<polyline" in part
        return time.monotonic() - begun


def told(port: int, cookies: dict[str, str], rows: dict[str, int]) -> None:
    """Measure, and print median and spread of the rounds in ms, and the ratio within a round."""
    rounds = []
    for _ in range(ROUNDS):
        waits: dict[str, list[float]] = {slug: [] for slug in STREAMS}
        for _ in range(REQUESTS):
            for slug in STREAMS:
                waits[slug].append(look(port, cookies[slug]))
        rounds.append({slug: statistics.median(times) * 1000 for slug, times in waits.items()})
    for slug in STREAMS:
        values = [found[slug] for found in rounds]
        spread = f"({min(values):.1f} to {max(values):.1f})"
        print(f"{slug:6} {rows[slug]:8} samples {statistics.median(values):9.1f} ms   {spread}")
    ratios = [found["month"] / found["hour"] for found in rounds]
    print(f"month / hour {statistics.median(ratios):21.2f}      ({min(ratios):.2f} to {max(ratios):.2f})")


def main() -> None:
    """Measure."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        settings = environment(folder)
        database = Path(settings["DATABASE_PATH"])
        flask(settings, "db", "upgrade")
        people = {}
        for slug in STREAMS:
            person = f"{slug}-owner"
            made = json.loads(flask(settings, "streamkeep", "user", "create", person, "--role", "streamer"))
            flask(settings, "streamkeep", "key", "create", slug, "--owner", person)
            people[slug] = made["name"], made["password"]
        fill(database)
        with server(settings, folder / "log") as port:
            cookies = {slug: cookie(port, *person) for slug, person in people.items()}
            print("As an upgraded host finds it:")
            told(port, cookies, kept(database))
            command = [sys.executable, "-c", HOUSEKEEPING]
            spent = subprocess.run(command, env=settings, check=True, capture_output=True, text=True).stdout.split()
            longest = max(float(seconds) for seconds in spent)
            print(f"Thinned out in {len(spent)} rounds of at most {longest:.2f} s:")
            told(port, cookies, kept(database))


if __name__ == "__main__":
    main()
