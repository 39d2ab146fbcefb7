"""Stream keys: admins manage all, streamers their own, auditors may look."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from flask import abort, current_app
from flask_jwt_extended import current_user

from .. import keys
from ..models import StreamKey
from ..settings import Settings
from ..signing_in import actor
from .blueprint import ApiBlueprint
from .schemas import KeyChange, KeyOut, NewKey, Secret

blueprint = ApiBlueprint("keys", "/keys", "Who may publish, under which name.")


def reachable(slug: str) -> StreamKey:
    """Return the key of *slug* if the signed-in user may see it, or answer 404."""
    key = keys.find(slug)
    if key is None or (current_user.role == "streamer" and key.owner_id != current_user.id):
        abort(HTTPStatus.NOT_FOUND, "There is no such stream among yours.")
    return key


def _shown(key: StreamKey, secret: str) -> dict[str, str]:
    """Return *secret* with what to write into OBS."""
    settings: Settings = current_app.config["STREAMKEEP"]
    play_path = f"{key.slug}?key={secret}"
    return {"slug": key.slug, "key": secret, "server": settings.ingest_server, "stream_key": play_path}


@blueprint.get("")
@blueprint.response(HTTPStatus.OK, KeyOut(many=True))
@blueprint.signed_in()
def everything() -> list[StreamKey]:
    """List the keys that you may see."""
    return keys.of(current_user)


@blueprint.post("")
@blueprint.response(HTTPStatus.CREATED, Secret)
@blueprint.signed_in("admin", "streamer")
@blueprint.takes(NewKey)
def create(new: dict[str, Any]) -> dict[str, str]:
    """Let yourself publish under a name; the key is shown this once."""
    try:
        key, secret = keys.create(new.pop("slug"), new.pop("title", ""), current_user, **new)
    except keys.KeyProblem as problem:
        abort(HTTPStatus.UNPROCESSABLE_ENTITY, str(problem))
    actor("key", "created", slug=key.slug)
    return _shown(key, secret)


@blueprint.get("/<slug>")
@blueprint.response(HTTPStatus.OK, KeyOut)
@blueprint.refusals(HTTPStatus.NOT_FOUND)
@blueprint.signed_in()
def one(slug: str) -> StreamKey:
    """Show a key."""
    return reachable(slug)


@blueprint.patch("/<slug>")
@blueprint.response(HTTPStatus.OK, KeyOut)
@blueprint.refusals(HTTPStatus.NOT_FOUND)
@blueprint.signed_in("admin", "streamer")
@blueprint.takes(KeyChange)
def change(changes: dict[str, Any], slug: str) -> StreamKey:
    """Change the title, who may see the stream, or its limits."""
    try:
        key = keys.change(reachable(slug), **changes)
    except keys.KeyProblem as problem:
        abort(HTTPStatus.UNPROCESSABLE_ENTITY, str(problem))
    actor("key", "changed", slug=slug, fields=sorted(changes))
    return key


@blueprint.post("/<slug>/rotate")
@blueprint.response(HTTPStatus.OK, Secret)
@blueprint.refusals(HTTPStatus.NOT_FOUND)
@blueprint.signed_in("admin", "streamer")
def rotate(slug: str) -> dict[str, str]:
    """Replace the key; a stream that runs on the former one ends within seconds. The new one is shown this once."""
    key = reachable(slug)
    secret = keys.rotate(key)
    actor("key", "rotated", slug=slug)
    return _shown(key, secret)


@blueprint.post("/<slug>/revoke")
@blueprint.response(HTTPStatus.OK, KeyOut)
@blueprint.refusals(HTTPStatus.NOT_FOUND)
@blueprint.signed_in("admin", "streamer")
def revoke(slug: str) -> StreamKey:
    """Withdraw the key; a stream that runs on it ends within seconds."""
    key = reachable(slug)
    keys.revoke(key)
    actor("key", "revoked", slug=slug)
    return key


@blueprint.delete("/<slug>")
@blueprint.response(HTTPStatus.NO_CONTENT)
@blueprint.refusals(HTTPStatus.NOT_FOUND)
@blueprint.signed_in("admin", "streamer")
def delete(slug: str) -> None:
    """Forget the key, its name and its history; a stream that runs on it ends within seconds."""
    keys.delete(reachable(slug))
    actor("key", "deleted", slug=slug)
