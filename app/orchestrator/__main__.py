"""Starts the orchestrator: refuses bad settings, brings the tables up to date, then becomes gunicorn.

`python3 -m orchestrator check` says whether it would start with these settings, and touches nothing.
"""

from __future__ import annotations

import os
import shutil
import sys
from contextlib import suppress
from pathlib import Path

from flask_migrate import upgrade
from sqlalchemy import update

from . import create_app
from .models import Session
from .people import accounts
from .site.clock import now
from .site.database import db
from .site.metric_files import FOLDER
from .site.settings import RefusedSetting, from_environment
from .streams import relays

EX_CONFIG = 78  # sysexits.h: configuration error

GUNICORN = ["gunicorn", "--config=python:orchestrator.gunicorn_conf"]
# The workers' counters, empty at each start: Prometheus knows how to read a counter that began anew.
COUNTERS = Path("/tmp/prometheus")  # noqa: S108  # the container's own tmpfs, which nobody shares


def prepare() -> None:
    """Bring the database to this version and make sure of the admin."""
    app = create_app()
    settings = app.config["STREAMKEEP"]
    with app.app_context():
        upgrade()
        relays.reencrypt_keys()
        accounts.ensure_admin(settings.admin_username, settings.admin_password)
        # Whoever was live when we stopped has from now on the usual time to be heard again.
        db.session.execute(update(Session).where(Session.ended_at.is_(None)).values(updated_at=now()))
        db.session.commit()


def main() -> None:
    """Prepare, then run the server in this process's place."""
    try:
        if sys.argv[1:] == ["check"]:
            from_environment(os.environ)
            return
        prepare()
    except RefusedSetting as refusal:
        print(f"The orchestrator does not start: {refusal}", file=sys.stderr)
        sys.exit(EX_CONFIG)
    shutil.rmtree(COUNTERS, ignore_errors=True)
    with suppress(OSError):  # the workers say what is wrong, and serve without
        COUNTERS.mkdir(mode=0o700)
    environment = os.environ | {FOLDER: str(COUNTERS)}
    os.execvpe(GUNICORN[0], GUNICORN, environment)  # noqa: S606  # a fixed command; there is no shell to misread it


if __name__ == "__main__":
    main()
