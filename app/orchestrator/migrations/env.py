"""Runs migrations on the application's own database connection.

SQLite alters a table by copying it and dropping the former one, which with foreign keys on takes along what refers to
it, or fails. So they are off meanwhile, and looked at as a whole before anything is saved
(https://www.sqlite.org/lang_altertable.html, section 7).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from alembic import context
from orchestrator.site.database import db
from sqlalchemy import Connection


@contextmanager
def foreign_keys_off(connection: Connection) -> Iterator[None]:
    """Let *connection* watch over no references. The driver is asked: within a transaction the pragma does nothing."""
    driver = connection.connection.driver_connection
    assert driver is not None  # noqa: S101  # a connection that is open has one
    driver.execute("PRAGMA foreign_keys = OFF")
    try:
        yield
    finally:
        driver.execute("PRAGMA foreign_keys = ON")


def check_references(connection: Connection) -> None:
    """Raise RuntimeError, which flask-migrate tells as one sentence, when a reference leads nowhere."""
    broken = sorted({row[0] for row in connection.exec_driver_sql("PRAGMA foreign_key_check")})
    if broken:
        raise RuntimeError(
            f"The database is left as it was, because rows of {', '.join(broken)} would refer to what is not there:"
            " restore a backup, or mend them by hand."
        )


with db.engine.connect() as connection, foreign_keys_off(connection):
    context.configure(
        connection=connection,
        target_metadata=db.metadata,
        render_as_batch=True,  # SQLite alters a table by copying it
        transactional_ddl=True,  # a migration that is killed half-way has not happened
    )
    with context.begin_transaction():
        context.run_migrations()
        check_references(connection)
