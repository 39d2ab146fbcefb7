"""SQLite by SQLAlchemy: one file on a local filesystem, in write-ahead mode."""

from __future__ import annotations

from typing import Any

from flask import g, has_request_context, request
from flask_migrate import Migrate
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import event
from sqlalchemy.engine import Engine
from sqlalchemy.orm import DeclarativeBase


class Base(DeclarativeBase):
    """Base of all tables."""


db = SQLAlchemy(model_class=Base)
migrate = Migrate()


@event.listens_for(Engine, "connect")
def _configure(connection: Any, _record: Any) -> None:
    """Set the pragmas of https://www.sqlite.org/pragma.html that each connection needs anew."""
    # The driver would otherwise begin transactions late, and two workers could both see the last free place.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = NORMAL")
    cursor.execute("PRAGMA busy_timeout = 5000")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


@event.listens_for(Engine, "begin")
def _begin(connection: Any) -> None:
    """Take the write lock when a transaction begins, so that what it read is still true when it writes.

    A request that only asks takes none, and so waits for nobody: see `writes`.
    """
    asks = has_request_context() and request.method in ("GET", "HEAD") and not g.get("writes", False)
    connection.exec_driver_sql("BEGIN" if asks else "BEGIN IMMEDIATE")


def writes() -> None:
    """Say, before the first query, that this GET writes; a transaction that began as a reader could fail to."""
    g.writes = True
