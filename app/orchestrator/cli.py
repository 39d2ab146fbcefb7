"""`flask streamkeep ...`: what playbooks and operators do from inside the container. One JSON object a line.

A secret is printed once, by the command that makes it; none is taken as an argument.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import click
from flask.cli import AppGroup

from .models import ROLES, VISIBILITIES, StreamKey, User
from .people import accounts, logins
from .site import events
from .site.clock import now
from .site.settings import current_settings
from .streams import keys, sessions

group = AppGroup("streamkeep", help="Manage streams, keys and people.")
key_group = AppGroup("key", help="Manage stream keys.")
user_group = AppGroup("user", help="Manage who signs in.")
group.add_command(key_group)
group.add_command(user_group)

P = ParamSpec("P")
R = TypeVar("R")


def _told(command: Callable[P, R]) -> Callable[P, R]:
    """Let *command* tell a problem in one sentence, without a traceback."""

    @wraps(command)
    def telling(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except (keys.KeyProblem, accounts.AccountProblem) as problem:
            raise click.ClickException(str(problem)) from None

    return telling


def _show(**fields: Any) -> None:
    """Print *fields* as one JSON object."""
    click.echo(json.dumps(fields))


def _log(event: str, result: str, **details: Any) -> None:
    """Log what an operator did on the host; standard output is for the answer alone."""
    settings = current_settings()
    events.configure(settings.log_level, settings.log_file, sys.stderr)
    events.note(event, result, None, user="operator", **details)


def _time(moment: datetime | None) -> str | None:
    """Return *moment* as RFC 3339."""
    return f"{moment.isoformat(timespec='seconds')}Z" if moment else None


def _described(key: StreamKey) -> dict[str, Any]:
    """Return what may be shown of *key*."""
    return {
        "slug": key.slug,
        "title": key.title,
        "owner": key.owner.name if key.owner else None,
        "visibility": key.visibility,
        "created": _time(key.created_at),
        "rotated": _time(key.rotated_at),
        "expires": _time(key.expires_at),
        "revoked": key.revoked_at is not None,
        "owner_disabled": key.owner_disabled,
    }


def _person(user: User) -> dict[str, Any]:
    """Return what may be shown of *user*."""
    return {
        "name": user.name,
        "role": user.role,
        "created": _time(user.created_at),
        "disabled": user.disabled_at is not None,
        "signed_in": logins.count(user),
    }


@key_group.command("create")
@click.argument("slug")
@click.option("--title", default="", help="What viewers read.")
@click.option("--owner", help="The user whose key it is.")
@click.option("--visibility", type=click.Choice(VISIBILITIES), default="public", show_default=True)
@click.option("--days", type=click.IntRange(1, 3650), help="Days until it expires.")
@click.option("--rotate", is_flag=True, help="Where the name exists, give it a new key and change nothing else.")
@_told
def create_key(slug: str, title: str, owner: str | None, visibility: str, days: int | None, rotate: bool) -> None:
    """Let somebody publish as SLUG, and print the key: this is the only time it is shown."""
    key = keys.find(slug) if rotate else None
    if key:
        secret = keys.rotate(key)
    else:
        user = accounts.known(owner) if owner else None
        expiry = now() + timedelta(days=days) if days else None
        key, secret = keys.create(slug, title, user, visibility=visibility, expires_at=expiry)
    _log("key", "rotated" if key.rotated_at else "created", slug=slug)
    _show(slug=slug, key=secret)


@key_group.command("list")
def list_keys() -> None:
    """Print all stream keys, without their secrets."""
    for key in keys.everything():
        _show(**_described(key))


@key_group.command("revoke")
@click.argument("slug")
@_told
def revoke_key(slug: str) -> None:
    """Withdraw the key of SLUG; a stream that runs on it ends within seconds."""
    key = keys.known(slug)
    keys.revoke(key)
    _log("key", "revoked", slug=slug)
    _show(**_described(key))


@key_group.command("review")
@click.option("--days", type=click.IntRange(1), default=90, show_default=True, help="Older keys are due for rotation.")
def review_keys(days: int) -> None:
    """Print the keys that want a look, each with its reasons: old, never used, without an owner, or never expiring."""
    oldest = now() - timedelta(days=days)
    for key in keys.everything():
        if key.revoked_at:
            continue
        reasons = {
            "old": (key.rotated_at or key.created_at) < oldest,
            "unused": not sessions.any_of(key),
            "no owner": key.owner is None,
            "never expires": key.expires_at is None,
        }
        if any(reasons.values()):
            _show(**_described(key), reasons=[reason for reason, holds in reasons.items() if holds])


@user_group.command("create")
@click.argument("name")
@click.option("--role", type=click.Choice(ROLES), required=True)
@_told
def create_user(name: str, role: str) -> None:
    """Let NAME sign in, and print the generated password: this is the only time it is shown."""
    user, password = accounts.create(name, role)
    _log("user", "created", subject=name, role=role)
    _show(name=user.name, role=user.role, password=password)


@user_group.command("list")
def list_users() -> None:
    """Print who may sign in."""
    for user in accounts.everybody():
        _show(**_person(user))


@user_group.command("reset-password")
@click.argument("name")
@_told
def reset_password(name: str) -> None:
    """Generate a new password for NAME, sign them out everywhere, and print it: the only time it is shown."""
    password = accounts.set_password(accounts.known(name))
    _log("user", "password reset", subject=name)
    _show(name=name, password=password)


@user_group.command("disable")
@click.argument("name")
@_told
def disable_user(name: str) -> None:
    """Let NAME sign in no more, sign them out everywhere, and end what is live on their keys, which stop."""
    user = accounts.known(name)
    accounts.disable(user)
    _log("user", "disabled", subject=name)
    _show(**_person(user))


@user_group.command("enable")
@click.argument("name")
@_told
def enable_user(name: str) -> None:
    """Let NAME sign in again, and their keys publish again."""
    user = accounts.known(name)
    accounts.enable(user)
    _log("user", "enabled", subject=name)
    _show(**_person(user))


@user_group.command("delete")
@click.argument("name")
@_told
def delete_user(name: str) -> None:
    """Forget NAME; their keys are revoked and belong to nobody, and what is live on them ends."""
    accounts.delete(accounts.known(name))
    _log("user", "deleted", subject=name)


@group.command("live")
def live() -> None:
    """Print what is live."""
    for session in sessions.live():
        _show(slug=session.stream_key.slug, session=session.id, client=session.address)


@group.command("sign-out-everybody")
def sign_out_everybody() -> None:
    """End all logins: for a suspected breach."""
    for user in accounts.everybody():
        logins.revoke_all(user)
    _log("user", "everybody signed out")
