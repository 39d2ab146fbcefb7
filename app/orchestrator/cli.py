"""`flask streamkeep ...`: what playbooks and operators do from inside the container. One JSON object a line."""

from __future__ import annotations

import json
from typing import Any

import click
from flask.cli import AppGroup

from . import keys, sessions
from .models import StreamKey

group = AppGroup("streamkeep", help="Manage streams.")
key_group = AppGroup("key", help="Manage stream keys.")
group.add_command(key_group)


def _show(**fields: Any) -> None:
    """Print *fields* as one JSON object."""
    click.echo(json.dumps(fields))


def _described(key: StreamKey) -> dict[str, Any]:
    """Return what may be shown of *key*."""
    return {
        "slug": key.slug,
        "title": key.title,
        "created": f"{key.created_at.isoformat(timespec='seconds')}Z",
        "revoked": key.revoked_at is not None,
    }


class _Told(click.ClickException):
    """A problem in one sentence, without a traceback."""


@key_group.command("create")
@click.argument("slug")
@click.option("--title", default="", help="What viewers read.")
@click.option("--rotate", is_flag=True, help="Where the name exists, give it a new key.")
def create(slug: str, title: str, rotate: bool) -> None:
    """Let somebody publish as SLUG, and print the key: this is the only time it is shown."""
    try:
        key = keys.find(slug) if rotate else None
        secret = keys.rotate(key) if key else keys.create(slug, title)[1]
    except keys.KeyProblem as problem:
        raise _Told(str(problem)) from None
    _show(slug=slug, key=secret)


@key_group.command("list")
def list_keys() -> None:
    """Print all stream keys, without their secrets."""
    for key in keys.everything():
        _show(**_described(key))


@key_group.command("revoke")
@click.argument("slug")
def revoke(slug: str) -> None:
    """Withdraw the key of SLUG; a stream that runs on it ends within seconds."""
    try:
        key = keys.known(slug)
        keys.revoke(key)
        _show(**_described(key))
    except keys.KeyProblem as problem:
        raise _Told(str(problem)) from None


@group.command("live")
def live() -> None:
    """Print what is live."""
    for session in sessions.live():
        _show(slug=session.stream_key.slug, session=session.id, client=session.address)
