"""Each migration, up and down, with something in every table: what both shapes have stays as it was."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
from alembic.script import Script, ScriptDirectory
from flask import Flask
from flask_migrate import downgrade, upgrade
from orchestrator import create_app
from orchestrator.site.database import db
from orchestrator.site.settings import Settings
from sqlalchemy import JSON, Boolean, Connection, DateTime, Double, Integer, MetaData, String, Table, insert, select

VALUES: dict[type, Any] = {
    Boolean: True,
    DateTime: datetime(2026, 1, 31, 18),
    Double: 29.97,
    Integer: 7,
    JSON: ["198.51.100.0/24"],
}
Rows = dict[str, list[dict[str, Any]]]


@pytest.fixture
def app(settings: Settings) -> Iterator[Flask]:
    """An orchestrator whose database has no tables yet."""
    app = create_app(settings)
    with app.app_context():
        yield app
        db.session.remove()
        db.engine.dispose()


def revisions() -> list[Script]:
    """Return the migrations, the first one first."""
    folder = ScriptDirectory(f"{sys.modules['orchestrator'].__path__[0]}/migrations")
    return list(reversed(list(folder.walk_revisions())))


def tables(connection: Connection) -> list[Table]:
    """Return the tables that there are, those first which others refer to."""
    found = MetaData()
    found.reflect(connection)
    return [table for table in found.sorted_tables if table.name != "alembic_version"]


def value(table: Table, column: Any, number: int) -> Any:
    """Return something for *column* in row *number*; one that refers to another table names a row there."""
    if isinstance(column.type, String):
        return f"{table.name}-{number}" if column.primary_key or column.unique else f"{column.name} {number}"[:30]
    if isinstance(column.type, Integer) and column.primary_key:
        return number
    return VALUES[next(kind for kind in VALUES if isinstance(column.type, kind))]


def fill() -> None:
    """Put two rows into each table that has none; no column stays empty."""
    with db.engine.begin() as connection:
        for table in tables(connection):
            if connection.execute(select(table)).first():
                continue
            for number in (1, 2):
                row = {column.name: value(table, column, number) for column in table.columns}
                for key in table.foreign_keys:
                    rows = connection.execute(select(key.column).order_by(key.column)).scalars().all()
                    row[key.parent.name] = rows[number - 1]
                connection.execute(insert(table).values(row))


def kept() -> Rows:
    """Return what is in the tables."""
    with db.engine.connect() as connection:
        return {
            table.name: [dict(row) for row in connection.execute(select(table).order_by(*table.primary_key)).mappings()]
            for table in tables(connection)
        }


def sound() -> bool:
    """Tell whether every reference leads to a row, and connections still watch over that."""
    with db.engine.connect() as connection:
        broken = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
        return not broken and connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1


def same(before: Rows, after: Rows) -> None:
    """Compare the columns that are in both."""
    for name in before.keys() & after.keys():
        shared = before[name][0].keys() & after[name][0].keys() if after[name] else set()
        assert shared, f"{name} lost all its rows"
        for rows in (before[name], after[name]):
            rows[:] = [{column: row[column] for column in shared} for row in rows]
        assert before[name] == after[name], name


@pytest.mark.parametrize("script", revisions(), ids=lambda script: script.revision)
def test_no_migration_loses_a_row_whichever_way_it_goes(app: Flask, script: Script) -> None:
    former = str(script.down_revision or "base")
    upgrade(revision=former)
    fill()
    before = kept()
    upgrade(revision=script.revision)
    same(before, kept())
    assert sound()
    fill()
    before = kept()
    downgrade(revision=former)
    same(before, kept())
    assert sound()


def test_the_way_from_the_first_to_the_newest_and_back(app: Flask) -> None:
    first = revisions()[0].revision
    upgrade(revision=first)
    fill()
    before = kept()
    upgrade()
    fill()
    downgrade(revision=first)
    same(before, kept())


def test_a_migration_that_would_leave_a_broken_reference_has_not_happened(
    app: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = (script.revision for script in revisions()[:2])
    upgrade(revision=first)
    fill()
    with db.engine.connect() as connection:
        raw = connection.connection.driver_connection
        assert raw
        raw.execute("PRAGMA foreign_keys = OFF")
        raw.execute("UPDATE sessions SET stream_key_id = 99 WHERE id = 'sessions-1'")
        raw.execute("PRAGMA foreign_keys = ON")
    before = kept()
    with pytest.raises(SystemExit):
        upgrade(revision=second)
    assert "sessions" in caplog.text
    assert kept() == before
    with db.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE sessions SET stream_key_id = 1 WHERE id = 'sessions-1'")
    upgrade(revision=second)
    same(before | {"sessions": kept()["sessions"]}, kept())


KILLED = """
import os, signal
from flask_migrate import upgrade
from orchestrator import create_app
from orchestrator.site.database import db
from sqlalchemy import event

with create_app().app_context():
    @event.listens_for(db.engine, "after_cursor_execute")
    def executed(_connection, _cursor, statement, *_):
        if "DROP TABLE stream_keys" in statement:
            os.kill(os.getpid(), signal.SIGKILL)
    upgrade(revision="0002")
"""


def test_a_migration_that_is_killed_half_way_has_not_happened(app: Flask, environment: dict[str, str]) -> None:
    upgrade(revision="0001")
    fill()
    before = json.dumps(kept(), default=str)
    root = sys.modules["orchestrator"].__path__[0].rpartition("/")[0]
    done = subprocess.run([sys.executable, "-c", KILLED], env=environment | {"PYTHONPATH": root}, capture_output=True)
    assert done.returncode == -9, done.stderr.decode()
    assert json.dumps(kept(), default=str) == before
    upgrade(revision="0002")
    assert sound()
