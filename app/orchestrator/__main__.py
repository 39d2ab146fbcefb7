"""Starts the orchestrator: refuses bad settings, brings the tables up to date, then becomes gunicorn."""

from __future__ import annotations

import os
import sys

from flask_migrate import upgrade
from sqlalchemy import update

from . import accounts, create_app
from .clock import now
from .database import db
from .models import Session
from .settings import RefusedSetting

EX_CONFIG = 78  # sysexits.h: configuration error

GUNICORN = [
    "gunicorn",
    "--bind=0.0.0.0:8000",
    "--workers=2",
    "--worker-class=gthread",
    "--threads=8",
    "--worker-tmp-dir=/dev/shm",  # the heartbeat must not wait for a disk
    "--timeout=30",
    "--graceful-timeout=10",
    "--keep-alive=65",  # longer than the proxy's, so that it never writes into a closing connection
    "--limit-request-line=4094",
    "--limit-request-fields=50",
    "--forwarded-allow-ips=",
    "--no-control-socket",
    "orchestrator:create_app()",
]


def prepare() -> None:
    """Bring the database to this version and make sure of the admin."""
    app = create_app()
    settings = app.config["STREAMKEEP"]
    with app.app_context():
        upgrade()
        accounts.ensure_admin(settings.admin_username, settings.admin_password)
        # Whoever was live when we stopped has from now on the usual time to be heard again.
        db.session.execute(update(Session).where(Session.ended_at.is_(None)).values(updated_at=now()))
        db.session.commit()


def main() -> None:
    """Prepare, then run the server in this process's place."""
    try:
        prepare()
    except RefusedSetting as refusal:
        print(f"The orchestrator does not start: {refusal}", file=sys.stderr)
        sys.exit(EX_CONFIG)
    os.execvp(GUNICORN[0], GUNICORN)  # noqa: S606  # a fixed command; there is no shell to misread it


if __name__ == "__main__":
    main()
