"""What an encoder sent when it connected or began to publish, in all the forms that people's settings give it.

Right is the server rtmp(s)://HOST/live and the stream key SLUG?key=SECRET. nginx-rtmp keeps the stream's name as it
was sent, and shows it in its statistics and to ffmpeg: so the name has to be the slug alone, and other forms are
refused with a reason that the stream's page can show. What nginx-rtmp 1.2.2 posts: `app` without what follows "?",
`tcurl` with it; `name` without what follows "?", which comes as further fields, just as it was sent.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

from .keys import well_formed

APPLICATIONS = ("live", "Live")  # nginx-rtmp has the same under both names: phones begin words with a capital
# A name among what people write around it: an address, slashes, spaces, and the key behind whatever stands for "?".
AROUND = re.compile(
    r"\s*(?:(?P<address>rtmps?://[^/]*)?/*(?:[Ll]ive/+)?)(?P<slug>[A-Za-z0-9_-]{3,64})(?P<rest>.*)", re.DOTALL
)
LONGEST = 1024  # characters that are looked at; more is no setting of anybody


class Attempt(NamedTuple):
    """A try to publish: the name it means as far as that can be told, the secret, and what is wrong with its form."""

    slug: str
    secret: str
    fault: str | None


def understand(form: Mapping[str, str]) -> Attempt:
    """Return what the fields of on_publish or on_update mean; *fault* is one of `problems.REFUSALS`, or None."""
    name = form.get("name", "")[:LONGEST]
    # People copy the key with the end of its line, and some encoders escape that.
    secret = form.get("key", "")[:LONGEST].strip() or _behind_application(form)
    if form.get("app") not in APPLICATIONS:
        return Attempt("", "", "syntax")
    if not well_formed(name):
        return Attempt(_meant(name), "", _fault(name))
    return Attempt(name, secret, None if secret else "no key")


def _behind_application(form: Mapping[str, str]) -> str:
    """Return the key that was written into the server field (rtmp://HOST/live?key=SECRET), or nothing."""
    try:
        query = urlsplit(form.get("tcurl", "")[:LONGEST]).query
        return parse_qs(query, max_num_fields=8).get("key", [""])[0].strip()
    except ValueError:
        return ""


def _meant(name: str) -> str:
    """Return the slug that *name*, which is none, most probably means; nothing where it means none."""
    found = AROUND.fullmatch(unquote(name))
    return found["slug"] if found else ""


def _fault(name: str) -> str:
    """Return what is wrong with *name*, which is no slug."""
    found = AROUND.fullmatch(name)
    if found and found["address"]:
        return "address as name"
    if "%3f" in name.lower():
        return "name escaped"
    if found and found["rest"].startswith("&"):
        return "name without question mark"
    if name != name.strip():
        return "name with spaces"
    if "/" in name:
        return "name with slash"
    return "syntax"


def server_of(application: str) -> str | None:
    """Return None where *application* is one of ours, else the slug that stands in it, or nothing.

    Who writes the whole address into the server field connects to an application "live/SLUG".
    """
    if application in APPLICATIONS:
        return None
    first, _, rest = application[:LONGEST].partition("/")
    slug = rest.strip("/ ")
    return slug if first in APPLICATIONS and well_formed(slug) else ""
