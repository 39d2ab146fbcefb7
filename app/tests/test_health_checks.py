"""Alive is not ready, and who may ask."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from orchestrator.internal import health_checks
from orchestrator.site.database import db
from orchestrator.site.settings import Settings
from peers import PROXY, STRANGER

WRITE_VERSION = 18  # where in the file's header SQLite notes who may write it (https://www.sqlite.org/fileformat.html)


@pytest.fixture
def other(settings: Settings, client: FlaskClient) -> Iterator[sqlite3.Connection]:
    """A second connection to the database."""
    with closing(sqlite3.connect(settings.database_path, timeout=0, isolation_level=None)) as connection:
        yield connection


@pytest.fixture
def a_moment_later(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Let an answer grow so old that the database is asked again."""
    moment = [1000.0]
    monkeypatch.setattr(health_checks, "monotonic", lambda: moment[0])

    def pass_by() -> None:
        moment[0] += health_checks.FRESH + 0.1

    return pass_by


def ready(client: FlaskClient) -> tuple[int, str]:
    answer = client.get("/readyz", environ_base={"REMOTE_ADDR": "127.0.0.1"})
    return answer.status_code, answer.text.strip()


def test_a_database_that_takes_writes_is_ready(client: FlaskClient) -> None:
    assert ready(client) == (200, "ok")
    assert client.get("/healthz").status_code == 200


def test_a_locked_database_is_not_ready(
    client: FlaskClient, other: sqlite3.Connection, a_moment_later: Callable[[], None]
) -> None:
    other.execute("BEGIN IMMEDIATE")
    assert ready(client) == (503, "the database takes no writes")
    assert client.get("/healthz").status_code == 200
    other.execute("ROLLBACK")
    a_moment_later()
    assert ready(client) == (200, "ok")


def test_a_database_that_may_only_be_read_is_not_ready(client: FlaskClient, settings: Settings) -> None:
    with settings.database_path.open("r+b") as file:
        file.seek(WRITE_VERSION)
        file.write(bytes([3]))
    assert ready(client) == (503, "the database takes no writes")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.unlink(),
        lambda path: (path.unlink(), path.mkdir()),
        lambda path: path.write_bytes(b"no database at all" * 100),
        lambda path: path.write_bytes(b""),
    ],
    ids=["gone", "a folder", "another file", "empty"],
)
def test_what_is_no_database_is_not_ready(
    client: FlaskClient, settings: Settings, spoil: Callable[[Path], object]
) -> None:
    db.session.remove()
    db.engine.dispose()
    spoil(settings.database_path)
    assert ready(client) == (503, "the database takes no writes")
    assert not settings.database_path.is_file() or settings.database_path.stat().st_size in (0, 1800)


def test_tables_of_another_version_are_not_ready(client: FlaskClient, other: sqlite3.Connection) -> None:
    other.execute("UPDATE alembic_version SET version_num = 'another'")
    assert ready(client) == (503, "the database's tables are not this version's")
    assert client.get("/healthz").status_code == 200


def test_asking_often_locks_nothing(
    client: FlaskClient, other: sqlite3.Connection, a_moment_later: Callable[[], None]
) -> None:
    assert ready(client) == (200, "ok")
    other.execute("BEGIN IMMEDIATE")
    assert {ready(client) for _ in range(20)} == {(200, "ok")}
    a_moment_later()
    assert ready(client)[0] == 503


def test_the_outside_does_not_learn_whether_we_are_ready(client: FlaskClient) -> None:
    def status(peer: str, **headers: str) -> int:
        return client.get("/readyz", environ_base={"REMOTE_ADDR": peer}, headers=headers).status_code

    assert status(PROXY) == 404
    assert status(PROXY, **{"X-Forwarded-For": "127.0.0.1"}) == 404
    assert status(STRANGER) == 200
