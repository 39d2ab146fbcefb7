"""Where else a stream goes: RTMP(S) servers of others, each with the key that it gave the streamer.

That key is encrypted at rest (`site.encryption`), told to the relay alone, and shown to nobody again.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import timedelta
from ipaddress import IPv6Address
from typing import NamedTuple

from sqlalchemy import select

from ..models import Relay, StreamKey
from ..site.clock import now
from ..site.database import db
from ..site.encryption import Cipher, Undecryptable
from ..site.events import note
from ..site.settings import current_settings
from . import sessions

MOST = 4  # a stream key
LONGEST_SERVER = 200
LONGEST_KEY = 512
# The relay tells each state again within 15 s; what it has not for so long is not true any more.
SILENCE = timedelta(seconds=45)
STATES = ("waiting", "running", "refused")
UNREADABLE = "key unreadable"
# What the relay may say about why (but for the last, which we say), and how people are told. It never passes on a
# server's own words, which may repeat the key.
REASONS = {
    "cannot connect": "The server does not answer.",
    "name not found": "The server's name leads nowhere.",
    "address not allowed": "The server's address is a private one, which this host may not reach.",
    "certificate not trusted": "The server's certificate is not trusted by this host, or is of another name.",
    "refused by the server": "The server refuses the stream: is the stream key right?",
    "ended": "The server ended the connection.",
    UNREADABLE: "This stream key can't be opened any more: remove it and enter it again.",
}
# Userinfo, query and fragment have no place here: that is where secrets travel.
SERVER = re.compile(
    r"(?P<scheme>rtmps?)://(?P<host>[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])"
    r"(?::(?P<port>[1-9][0-9]{0,4}))?(?P<app>(?:/[A-Za-z0-9_.-]+){1,3})/?"
)
KEY = re.compile(r"[!-~]+")  # ASCII that can be seen


class RelayProblem(ValueError):
    """A relay that can't be made; the message is one sentence for the streamer and repeats nothing of what was sent."""


class NoRelay(RelayProblem):
    """This host passes no stream on."""


class TooMany(RelayProblem):
    """The stream is passed on to as many servers as it may be."""


class Status(NamedTuple):
    """What becomes of a relay at this moment."""

    state: str
    reason: str | None


def judge(server: str, stream_key: str) -> str:
    """Return *server* as it is kept.

    Raises:
        RelayProblem: it is no server, or *stream_key* no key.
    """
    found = SERVER.fullmatch(server) if len(server) <= LONGEST_SERVER else None
    if found is None or int(found["port"] or 1) > 65535 or not _is_host(found["host"]) or "/.." in found["app"]:
        raise RelayProblem(
            "The server is rtmp://HOST/APP or rtmps://HOST/APP, with a port if need be, and without user, ? or #:"
            " the stream key has a field of its own."
        )
    if len(stream_key) > LONGEST_KEY or not KEY.fullmatch(stream_key):
        raise RelayProblem(f"The stream key is 1 to {LONGEST_KEY} visible ASCII characters without a space.")
    return server.rstrip("/")


def _is_host(host: str) -> bool:
    """Tell whether *host* is a DNS name or an address."""
    if host.startswith("["):
        try:
            IPv6Address(host[1:-1])
        except ValueError:
            return False
        return True
    return all(0 < len(label) <= 63 and label[0] != "-" != label[-1] for label in host.split("."))


def possible() -> bool:
    """Tell whether this host passes streams on."""
    return bool(current_settings().relay_peers)


def of(key: StreamKey) -> list[Relay]:
    """Return the relays of *key*, oldest first."""
    query = select(Relay).where(Relay.stream_key_id == key.id).order_by(Relay.created_at, Relay.id)
    return list(db.session.scalars(query))


def find(key: StreamKey, number: str) -> Relay | None:
    """Return the relay of *key* with the id *number*."""
    return db.session.scalar(select(Relay).where(Relay.stream_key_id == key.id, Relay.id == number))


def create(key: StreamKey, server: str, stream_key: str) -> Relay:
    """Pass the stream of *key* on to *server* as *stream_key*, from now on and whenever it is live.

    Raises:
        NoRelay: this host passes no stream on.
        TooMany: MOST are there already.
        RelayProblem: see `judge`.
    """
    if not possible():
        raise NoRelay("This host passes no streams on: its operator can let it, with streamkeep_relay: true.")
    server = judge(server, stream_key)
    if len(of(key)) >= MOST:
        raise TooMany(f"A stream is passed on to {MOST} servers at most: remove one first.")
    relay = Relay(stream_key_id=key.id, server=server, secret=Cipher(current_settings()).encrypt(stream_key))
    db.session.add(relay)
    db.session.commit()
    return relay


def delete(relay: Relay) -> None:
    """Pass the stream on there no more; what runs ends within seconds."""
    db.session.delete(relay)
    db.session.commit()


def status(relay: Relay, live: bool) -> Status:
    """Return what becomes of *relay*, whose stream is *live* or not."""
    if relay.reason == UNREADABLE:
        return Status("refused", relay.reason)
    heard = relay.state_at is not None and relay.state_at >= now() - SILENCE
    return Status(relay.state, relay.reason) if live and heard else Status("waiting", None)


def shown(key: StreamKey) -> list[tuple[Relay, Status]]:
    """Return the relays of *key*, each with what becomes of it."""
    live = sessions.of_key(key) is not None
    return [(relay, status(relay, live)) for relay in of(key)]


def wanted() -> list[dict[str, str]]:
    """Return what is to be passed on now, with the servers' keys: for the relay alone."""
    live = {session.stream_key_id: session for session in sessions.live() if not session.ending}
    query = select(Relay).where(Relay.stream_key_id.in_(live)).order_by(Relay.created_at, Relay.id)
    cipher = Cipher(current_settings())
    found = []
    for relay in db.session.scalars(query):
        try:
            stream_key = cipher.decrypt(relay.secret)
        except Undecryptable:
            continue
        found.append(
            {
                "id": relay.id,
                "slug": relay.stream_key.slug,
                "session": live[relay.stream_key_id].id,
                "application": live[relay.stream_key_id].application,
                "server": relay.server,
                "stream_key": stream_key,
            }
        )
    return found


def report(states: Sequence[tuple[str, str, str | None]]) -> None:
    """Take from the relay *states*: (id, state, reason); what changed is logged, without server and key.

    Raises:
        ValueError: a state or a reason is none that there is.
    """
    for _, state, reason in states:
        if state not in STATES or (reason is not None and reason not in REASONS):
            raise ValueError("no such state")
    for number, state, reason in states:
        relay = db.session.get(Relay, number)
        if relay is None:
            continue  # removed while the relay was speaking of it
        if (relay.state, relay.reason) != (state, reason):
            note("relay", state, None, reason=reason, slug=relay.stream_key.slug, relay=number)
        relay.state, relay.reason, relay.state_at = state, reason, now()
    db.session.commit()


def reencrypt_keys() -> None:
    """Encrypt with the newest key what the former one encrypted; what neither decrypts is told to who can mend it."""
    cipher = Cipher(current_settings())
    for relay in db.session.scalars(select(Relay)):
        try:
            relay.secret = cipher.reencrypt(relay.secret)
        except Undecryptable:
            note("relay", "refused", None, reason=UNREADABLE, slug=relay.stream_key.slug, relay=relay.id)
            relay.state, relay.reason = "refused", UNREADABLE
            continue
        if relay.reason == UNREADABLE:  # somebody brought the former data_key back
            relay.state, relay.reason = "waiting", None
    db.session.commit()
