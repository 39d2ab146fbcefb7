"""Stream keys: admins manage all, streamers their own, auditors may look."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from flask import abort
from flask_jwt_extended import current_user

from ..models import StreamKey
from ..people.access import log_action, visible_key
from ..permissions import MANAGERS
from ..site.settings import current_settings
from ..streams import keys
from .blueprint import ApiBlueprint
from .schemas import KeyChange, KeyOut, NewKey, Secret

blueprint = ApiBlueprint("keys", "/keys", "Who may publish, under which name.")


def _shown(key: StreamKey, secret: str) -> dict[str, str]:
    """Return *secret* with what to write into OBS."""
    play_path = keys.stream_key(key.slug, secret)
    return {"slug": key.slug, "key": secret, "server": current_settings().ingest_server, "stream_key": play_path}


@blueprint.get("")
@blueprint.response(HTTPStatus.OK, KeyOut(many=True))
@blueprint.signed_in()
def everything() -> list[StreamKey]:
    """List the keys that you may see."""
    return keys.of(current_user)


@blueprint.post("")
@blueprint.response(HTTPStatus.CREATED, Secret)
@blueprint.signed_in(*MANAGERS)
@blueprint.takes(NewKey)
def create(new: dict[str, Any]) -> dict[str, str]:
    """Let yourself publish under a name; the key is shown this once."""
    try:
        key, secret = keys.create(new.pop("slug"), new.pop("title", ""), current_user, by=current_user, **new)
    except keys.KeyProblem as problem:
        abort(HTTPStatus.UNPROCESSABLE_ENTITY, str(problem))
    log_action("key", "created", slug=key.slug)
    return _shown(key, secret)


@blueprint.get("/<slug>")
@blueprint.response(HTTPStatus.OK, KeyOut)
@blueprint.refusals(HTTPStatus.NOT_FOUND)
@blueprint.signed_in()
def one(slug: str) -> StreamKey:
    """Show a key."""
    return visible_key(slug)


@blueprint.patch("/<slug>")
@blueprint.response(HTTPStatus.OK, KeyOut)
@blueprint.refusals(HTTPStatus.NOT_FOUND)
@blueprint.signed_in(*MANAGERS)
@blueprint.takes(KeyChange)
def change(changes: dict[str, Any], slug: str) -> StreamKey:
    """Change the title, who may see the stream, or its limits; those in `set_by_admin` are changed by admins alone."""
    try:
        key = keys.change(visible_key(slug), by=current_user, **changes)
    except keys.KeyProblem as problem:
        abort(HTTPStatus.UNPROCESSABLE_ENTITY, str(problem))
    log_action("key", "changed", slug=slug, fields=sorted(changes))
    return key


@blueprint.post("/<slug>/rotate")
@blueprint.response(HTTPStatus.OK, Secret)
@blueprint.refusals(HTTPStatus.NOT_FOUND)
@blueprint.signed_in(*MANAGERS)
def rotate(slug: str) -> dict[str, str]:
    """Replace the key, shown this once; a stream that runs on the former one ends. What an admin revoked stays so."""
    key = visible_key(slug)
    secret = keys.rotate(key, by=current_user)
    log_action("key", "rotated", slug=slug)
    return _shown(key, secret)


@blueprint.post("/<slug>/revoke")
@blueprint.response(HTTPStatus.OK, KeyOut)
@blueprint.refusals(HTTPStatus.NOT_FOUND)
@blueprint.signed_in(*MANAGERS)
def revoke(slug: str) -> StreamKey:
    """Withdraw the key; a stream that runs on it ends within seconds."""
    key = visible_key(slug)
    keys.revoke(key, by=current_user)
    log_action("key", "revoked", slug=slug)
    return key


@blueprint.delete("/<slug>")
@blueprint.response(HTTPStatus.NO_CONTENT)
@blueprint.refusals(HTTPStatus.NOT_FOUND)
@blueprint.signed_in(*MANAGERS)
def delete(slug: str) -> None:
    """Forget the key, its name and its history; a stream that runs on it ends. What an admin limited, admins delete."""
    keys.delete(visible_key(slug), by=current_user)
    log_action("key", "deleted", slug=slug)
