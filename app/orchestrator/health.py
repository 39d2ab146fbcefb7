"""Is the process alive, and can it do its work?"""

from __future__ import annotations

from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from flask import Blueprint, Response, current_app
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from .database import db, writes

blueprint = Blueprint("health", __name__)


@blueprint.get("/healthz")
def alive() -> Response:
    """Answer as long as the process serves."""
    return Response("ok\n", mimetype="text/plain")


@blueprint.get("/readyz")
def ready() -> Response:
    """Answer 200 when the database takes writes and its tables are the ones this code knows, else 503."""
    reason = _not_ready()
    return Response(f"{reason or 'ok'}\n", status=503 if reason else 200, mimetype="text/plain")


def _not_ready() -> str | None:
    """Return why not, or None."""
    writes()
    scripts = ScriptDirectory(current_app.extensions["migrate"].directory)
    try:
        with db.engine.connect() as connection:
            if MigrationContext.configure(connection).get_current_revision() != scripts.get_current_head():
                return "the database's tables are not this version's"
            # Every transaction begins with the write lock; this writes a page without changing anything.
            connection.execute(text("UPDATE alembic_version SET version_num = version_num"))
            connection.rollback()
    except SQLAlchemyError:
        return "the database takes no writes"
    return None
