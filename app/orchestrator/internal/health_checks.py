"""Is the process alive, and can it do its work?"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from threading import Lock
from time import monotonic

from alembic.script import ScriptDirectory
from flask import Blueprint, Flask, Response, abort, current_app, request

from ..site.settings import Settings, current_settings

blueprint = Blueprint("health", __name__)

FRESH = 3.0  # seconds for which an answer stands, so that asking often costs no more than asking now and then
PATIENCE = 1.0  # seconds to wait for the write lock; the container's healthcheck waits 3 s for all of it


class Readiness:
    """Whether the database of *app* takes writes and its tables are the ones this code knows."""

    def __init__(self, app: Flask) -> None:
        settings: Settings = app.config["STREAMKEEP"]
        self._database = settings.database_path
        self._head = ScriptDirectory(app.extensions["migrate"].directory).get_current_head()
        self._lock = Lock()
        self._asked_at = -FRESH
        self._reason: str | None = None

    def problem(self) -> str | None:
        """Return why not, or None; the database is asked once in FRESH seconds."""
        with self._lock:
            if monotonic() - self._asked_at >= FRESH:
                self._reason = _problem(self._database, self._head)
                self._asked_at = monotonic()
            return self._reason


def _problem(database: Path, head: str | None) -> str | None:
    """Return why *database*, whose tables are to be those of the migration *head*, is not ready, or None."""
    try:
        address = f"{database.absolute().as_uri()}?mode=rw"
        with closing(sqlite3.connect(address, uri=True, timeout=PATIENCE, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            if connection.execute("SELECT version_num FROM alembic_version").fetchall() != [(head,)]:
                return "the database's tables are not this version's"
            # Writes a page without changing anything; closing the connection takes it back.
            connection.execute("UPDATE alembic_version SET version_num = version_num")
    except sqlite3.Error:
        return "the database takes no writes"
    return None


def configure(app: Flask) -> None:
    """Let *app* tell how it is."""
    app.extensions["streamkeep_readiness"] = Readiness(app)
    app.register_blueprint(blueprint)


@blueprint.get("/healthz")
def alive() -> Response:
    """Answer as long as the process serves."""
    return Response("ok\n", mimetype="text/plain")


@blueprint.get("/readyz")
def ready() -> Response:
    """Answer 200 when this process can do its work, else 503; to the outside there is nothing here."""
    if request.environ["streamkeep.peer"] == current_settings().trusted_proxy:
        abort(404)
    reason = current_app.extensions["streamkeep_readiness"].problem()
    return Response(f"{reason or 'ok'}\n", status=503 if reason else 200, mimetype="text/plain")
