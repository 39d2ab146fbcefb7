"""Counters of the rate limits in an SQLite file, so that all workers share them and a restart keeps them."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote

from limits.storage import Storage

SCHEMA = """
PRAGMA journal_mode = WAL;
CREATE TABLE IF NOT EXISTS counters (name TEXT PRIMARY KEY, hits INTEGER NOT NULL, expires REAL NOT NULL) WITHOUT ROWID;
"""
COUNT = """
INSERT INTO counters VALUES (:name, :amount, :now + :window)
ON CONFLICT (name) DO UPDATE SET
    hits = CASE WHEN expires <= :now THEN 0 ELSE hits END + :amount,
    expires = CASE WHEN expires <= :now THEN :now + :window ELSE expires END
RETURNING hits
"""
# When there are more than MOST, those go first that would be over first.
FORGET = "DELETE FROM counters WHERE expires <= ?"
SHRINK = """
DELETE FROM counters WHERE name IN (
    SELECT name FROM counters ORDER BY expires LIMIT max(0, (SELECT count(*) FROM counters) - ?)
)
"""
MOST = 100_000  # counters, some 10 MiB
FORGET_EVERY = 1000  # counts between two looks for counters that are over


class SqliteCounters(Storage):
    """A storage of the library `limits`; URI: ``sqlite-counters:///absolute/path``. Fixed windows."""

    STORAGE_SCHEME = ["sqlite-counters"]  # noqa: RUF012  # as the base class declares it

    def __init__(self, uri: str, wrap_exceptions: bool = False, **options: float | str | bool) -> None:
        super().__init__(uri, wrap_exceptions, **options)
        self._path = Path(unquote(uri.partition("://")[2]))
        self._counted = 0
        with self._open() as database:
            database.executescript(SCHEMA)

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """Give a connection; opening one costs less than a request's parsing, and no thread has to share it."""
        database = sqlite3.connect(self._path, timeout=5, isolation_level=None)
        try:
            database.execute("PRAGMA synchronous = OFF")  # a count need not survive a power cut
            yield database
        finally:
            database.close()

    @property
    def base_exceptions(self) -> type[Exception]:
        """Return what the storage may raise."""
        return sqlite3.Error

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Count *amount* for *key* in a window of *expiry* seconds and return the window's count."""
        moment = time.time()
        with self._open() as database:
            values = {"name": key, "amount": amount, "now": moment, "window": expiry}
            (hits,) = database.execute(COUNT, values).fetchone()
            self._counted += 1
            if self._counted % FORGET_EVERY == 0:
                database.execute(FORGET, (moment,))
                database.execute(SHRINK, (MOST,))
        return int(hits)

    def _row(self, key: str) -> tuple[int, float]:
        """Return (count, end of the window in seconds since 1970) of *key*; (0, now) where there is no window."""
        moment = time.time()
        with self._open() as database:
            query = "SELECT hits, expires FROM counters WHERE name = ? AND expires > ?"
            row = database.execute(query, (key, moment)).fetchone()
        return (int(row[0]), float(row[1])) if row else (0, moment)

    def get(self, key: str) -> int:
        """Return the count of *key*."""
        return self._row(key)[0]

    def get_expiry(self, key: str) -> float:
        """Return when (seconds since 1970) the window of *key* ends."""
        return self._row(key)[1]

    def check(self) -> bool:
        """Tell whether the file answers."""
        try:
            self.get("")
        except sqlite3.Error:
            return False
        return True

    def reset(self) -> int:
        """Forget all counters and return how many there were."""
        with self._open() as database:
            return database.execute("DELETE FROM counters").rowcount

    def clear(self, key: str) -> None:
        """Forget the counter of *key*."""
        with self._open() as database:
            database.execute("DELETE FROM counters WHERE name = ?", (key,))
