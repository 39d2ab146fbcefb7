"""What whoever is signed in reaches, for pages and API alike, and the log of what they did.

What they may not see is not there: the answer is 404, whether it exists or not.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, TypeVar

from flask import abort, request
from flask_jwt_extended import current_user

from .. import permissions
from ..models import Session, StreamKey, User
from ..site.events import note
from ..site.settings import current_settings
from ..streams import keys, recordings, sessions
from ..streams.recordings import Recording
from . import accounts

T = TypeVar("T")


def found(thing: T | None, sentence: str) -> T:
    """Return *thing*, or answer 404 with *sentence* where there is none."""
    if thing is None:
        abort(HTTPStatus.NOT_FOUND, sentence)
    return thing


def visible_key(slug: str) -> StreamKey:
    """Return the key of *slug* if the signed-in user may see it, or answer 404."""
    key = keys.find(slug)
    if key is None or not permissions.may_see(current_user, key):
        abort(HTTPStatus.NOT_FOUND, "There is no such stream among yours.")
    return key


def live_session(key: StreamKey) -> Session:
    """Return the live session of *key*, or answer 404."""
    return found(sessions.of_key(key), "This stream is not live.")


def visible_recording(slug: str, file: str) -> Recording:
    """Return the recording *file* of *slug* if the signed-in user may see it, or answer 404."""
    recording = recordings.find(visible_key(slug).slug, file, current_settings().recordings_path)
    return found(recording, "There is no such recording.")


def known_user(name: str) -> User:
    """Return the user *name*, or answer 404."""
    return found(accounts.find(name), "There is no such user.")


def log_action(event: str, result: str, **details: Any) -> None:
    """Log what the signed-in user did."""
    note(event, result, request.remote_addr, user=current_user.name, **details)
