"""Metrics: each event moves its counter by one, over all workers, and gauges return to 0."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from functools import partial
from http.client import HTTPConnection
from pathlib import Path

import pytest
from api_clients import Person
from flask import Flask
from flask.testing import FlaskClient
from orchestrator import create_app
from orchestrator.site import events, metric_files
from orchestrator.site.settings import Settings
from orchestrator.streams.problems import REFUSALS
from peers import PROXY, STRANGER
from prometheus_client.mmap_dict import mmap_key

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
def shared_app(settings: Settings) -> Callable[[], Flask]:
    """An application that has answered no other test's requests."""
    return lambda: create_app(settings)


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
        *(f'stream_key_refusals_total{{reason="{reason}"}}' for reason in REFUSALS),
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


def test_streams_and_refusals_count_once(scrape: Scrape, rtmp_callback: Callable[..., int], alice_secret: str) -> None:
    before = scrape()
    assert rtmp_callback("publish", name="alice", key=alice_secret) == 204
    assert rtmp_callback("publish", name="alice", key=alice_secret, clientid="2") == 403
    assert rtmp_callback("publish", name="alice", key="x" * 32) == 403
    assert rtmp_callback("publish", name="alice", key="x") == 403
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
    scrape: Scrape, rtmp_callback: Callable[..., int], admin: Person, pass_time: Callable[[float], None], how: str
) -> None:
    secret = admin.post("/keys", json={"slug": "alice"}).json["key"]
    rtmp_callback("publish", name="alice", key=secret)
    during = scrape()
    assert during["active_streams"] == 1
    assert 'stream_viewers{slug="alice"}' in during
    if how == "done":
        rtmp_callback("done", name="alice", key=secret)
    elif how == "silence":
        pass_time(11)
    else:
        admin.post("/streams/alice/kick", json={})
        rtmp_callback("update", call="update_publish", name="alice", key=secret)
    after = scrape()
    assert after["active_streams"] == 0
    assert not any("alice" in name for name in after)


@pytest.fixture
def serve(
    environment: dict[str, str], migrated_database: Path, tmp_path: Path
) -> Callable[..., AbstractContextManager[tuple[int, Path]]]:
    """Start servers as `serving` does."""
    shutil.copy(migrated_database, environment["DATABASE_PATH"])
    return partial(serving, environment, tmp_path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the server counts."""
    made = tmp_path / "counters"
    made.mkdir()
    return made


@pytest.fixture
def server(serve: Callable[..., AbstractContextManager[tuple[int, Path]]], folder: Path) -> Iterator[tuple[int, Path]]:
    with serve() as (port, log):
        yield port, log


@contextmanager
def serving(environment: dict[str, str], tmp_path: Path, *prefix: str) -> Iterator[tuple[int, Path]]:
    """Run a real gunicorn with two workers, as the container does, after *prefix*; gives its port and its log."""
    log = tmp_path / "log"
    settings = environment | {
        "METRICS_PEERS": "127.0.0.0/8",
        "PROMETHEUS_MULTIPROC_DIR": str(tmp_path / "counters"),
        "PATH": f"{Path(sys.executable).parent}:/usr/bin",
        "PYTHONPATH": str(ROOT),
    }
    gunicorn = [sys.executable, "-m", "gunicorn"]
    command = [*prefix, *gunicorn, "--config=python:orchestrator.gunicorn_conf", "--bind=127.0.0.1:0"]
    with log.open("w") as out:
        process = subprocess.Popen(command, env=settings, stdout=out, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + 40
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


def wait_for_workers(log: Path) -> None:
    """Wait until both workers have begun, and had a moment to take their places."""
    deadline = time.monotonic() + 30
    while log.read_text().count("Booting worker") < 2:
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)
    time.sleep(1)


def kill_a_worker(log: Path) -> None:
    """Kill the worker that started first, and wait for the one that takes its place."""
    booted = r"Booting worker with pid: (\d+)"
    before = re.findall(booted, log.read_text())
    oldest = next(pid for pid in before if Path(f"/proc/{pid}").exists())
    subprocess.run(["kill", "-9", oldest], check=True)
    deadline = time.monotonic() + 30
    while len(re.findall(booted, log.read_text())) == len(before) or Path(f"/proc/{oldest}").exists():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)


def test_counters_are_right_with_two_workers_and_after_one_died(server: tuple[int, Path]) -> None:
    port, log = server
    body = '{"name": "nobody", "password": "wrong"}'

    def attempts(count: int) -> None:
        assert {ask(port, "POST", "/api/v1/auth/login", body)[0] for _ in range(count)} == {401}

    def failed() -> float:
        return parsed(ask(port, "GET", "/metrics")[1])['auth_attempts_total{status="failed"}']

    attempts(30)
    assert failed() == 30
    kill_a_worker(log)
    attempts(10)
    assert failed() == 40
    assert all(line.startswith('{"time": "') for line in log.read_text().splitlines())


MADE_UP = [f"BREW-{n}" for n in range(60)]


def blocks(folder: Path) -> dict[str, int]:
    """Return {file: bytes on the disk}."""
    return {file.name: file.stat().st_blocks * 512 for file in folder.iterdir()}


def test_no_label_is_what_a_client_made_up(client: FlaskClient, scrape: Scrape) -> None:
    def each(n: int, method: str) -> None:
        assert client.open("/", method=method).status_code == 405
        assert client.open(f"/nothing/{n}", method=method).status_code == 404
        assert client.get(f"/watch/made-up-{n}").status_code == 404

    each(60, "BREW-60")
    scrape()
    before = scrape()
    for n, method in enumerate(MADE_UP):
        each(n, method)
    after = scrape()
    assert set(after) == set(before)
    assert after['flask_http_request_total{method="other",status="405"}'] == 61
    assert after['flask_http_request_duration_seconds_count{endpoint="none",method="other",status="404"}'] == 61
    assert not any("BREW" in name or "made-up" in name for name in after)


def test_what_breaks_is_counted(app: Flask, client: FlaskClient, scrape: Scrape) -> None:
    def broken() -> str:
        raise RuntimeError

    app.add_url_rule("/broken", "broken", broken)
    assert client.get("/broken").status_code == 500
    after = scrape()
    assert after['flask_http_request_exceptions_total{method="GET",status="500"}'] == 1
    assert after['flask_http_request_total{method="GET",status="500"}'] == 1
    assert after['flask_http_request_duration_seconds_count{endpoint="broken",method="GET",status="500"}'] == 1


def test_neither_methods_nor_dead_workers_need_more_room(server: tuple[int, Path], folder: Path) -> None:
    port, log = server
    ask(port, "GET", "/")
    before = blocks(folder)
    assert len(before) == 2 * len(metric_files.ROOM)
    for method in MADE_UP:
        assert ask(port, method, "/")[0] == 405
    for _ in range(2):
        kill_a_worker(log)
    assert ask(port, "GET", "/")[0] == 200
    assert blocks(folder) == before
    assert parsed(ask(port, "GET", "/metrics")[1])['flask_http_request_total{method="other",status="405"}'] == 60


def test_there_is_room_for_every_series_that_can_be(app: Flask, tmp_path: Path) -> None:
    file = metric_files.Numbers(tmp_path / "histogram_0.db", metric_files.ROOM["histogram"])
    statuses = ("200", "307", "400", "401", "403", "404", "405", "413", "422", "429", "500")
    buckets = ("0.01", "0.05", "0.1", "0.5", "1.0", "5.0", "+Inf")
    name, text = "flask_http_request_duration_seconds", "Flask HTTP request duration in seconds"
    for rule in app.url_map.iter_rules():
        for method in rule.methods - {"OPTIONS"}:
            for status in statuses:
                labels = ["endpoint", "method", "status"]
                values = [rule.endpoint, method, status]
                keys = [mmap_key(name, f"{name}_sum", labels, values, text)]
                keys += [mmap_key(name, f"{name}_bucket", [*labels, "le"], [*values, le], text) for le in buckets]
                for key in keys:
                    assert file.takes(key)
                    file.write_value(key, 1.0, 0.0)
    file.close()


def full(folder: Path) -> None:
    """Leave the folder as it is: the server itself may write no file that is large enough."""


@pytest.mark.parametrize(
    ("spoil", "prefix"),
    [
        (Path.rmdir, []),
        (lambda folder: (folder.rmdir(), folder.write_text("a file")), []),
        (full, ["prlimit", f"--fsize={metric_files.ROOM['histogram'] // 2}"]),
    ],
    ids=["gone", "a file", "full"],
)
def test_without_room_to_count_it_serves(
    serve: Callable[..., AbstractContextManager[tuple[int, Path]]],
    folder: Path,
    spoil: Callable[[Path], object],
    prefix: list[str],
) -> None:
    spoil(folder)
    with serve(*prefix) as (port, log):
        for method in ("GET", "HEAD", *MADE_UP):
            assert ask(port, method, "/")[0] in (200, 405)
        status, text = ask(port, "GET", "/metrics")
        assert (status, parsed(text)["active_streams"]) == (200, 0)
        told = [line for line in log.read_text().splitlines() if "metrics are not counted" in line]
        assert len(told) == 2, "each worker says so, once"


def test_a_worker_comes_back_whatever_became_of_its_files(server: tuple[int, Path], folder: Path) -> None:
    port, log = server
    wait_for_workers(log)
    for file in folder.iterdir():
        file.unlink()  # the other worker has it in its memory, and would die with a file that shrinks (mmap(2), SIGBUS)
        file.write_bytes(b"\xff" * 100)
    kill_a_worker(log)
    for _ in range(10):
        assert ask(port, "GET", "/healthz")[0] == 200
    shutil.rmtree(folder)
    kill_a_worker(log)
    for _ in range(10):
        assert ask(port, "GET", "/healthz")[0] == 200
    status, text = ask(port, "GET", "/metrics")
    assert (status, parsed(text)["active_streams"]) == (200, 0)
    assert "metrics are not counted" in log.read_text()


def test_a_file_that_shrinks_while_a_place_is_taken_stops_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    events.configure("INFO")

    class Shrunk(metric_files.Numbers):
        def read_value(self, key: str) -> tuple[float, float]:
            raise IndexError("mmap slice assignment is wrong size")

    waits = metric_files.Worker()
    monkeypatch.setattr(metric_files, "_worker", waits)
    number = metric_files.Number("counter", "name", "name", [], [], "help")
    number.inc(2)
    file = Shrunk(tmp_path / "counter_0.db", 4096)
    number.settle({"counter": file})
    file.close()
    number.inc(1)
    assert number.get() == 3
    assert "not counted" in capsys.readouterr().out


def test_a_file_that_is_full_takes_no_more_and_loses_nothing(tmp_path: Path) -> None:
    file = metric_files.Numbers(tmp_path / "counter_0.db", 4096)
    for n in range(1000):
        if file.takes(f'"name {n}"'):
            file.write_value(f'"name {n}"', float(n), 0.0)
    assert not file.takes('"name 999"')
    assert file.takes('"name 1"')
    assert (tmp_path / "counter_0.db").stat().st_size == 4096
    file.close()
    again = metric_files.Numbers(tmp_path / "counter_0.db", 4096)
    assert again.read_value('"name 7"')[0] == 7.0
    again.close()
