"""Pages for people: what is live, and watching it."""

from __future__ import annotations

from flask import Blueprint, Response, abort, current_app, render_template

from . import keys, sessions
from .clock import now
from .settings import Settings

blueprint = Blueprint("pages", __name__)


@blueprint.get("/")
def home() -> str:
    """Show what is live."""
    return render_template("home.html", sessions=sessions.live())


@blueprint.get("/watch/<slug>")
def watch(slug: str) -> str:
    """Show the player of *slug*; it starts by itself when the stream does."""
    key = keys.find(slug) if keys.well_formed(slug) else None
    if key is None:
        abort(404)
    return render_template("watch.html", key=key)


@blueprint.get("/.well-known/security.txt")
def security_txt() -> Response:
    """Say where to report a vulnerability (RFC 9116)."""
    settings: Settings = current_app.config["STREAMKEEP"]
    if not settings.security_contact:
        abort(404)
    text = f"Contact: mailto:{settings.security_contact}\nExpires: {_next_year()}\n"
    return Response(text, mimetype="text/plain")


def _next_year() -> str:
    """Return the last moment of this promise: at most 13 months off (RFC 9116 advises about a year)."""
    return f"{now().year + 1}-01-31T00:00:00Z"
