"""Metrics: each event moves its counter by one, over all workers, and gauges return to 0."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path

import pytest
from callers import PROXY, STRANGER
from flask.testing import FlaskClient
from people import Person

ROOT = Path(__file__).parents[1]
SCRAPER = "10.9.1.8"
Scrape = Callable[[], dict[str, float]]


def parsed(text: str) -> dict[str, float]:
    found = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            name, value = line.rsplit(" ", 1)
            assert name not in found, f"{name} twice"
            found[name] = float(value)
    return found


@pytest.fixture
def scrape(client: FlaskClient) -> Scrape:
    return lambda: parsed(client.get("/metrics", environ_base={"REMOTE_ADDR": SCRAPER}).text)


@pytest.mark.parametrize("peer", [PROXY, STRANGER, "127.0.0.1"])
def test_only_the_monitoring_network_may_scrape(client: FlaskClient, peer: str) -> None:
    assert client.get("/metrics", environ_base={"REMOTE_ADDR": SCRAPER}).status_code == 200
    assert client.get("/metrics", environ_base={"REMOTE_ADDR": peer}).status_code == 404
    forged = client.get("/metrics", environ_base={"REMOTE_ADDR": peer}, headers={"X-Forwarded-For": SCRAPER})
    assert forged.status_code == 404


def test_the_guides_series_are_there_before_anything_happens(scrape: Scrape) -> None:
    found = scrape()
    for name in (
        'auth_attempts_total{status="failed"}',
        'auth_attempts_total{status="success"}',
        "streams_started_total",
        "active_streams",
        'stream_key_refusals_total{reason="key"}',
    ):
        assert name in found


def test_each_attempt_to_sign_in_counts_once(scrape: Scrape, streamer: Person) -> None:
    before = scrape()
    streamer.sign_in()
    for password in ("wrong", "wronger"):
        streamer.client.post("/api/v1/auth/login", json={"name": streamer.name, "password": password})
    streamer.client.post("/api/v1/auth/login", json={"name": "nobody", "password": "wrong"})
    after = scrape()
    moved = {
        s: after[f'auth_attempts_total{{status="{s}"}}'] - before[f'auth_attempts_total{{status="{s}"}}']
        for s in ("failed", "success")
    }
    assert moved == {"failed": 3, "success": 1}


def test_streams_and_refusals_count_once(scrape: Scrape, call: Callable[..., int], key: str) -> None:
    before = scrape()
    assert call("publish", name="alice", key=key) == 204
    assert call("publish", name="alice", key=key, clientid="2") == 403
    assert call("publish", name="alice", key="x" * 32) == 403
    assert call("publish", name="alice", key="x") == 403
    after = scrape()
    assert after["streams_started_total"] - before["streams_started_total"] == 1
    moved = {name: after[name] - before[name] for name in after if name.startswith("stream_key_refusals_total")}
    assert {re.search('"(.*)"', name)[1]: n for name, n in moved.items() if n} == {  # type: ignore[index]
        "already live": 1,
        "key": 1,
        "syntax": 1,
    }
    assert after['rtmp_callback_duration_seconds_count{callback="publish"}'] > 0


@pytest.mark.parametrize("how", ["done", "silence", "kick"])
def test_gauges_return_to_nothing_however_a_stream_ends(
    scrape: Scrape, call: Callable[..., int], admin: Person, later: Callable[[float], None], how: str
) -> None:
    secret = admin.post("/keys", json={"slug": "alice"}).json["key"]
    call("publish", name="alice", key=secret)
    during = scrape()
    assert during["active_streams"] == 1
    assert 'stream_viewers{slug="alice"}' in during
    if how == "done":
        call("done", name="alice", key=secret)
    elif how == "silence":
        later(11)
    else:
        admin.post("/streams/alice/kick", json={})
        call("update", call="update_publish", name="alice", key=secret)
    after = scrape()
    assert after["active_streams"] == 0
    assert not any("alice" in name for name in after)


@pytest.fixture
def server(environment: dict[str, str], tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """A real gunicorn with two workers, as the container runs it; gives its port and its log."""
    log = tmp_path / "log"
    folder = tmp_path / "counters"
    folder.mkdir()
    settings = environment | {
        "METRICS_PEERS": "127.0.0.0/8",
        "PROMETHEUS_MULTIPROC_DIR": str(folder),
        "PATH": str(Path(sys.executable).parent),
        "PYTHONPATH": str(ROOT),
        "FLASK_APP": "orchestrator",
    }
    subprocess.run([sys.executable, "-m", "flask", "db", "upgrade"], env=settings, check=True, capture_output=True)
    command = [sys.executable, "-m", "gunicorn", "--config=python:orchestrator.gunicorn_conf", "--bind=127.0.0.1:0"]
    with log.open("w") as out:
        process = subprocess.Popen(command, env=settings, stdout=out, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + 20
        while not (found := re.search(r"http://127\.0\.0\.1:(\d+)", log.read_text())):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        yield int(found[1]), log
    finally:
        process.terminate()
        process.wait(15)


def ask(port: int, method: str, path: str, body: str | None = None) -> tuple[int, str]:
    with closing(HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        connection.request(method, path, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


def test_counters_are_right_with_two_workers_and_after_one_died(server: tuple[int, Path]) -> None:
    port, log = server
    body = '{"name": "nobody", "password": "wrong"}'

    def attempts(count: int) -> None:
        assert {ask(port, "POST", "/api/v1/auth/login", body)[0] for _ in range(count)} == {401}

    def failed() -> float:
        return parsed(ask(port, "GET", "/metrics")[1])['auth_attempts_total{status="failed"}']

    attempts(30)
    assert failed() == 30
    workers = re.findall(r"Booting worker with pid: (\d+)", log.read_text())
    assert len(workers) == 2
    subprocess.run(["kill", "-9", workers[0]], check=True)
    deadline = time.monotonic() + 15
    while len(re.findall(r"Booting worker with pid: (\d+)", log.read_text())) < 3:
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)
    attempts(10)
    assert failed() == 40
    assert all(line.startswith('{"time": "') for line in log.read_text().splitlines())
