"""Rate limits: by the client's real address, shared by all workers, told in the standard headers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from flask_migrate import upgrade
from limits import parse
from limits.strategies import FixedWindowRateLimiter
from orchestrator import create_app
from orchestrator.site.database import db
from orchestrator.site.rate_limit_storage import SqliteCounters
from orchestrator.site.settings import from_environment
from peers import PROXY, STRANGER
from werkzeug.test import TestResponse


@pytest.fixture
def limited(environment: dict[str, str]) -> Iterator[list[FlaskClient]]:
    """Two workers on one database, with the guide's limits."""
    changes = {"API_RATE_LIMIT_PER_MINUTE": "60", "LOGIN_RATE_LIMIT_PER_MINUTE": "10"}
    workers = [create_app(from_environment(environment | changes)) for _ in range(2)]
    with workers[0].app_context():
        upgrade()
    yield [worker.test_client() for worker in workers]
    for worker in workers:
        with worker.app_context():
            db.engine.dispose()


def ask(client: FlaskClient, address: str, peer: str = PROXY, path: str = "/api/v1/streams") -> TestResponse:
    return client.get(path, headers={"X-Forwarded-For": address}, environ_base={"REMOTE_ADDR": peer})


def test_request_61_of_a_minute_waits_and_another_address_does_not(limited: list[FlaskClient]) -> None:
    answers = [ask(limited[n % 2], "203.0.113.5") for n in range(61)]
    assert [a.status_code for a in answers] == [401] * 60 + [429]
    assert answers[0].headers["RateLimit-Limit"] == "60"
    assert [int(a.headers["RateLimit-Remaining"]) for a in answers[:3]] == [59, 58, 57]
    assert 1 <= int(answers[-1].headers["Retry-After"]) <= 61
    assert answers[-1].content_type == "application/problem+json"
    assert "Retry-After" not in answers[0].headers
    assert ask(limited[0], "203.0.113.6").status_code == 401


def test_a_forged_header_changes_nothing(limited: list[FlaskClient]) -> None:
    for n in range(60):
        assert ask(limited[0], f"203.0.113.{n}", peer=STRANGER).status_code == 401
    assert ask(limited[0], "203.0.113.99", peer=STRANGER).status_code == 429
    # What a client writes before what the proxy adds is not believed either.
    for n in range(60):
        ask(limited[0], f"10.0.0.{n}, 198.51.100.1")
    assert ask(limited[0], "10.0.0.99, 198.51.100.1").status_code == 429


def test_one_network_of_ipv6_is_one_client(limited: list[FlaskClient]) -> None:
    for n in range(60):
        assert ask(limited[0], f"2001:db8:1:1::{n:x}").status_code == 401
    assert ask(limited[0], "2001:db8:1:1:ffff::1").status_code == 429
    assert ask(limited[0], "2001:db8:1:2::1").status_code == 401
    assert ask(limited[0], "::ffff:203.0.113.7").status_code == 401


def test_signing_in_has_a_stricter_limit_which_a_restart_keeps(
    limited: list[FlaskClient], environment: dict[str, str]
) -> None:
    def attempt(client: FlaskClient, number: int = 99) -> int:
        body = {"name": "nobody", "password": f"wrong {number}"}
        return client.post("/api/v1/auth/login", json=body, environ_base={"REMOTE_ADDR": STRANGER}).status_code

    assert [attempt(limited[n % 2], n) for n in range(11)] == [401] * 10 + [429]
    again = create_app(from_environment(environment | {"LOGIN_RATE_LIMIT_PER_MINUTE": "10"}))
    assert attempt(again.test_client()) == 429


def test_callbacks_and_health_have_no_limit(limited: list[FlaskClient]) -> None:
    assert {limited[0].get("/healthz").status_code for _ in range(80)} == {200}


@pytest.fixture
def counters(tmp_path: Path) -> SqliteCounters:
    return SqliteCounters(f"sqlite-counters://{tmp_path / 'counters.db'}")


def test_a_window_ends(counters: SqliteCounters, monkeypatch: pytest.MonkeyPatch) -> None:
    moment = [1000.0]
    monkeypatch.setattr("orchestrator.site.rate_limit_storage.time.time", lambda: moment[0])
    assert [counters.incr("a", 60) for _ in range(3)] == [1, 2, 3]
    assert (counters.get("a"), counters.get_expiry("a")) == (3, 1060.0)
    assert counters.get("b") == 0
    moment[0] = 1060.0
    assert counters.get("a") == 0
    assert counters.incr("a", 60) == 1


def test_counters_that_are_over_are_forgotten(counters: SqliteCounters, monkeypatch: pytest.MonkeyPatch) -> None:
    moment = [1000.0]
    monkeypatch.setattr("orchestrator.site.rate_limit_storage.time.time", lambda: moment[0])
    monkeypatch.setattr("orchestrator.site.rate_limit_storage.FORGET_EVERY", 10)
    for n in range(9):
        counters.incr(f"n{n}", 1)
    moment[0] += 2
    counters.incr("last", 1)
    assert counters.reset() == 1


def test_a_crowd_of_addresses_takes_no_more_room_than_is_kept_for_it(
    counters: SqliteCounters, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.site.rate_limit_storage.FORGET_EVERY", 10)
    monkeypatch.setattr("orchestrator.site.rate_limit_storage.MOST", 50)
    for n in range(200):
        counters.incr(f"n{n}", 60 + n)
    assert counters.get("n199") == 1, "those that go are those that would be over first"
    assert counters.get("n0") == 0
    assert counters.reset() == 50


def test_a_counter_can_be_cleared(counters: SqliteCounters) -> None:
    limiter, three = FixedWindowRateLimiter(counters), parse("3/minute")
    assert [limiter.hit(three, "x") for _ in range(4)] == [True, True, True, False]
    limiter.clear(three, "x")
    assert limiter.hit(three, "x")
    assert counters.check()


def test_a_file_that_is_gone_is_told(counters: SqliteCounters, tmp_path: Path) -> None:
    for file in tmp_path.iterdir():
        file.unlink()
    assert not counters.check()
