"""How long nginx-rtmp and API clients wait for the orchestrator: `python app/benchmarks/callbacks.py`.

A real gunicorn with two workers on loopback, a database of its own, ten live streams that send their updates. Callbacks
come by the clock (50 a second, whatever the answers take), so that a slow answer cannot hide the ones that wait behind
it. Prints the median of all rounds and their spread.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlencode

APP = Path(__file__).parents[1]
ROUNDS, SECONDS, PER_SECOND, STREAMS = 5, 10, 50, 10
UPDATE_INTERVAL = 2.0  # seconds, as nginx-rtmp is configured
API_CLIENTS, API_REQUESTS = 4, 400
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def environment(folder: Path) -> dict[str, str]:
    """Return the settings of a server of our own."""
    (folder / "counters").mkdir()
    return {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(APP),
        "FLASK_APP": "orchestrator",
        "DATABASE_PATH": str(folder / "database.db"),
        "JWT_SECRET": secrets.token_hex(32),
        "DATA_KEY": secrets.token_hex(32),
        "ADMIN_PASSWORD": secrets.token_hex(16) + "aA1!",
        "MAX_CONCURRENT_STREAMS": "100",
        "API_RATE_LIMIT_PER_MINUTE": "1000000",
        "RTMP_PEERS": "127.0.0.1",
        "PROMETHEUS_MULTIPROC_DIR": str(folder / "counters"),
    }


def flask(settings: dict[str, str], *arguments: str) -> str:
    """Return what `flask ...` prints."""
    command = [sys.executable, "-m", "flask", *arguments]
    return subprocess.run(command, env=settings, check=True, capture_output=True, text=True).stdout


@contextmanager
def server(settings: dict[str, str], log: Path) -> Iterator[int]:
    """Run gunicorn as the container does, and give its port."""
    command = [sys.executable, "-m", "gunicorn", "--config=python:orchestrator.gunicorn_conf", "--bind=127.0.0.1:0"]
    with log.open("w") as out:
        process = subprocess.Popen(command, env=settings, stdout=out, stderr=subprocess.STDOUT)
    try:
        while not (found := re.search(r"http://127\.0\.0\.1:(\d+)", log.read_text())):
            if process.poll() is not None:
                sys.exit(f"The server did not start:\n{log.read_text()}")
            time.sleep(0.1)
        yield int(found[1])
    finally:
        process.terminate()
        process.wait(15)


def callback(port: int, what: str, slug: str, key: str, client: str) -> int:
    """Call back as nginx-rtmp does, on a connection of its own, and return the status."""
    fields = {"app": "live", "addr": "198.51.100.7", "name": slug, "key": key, "clientid": client}
    with closing(HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        connection.request("POST", f"/internal/rtmp/{what}", urlencode(fields), FORM)
        return connection.getresponse().status


def timed(call: Callable[[], object], due: float) -> float:
    """Run *call* and return how long after *due* (seconds of the monotonic clock) its answer came."""
    call()
    return time.monotonic() - due


def publish_round(port: int, keys: dict[str, str], number: int) -> list[float]:
    """Return the waiting times (s) of a round: a third each of new streams, streams that are live, and wrong keys."""
    free = [slug for slug in keys if slug.startswith("free")]

    def call(index: int) -> None:
        slug = free[index % len(free)]
        client = f"{number}-{index}"
        if index % 3 == 0:
            assert callback(port, "publish", slug, keys[slug], client) == 204
            assert callback(port, "done", slug, keys[slug], client) == 204
        elif index % 3 == 1:
            assert callback(port, "publish", "live-0", keys["live-0"], client) == 403
        else:
            assert callback(port, "publish", slug, "x" * 32, client) == 403

    began = time.monotonic() + 0.2
    with ThreadPoolExecutor(64) as pool:
        futures = []
        for index in range(PER_SECOND * SECONDS):
            due = began + index / PER_SECOND
            time.sleep(max(0.0, due - time.monotonic()))
            futures.append(pool.submit(timed, lambda index=index: call(index), due))
        return [future.result() for future in futures]


def api_round(port: int, token: str) -> tuple[list[float], float]:
    """Return (waiting times in s, requests a second) of clients that list the live streams as fast as they can."""

    def client(_number: int) -> list[float]:
        waits = []
        with closing(HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
            for _ in range(API_REQUESTS // API_CLIENTS):
                due = time.monotonic()
                connection.request("GET", "/api/v1/streams", headers={"Authorization": f"Bearer {token}"})
                answer = connection.getresponse()
                assert answer.status == 200
                assert len(json.loads(answer.read())) >= STREAMS
                waits.append(time.monotonic() - due)
        return waits

    began = time.monotonic()
    with ThreadPoolExecutor(API_CLIENTS) as pool:
        waits = [wait for part in pool.map(client, range(API_CLIENTS)) for wait in part]
    return waits, len(waits) / (time.monotonic() - began)


def told(name: str, rounds: list[list[float]]) -> None:
    """Print median and spread of the rounds' p50 and p99 in ms."""
    for label, quantile in (("p50", 49), ("p99", 98)):
        values = [statistics.quantiles(waits, n=100)[quantile] * 1000 for waits in rounds]
        print(f"{name:28} {label} {statistics.median(values):7.1f} ms   ({min(values):.1f} to {max(values):.1f})")


def main() -> None:
    """Measure."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        settings = environment(folder)
        flask(settings, "db", "upgrade")
        slugs = [f"live-{n}" for n in range(STREAMS)] + [f"free-{n}" for n in range(40)]
        keys = {slug: json.loads(flask(settings, "streamkeep", "key", "create", slug))["key"] for slug in slugs}
        person = json.loads(flask(settings, "streamkeep", "user", "create", "bench", "--role", "admin"))
        with server(settings, folder / "log") as port:
            with closing(HTTPConnection("127.0.0.1", port)) as connection:
                body = json.dumps({"name": "bench", "password": person["password"]})
                connection.request("POST", "/api/v1/auth/login", body, {"Content-Type": "application/json"})
                token = json.loads(connection.getresponse().read())["access_token"]
            for slug in slugs[:STREAMS]:
                assert callback(port, "publish", slug, keys[slug], slug) == 204
            over = threading.Event()

            def updates() -> None:
                while not over.wait(UPDATE_INTERVAL / STREAMS):
                    slug = f"live-{int(time.monotonic() / UPDATE_INTERVAL * STREAMS) % STREAMS}"
                    callback(port, "update", slug, keys[slug], slug)

            live = threading.Thread(target=updates)
            live.start()
            try:
                publishes = [publish_round(port, keys, number) for number in range(ROUNDS)]
                lists = [api_round(port, token) for _ in range(ROUNDS)]
            finally:
                over.set()
                live.join()
    told(f"on_publish at {PER_SECOND}/s", publishes)
    told(f"GET /api/v1/streams, {API_CLIENTS} clients", [waits for waits, _ in lists])
    rates = [rate for _, rate in lists]
    print(f"{'':28} {statistics.median(rates):.0f} requests/s   ({min(rates):.0f} to {max(rates):.0f})")


if __name__ == "__main__":
    main()
