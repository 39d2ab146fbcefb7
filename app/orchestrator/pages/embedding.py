"""Public streams in others' pages: the player alone, and what oEmbed (https://oembed.com) says of it.

Private and unlisted streams are not there: to be embedded is to be shown around.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, urlsplit

from flask import abort, g, render_template, request
from markupsafe import Markup

from ..models import StreamKey
from ..permissions import is_public
from ..site.settings import current_settings
from ..streams import keys
from .blueprint import blueprint
from .formatting import media_path

SIZE = (640, 360)  # pixels, of a frame whose page names none
SMALLEST, LARGEST = 16, 7680  # pixels a side


def _public(slug: str) -> StreamKey:
    """Return the key of the public stream *slug*, or answer 404."""
    key = keys.find_public(slug)
    if key is None:
        abort(HTTPStatus.NOT_FOUND)
    return key


@blueprint.get("/embed/<slug>")
def embed(slug: str) -> str:
    """Show the player of *slug* and nothing else, in a frame of who may embed."""
    key = _public(slug)
    g.framed_by = " ".join(current_settings().embed_origins)
    return render_template(
        "embed.html",
        name=key.title or key.slug,
        playlist=media_path(key, "index.m3u8"),
        poster=media_path(key, "thumbnail.jpg"),
    )


def _side(name: str, usual: int) -> int:
    """Return the pixels that the query allows a side, *usual* where it says nothing."""
    text = request.args.get(name, str(usual))
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and int(text) >= SMALLEST):
        abort(HTTPStatus.BAD_REQUEST, f"{name} is no number of pixels from {SMALLEST} on: write one such as {usual}.")
    return min(int(text), LARGEST)


def _slug_of(url: str) -> str:
    """Return the name of the stream whose page *url* is, or nothing where it is none of ours."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    page = re.fullmatch(r"/(?:watch|embed)/([^/]+)", parts.path)
    ours = parts.scheme == "https" and parts.netloc in (current_settings().public_domain, request.host)
    return page[1] if ours and page else ""


def described_at(key: StreamKey) -> str:
    """Return where oEmbed describes the stream of *key*; nothing where it may not be embedded."""
    if not is_public(key) or not current_settings().embed_origins:
        return ""
    site = f"https://{current_settings().public_domain}"
    return f"{site}/oembed?url={quote(f'{site}/watch/{key.slug}', safe='')}"


@blueprint.get("/oembed")
def oembed() -> dict[str, Any]:
    """Describe how to embed the stream whose page is in `url`: 404 where it may not be (oEmbed 1.0, section 2.3)."""
    if not current_settings().embed_origins:
        abort(HTTPStatus.NOT_FOUND)
    key = _public(_slug_of(request.args.get("url", "")))
    if request.args.get("format", "json") != "json":
        abort(HTTPStatus.NOT_IMPLEMENTED, "This site describes streams as JSON only: ask with format=json.")
    most_wide, most_high = _side("maxwidth", SIZE[0]), _side("maxheight", LARGEST)
    width = min(most_wide, most_high * SIZE[0] // SIZE[1])
    height = max(1, width * SIZE[1] // SIZE[0])
    site, title = f"https://{current_settings().public_domain}", key.title or key.slug
    frame = Markup(
        '<iframe src="{}/embed/{}" width="{}" height="{}" title="{}" allow="autoplay; fullscreen" allowfullscreen'
        ' style="border: 0"></iframe>'
    )
    return {
        "version": "1.0",
        "type": "video",
        "title": title,
        "provider_name": "Streamkeep",
        "provider_url": f"{site}/",
        "width": width,
        "height": height,
        "html": frame.format(site, key.slug, width, height, title),
    }
