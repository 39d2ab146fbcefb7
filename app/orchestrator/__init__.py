"""The orchestrator: says who may publish, knows what is live, and shows it."""

from __future__ import annotations

import os
from pathlib import Path
from uuid import uuid4

from flask import Flask, Response, g, request
from sqlalchemy import URL
from werkzeug.exceptions import HTTPException
from werkzeug.middleware.proxy_fix import ProxyFix

from . import api, cli, internal, models, pages
from .people import tokens
from .site import events, rate_limits
from .site.database import db, migrate
from .site.settings import Settings, current_settings, from_environment

__all__ = ["create_app", "models"]

LARGEST_BODY = 64 * 1024  # bytes; a callback of nginx-rtmp has a few hundred


def create_app(settings: Settings | None = None) -> Flask:
    """Return the application, with *settings* or those of the environment.

    Raises:
        RefusedSetting: see `site.settings.from_environment`.
    """
    settings = settings or from_environment(os.environ)
    os.umask(0o077)  # the database's -wal and -shm files follow the umask, not the database's own mode
    app = Flask(__name__)
    app.config.update(
        STREAMKEEP=settings,
        SECRET_KEY=settings.jwt_secret,
        MAX_CONTENT_LENGTH=LARGEST_BODY,
        MAX_FORM_MEMORY_SIZE=LARGEST_BODY,
        SQLALCHEMY_DATABASE_URI=URL.create("sqlite", database=str(settings.database_path)),
    )
    db.init_app(app)
    migrate.init_app(app, db, directory=str(Path(__file__).parent / "migrations"))
    for blueprint in (internal.blueprint, pages.blueprint, pages.playback_access.blueprint):
        app.register_blueprint(blueprint)
    app.cli.add_command(cli.group)
    app.before_request(_name_request)
    app.after_request(_page_policy)
    internal.health_checks.configure(app)
    tokens.configure(app, settings)
    rate_limits.configure(app, settings)
    internal.metrics.configure(app)
    api.configure(app)
    app.register_error_handler(HTTPException, pages.answer_error)
    events.configure(settings.log_level, settings.log_file)
    app.logger.handlers = events.log.handlers
    # Only the proxy writes X-Forwarded-*, always anew; internal callers come without it and are known by their socket.
    app.wsgi_app = internal.RememberPeer(ProxyFix(app.wsgi_app, x_for=1, x_proto=1), settings.trusted_proxy)  # type: ignore[method-assign]  # how Flask documents middleware
    return app


def _name_request() -> None:
    """Give the request the proxy's name for it, or one of its own."""
    from_proxy = request.environ["streamkeep.peer"] == current_settings().trusted_proxy
    given = request.headers.get("X-Request-ID", "") if from_proxy else ""
    g.request_id = given if given.isalnum() and len(given) <= 64 else uuid4().hex


def _page_policy(response: Response) -> Response:
    """Let pages load what this host serves and nothing else: no inline script, no foreign origin.

    Nobody may frame them, but whom a page names in `g.framed_by` (`pages.embedding`).
    """
    if response.mimetype == "text/html":
        framed_by = g.get("framed_by", "") or "'none'"
        response.headers["Content-Security-Policy"] = (
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
            " media-src 'self' blob:; worker-src 'self' blob:; form-action 'self';"
            f" base-uri 'none'; frame-ancestors {framed_by}"
        )
    if not request.path.startswith("/static/"):
        response.headers.setdefault("Cache-Control", "no-store")
    return response
