"""From what a form sends to what the functions take; they judge the values."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from werkzeug.datastructures import MultiDict

from ..models import StreamKey
from ..streams.keys import LARGEST_LIMIT, NUMERIC_LIMITS, KeyProblem


def _limit(form: MultiDict[str, str], name: str) -> int | None:
    """Return a limit; an empty field is none."""
    text = form.get(name, "").strip()
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 7):
        raise KeyProblem(f"A limit is a whole number from 1 to {LARGEST_LIMIT}, or left empty for none.")
    return int(text)


def _expiry(form: MultiDict[str, str]) -> datetime | None:
    """Return when a key expires, in UTC; an empty field is never."""
    text = form.get("expires_at", "").strip()
    if not text:
        return None
    try:
        return datetime.strptime(text[:16], "%Y-%m-%dT%H:%M")  # noqa: DTZ007, RUF100  # the database keeps naive UTC
    except ValueError:
        raise KeyProblem("The expiry is no date and time: write one such as 2027-01-31T18:00, in UTC.") from None


def key_fields(form: MultiDict[str, str]) -> dict[str, Any]:
    """Return the fields of a key that *form* holds.

    Raises:
        KeyProblem: a number or a time is none.
    """
    return {
        "title": form.get("title", "").strip(),
        "visibility": form.get("visibility", "public"),
        "record": form.get("record") == "yes",
        "expires_at": _expiry(form),
        "sources": form.get("sources", "").replace(",", " ").split(),
        **{name: _limit(form, name) for name in NUMERIC_LIMITS},
    }


def expiry_text(moment: datetime | None) -> str:
    """Return *moment* as a form shows it, to the minute; never is empty."""
    return moment.strftime("%Y-%m-%dT%H:%M") if moment else ""


def changed_fields(form: MultiDict[str, str], key: StreamKey) -> dict[str, Any]:
    """Return the fields that *form* would make other than they are in *key*.

    A text field that is not in the form stays as it is: what an admin set is shown to the owner, but not sent back. An
    empty one is sent. Only a box that is not ticked is left out by browsers.

    Raises:
        KeyProblem: see `key_fields`.
    """
    sent = {name: value for name, value in key_fields(form).items() if name in form or name == "record"}
    if form.get("expires_at", "").strip() == expiry_text(key.expires_at):
        sent.pop("expires_at", None)  # the form shows no seconds
    return {name: value for name, value in sent.items() if value != getattr(key, name)}
