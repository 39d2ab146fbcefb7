"""Who may see and change what: the one place that decides it, for pages, API and command line alike.

*Admins* manage everything, *streamers* their own streams, *auditors* see everything and change nothing. Whoever works
on the host itself (`flask streamkeep`) is OPERATOR, and may do what admins may.

What an admin set for a stream is the admin's: its owner sees it, and by whom it was set, but can't lift it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, true
from werkzeug.exceptions import Forbidden

from .models import StreamKey, User
from .site.clock import now

ADMINS = ("admin",)
OBSERVERS = ("admin", "auditor")  # see everything
MANAGERS = ("admin", "streamer")  # have streams, and change what they may see of them
# What limits a publisher, and how a sentence calls it; titles, visibility and recording are always the owner's.
LIMITS = {
    "expires_at": "when the key expires",
    "max_bitrate_kbps": "the limit on bitrate",
    "max_height": "the limit on picture height",
    "max_minutes": "the limit on duration",
    "sources": "the sources",
}


@dataclass(frozen=True)
class Operator:
    """Whoever works on the host itself, as logs and pages call them; nobody of this kind signs in."""

    name: str = "operator"
    role: str = "admin"
    id: None = None


OPERATOR = Operator()
Who = User | Operator


class Denied(Forbidden):
    """Somebody may see a stream but not do this with it; answered as 403 with one sentence that says whom to ask."""


def in_role(who: Who, roles: Sequence[str]) -> bool:
    """Tell whether *who* has one of *roles*; where none is named, everybody has."""
    return not roles or who.role in roles


def administers(who: Who) -> bool:
    """Tell whether *who* may manage what belongs to others."""
    return who.role in ADMINS


def observes(who: Who) -> bool:
    """Tell whether *who* sees everything."""
    return who.role in OBSERVERS


def manages(who: Who) -> bool:
    """Tell whether *who* has streams, and changes what they may see of them."""
    return who.role in MANAGERS


def is_public(key: StreamKey) -> bool:
    """Tell whether the stream of *key* is listed for everybody, and may be shown in others' pages."""
    return key.visibility == "public"


def is_private(key: StreamKey) -> bool:
    """Tell whether nobody watches the stream of *key*, or reads its title, who was not let in (`playback_access`)."""
    return key.visibility == "private"


def may_see(who: Who, key: StreamKey) -> bool:
    """Tell whether *who* may see *key* and watch its stream."""
    return observes(who) or (who.id is not None and key.owner_id == who.id)


def seen_by(who: Who) -> ColumnElement[bool]:
    """Return the same as `may_see` for a query of StreamKey."""
    return true() if observes(who) else StreamKey.owner_id == who.id


def may_read_title(who: Who | None, key: StreamKey) -> bool:
    """Tell whether *who*, or somebody who is not signed in, may read the title of *key*."""
    return not is_private(key) or (who is not None and may_see(who, key))


def may_change(who: Who, key: StreamKey) -> bool:
    """Tell whether *who* may change something of *key*."""
    return manages(who) and may_see(who, key)


def fixed(who: Who, key: StreamKey) -> dict[str, str]:
    """Return {limit of *key*: the admin who set it} for those that *who* can't change."""
    return {} if administers(who) else key.set_by_admin


def judge_change(who: Who, key: StreamKey, changes: Mapping[str, Any]) -> None:
    """Raise Denied when *changes* touch what an admin set; what they leave as it is touches nothing."""
    for limit, admin in fixed(who, key).items():
        if limit in changes and changes[limit] != getattr(key, limit):
            raise Denied(f"{admin} set {LIMITS[limit]} of {key.slug}: ask an admin to change it.")


def judge_rotation(who: Who, key: StreamKey) -> None:
    """Raise Denied when a new secret would give back to *who* what an admin withdrew."""
    if key.revoked_by and not administers(who):
        raise Denied(f"{key.revoked_by} revoked the key of {key.slug}: ask an admin for a new one.")


def judge_deletion(who: Who, key: StreamKey) -> None:
    """Raise Denied when *who* could make *key* anew without what an admin set."""
    if administers(who):
        return
    held_by = key.held_by if key.held_until and key.held_until > now() else None
    for admin in (*key.set_by_admin.values(), key.revoked_by, held_by):
        if admin:
            raise Denied(f"{admin} limited, revoked or held {key.slug}: ask an admin to delete it.")
