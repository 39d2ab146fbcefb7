"""Pages for everybody: what is live, watching it, and whom to tell about a vulnerability."""

from __future__ import annotations

from flask import Response, abort, render_template

from ..models import StreamKey
from ..permissions import may_read_title
from ..site.clock import now
from ..site.settings import current_settings
from ..streams import keys, sessions
from .blueprint import blueprint, viewer
from .embedding import described_at
from .formatting import media_path


@blueprint.get("/")
def home() -> str:
    """Show what is live."""
    return render_template("home.html", sessions=sessions.public())


@blueprint.get("/live")
def home_live() -> str:
    """Return the part of the home page that is fetched again."""
    return render_template("home_live.html", sessions=sessions.public())


@blueprint.get("/watch/<slug>")
def watch(slug: str) -> str:
    """Show the player of *slug*; it starts by itself when the stream does."""
    key = keys.find(slug)
    if key is None:
        abort(404)
    return render_template(
        "watch.html",
        key=key,
        name=_public_name(key),
        playlist=media_path(key, "index.m3u8"),
        poster=media_path(key, "thumbnail.jpg"),
        described_at=described_at(key),
    )


def _public_name(key: StreamKey) -> str:
    """Return what may be read of *key* by who looks; the title of a private stream is for who manages it."""
    return key.title if key.title and may_read_title(viewer(), key) else key.slug


@blueprint.get("/.well-known/security.txt")
def security_txt() -> Response:
    """Say where to report a vulnerability (RFC 9116)."""
    contact = current_settings().security_contact
    if not contact:
        abort(404)
    text = f"Contact: mailto:{contact}\nExpires: {_next_year()}\n"
    return Response(text, mimetype="text/plain")


def _next_year() -> str:
    """Return the last moment of this promise: at most 13 months off (RFC 9116 advises about a year)."""
    return f"{now().year + 1}-01-31T00:00:00Z"
