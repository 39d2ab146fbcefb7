"""Streams and their keys: admins manage all, streamers their own, auditors look."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import NamedTuple

from flask import abort, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_jwt_extended import current_user

from .. import permissions
from ..models import VISIBILITIES, StreamKey
from ..people.access import live_session, log_action, visible_key
from ..permissions import MANAGERS, Denied
from ..site.settings import current_settings
from ..streams import keys, recordings, relays, sessions
from .blueprint import blueprint, signed_in
from .forms import changed_fields, key_fields
from .stream_health import health_of

RECENT = 10  # ended sessions on a stream's page
SAID = {
    "changed": "Saved.",
    "revoked": "The key is revoked. A stream that ran on it ends within seconds.",
    "kicked": "The stream ends within seconds, and nobody can publish under its name for a minute.",
    "withdrawn": "No invitation counts any more. Who watches by one is out within half a minute.",
    "discarded": "The recording is gone.",
    "passed-on": "The stream is passed on there whenever it is live.",
    "kept-here": "The stream is not passed on there any more.",
    "deleted": "The stream and its history are gone.",
}


def _refused(template: str, problem: keys.KeyProblem | Denied, **values: object) -> ResponseReturnValue:
    """Show the form again with what was written, and say what is wrong."""
    said, status = str(problem), HTTPStatus.UNPROCESSABLE_ENTITY
    if isinstance(problem, Denied):
        said, status = str(problem.description), HTTPStatus.FORBIDDEN
    page = render_template(template, form=request.form, problem=said, visibilities=VISIBILITIES, **values)
    return page, status


def _secret(key: StreamKey, secret: str, status: int) -> ResponseReturnValue:
    """Show *secret*, this once, with what to write into OBS."""
    server, play_path = current_settings().ingest_server, keys.stream_key(key.slug, secret)
    return render_template("key_secret.html", key=key, server=server, stream_key=play_path), status


@blueprint.get("/streams")
@signed_in()
def streams() -> ResponseReturnValue:
    """List the streams that the signed-in user may see."""
    live = {session.stream_key_id for session in sessions.live()}
    rows = [(key, keys.state(key, key.id in live)) for key in keys.of(current_user)]
    return render_template("keys.html", rows=rows, said=SAID.get(request.args.get("said", "")))


@blueprint.get("/new-stream")
@signed_in(*MANAGERS)
def new_stream() -> ResponseReturnValue:
    """Show the form for a new stream."""
    return render_template("key_new.html", form={}, visibilities=VISIBILITIES)


@blueprint.post("/streams")
@signed_in(*MANAGERS)
def create_stream() -> ResponseReturnValue:
    """Make a stream's key and show it, this once."""
    try:
        fields = key_fields(request.form)
        slug, title = request.form.get("slug", "").strip(), fields.pop("title")
        key, secret = keys.create(slug, title, current_user, by=current_user, **fields)
    except keys.KeyProblem as problem:
        return _refused("key_new.html", problem)
    log_action("key", "created", slug=key.slug)
    return _secret(key, secret, HTTPStatus.CREATED)


def relays_of(key: StreamKey) -> dict[str, object]:
    """Return what is shown of where the stream of *key* is passed on to."""
    return {
        "relays": relays.shown(key),
        "relay_reasons": relays.REASONS,
        "relays_possible": relays.possible(),
        "most_relays": relays.MOST,
        "longest_relay_key": relays.LONGEST_KEY,
    }


def page_of(key: StreamKey) -> dict[str, object]:
    """Return what the page of *key* shows."""
    session = sessions.of_key(key)
    recent, total = sessions.history([key], 1, RECENT)
    found, recorded = recordings.of([key], current_settings().recordings_path)
    return {
        "key": key,
        "session": session,
        "state": keys.state(key, session is not None),
        "recent": recent,
        "total": total,
        "recordings": found,
        "recorded": recorded,
        **relays_of(key),
        **health_of(key),
        "may_change": permissions.may_change(current_user, key),
        "fixed": permissions.fixed(current_user, key),
        "actions": [name for name, asked in ACTIONS.items() if _allowed(asked, key)],
    }


@blueprint.get("/streams/<slug>")
@signed_in()
def stream(slug: str) -> ResponseReturnValue:
    """Show a stream: its settings, its history, and what can be done with it."""
    key = visible_key(slug)
    said = SAID.get(request.args.get("said", ""))
    return render_template("key.html", form=None, said=said, visibilities=VISIBILITIES, **page_of(key))


@blueprint.post("/streams/<slug>")
@signed_in(*MANAGERS)
def change_stream(slug: str) -> ResponseReturnValue:
    """Change who may see a stream, and its limits."""
    key = visible_key(slug)
    try:
        fields = changed_fields(request.form, key)
        keys.change(key, by=current_user, **fields)
    except (keys.KeyProblem, Denied) as problem:
        return _refused("key.html", problem, **page_of(key))
    log_action("key", "changed", slug=slug, fields=sorted(fields))
    return redirect(url_for("pages.stream", slug=slug, said="changed"), HTTPStatus.SEE_OTHER)


def _rotate(key: StreamKey) -> ResponseReturnValue:
    """Replace the key."""
    secret = keys.rotate(key, by=current_user)
    log_action("key", "rotated", slug=key.slug)
    return _secret(key, secret, HTTPStatus.OK)


def _revoke(key: StreamKey) -> ResponseReturnValue:
    """Withdraw the key."""
    keys.revoke(key, by=current_user)
    log_action("key", "revoked", slug=key.slug)
    return redirect(url_for("pages.stream", slug=key.slug, said="revoked"), HTTPStatus.SEE_OTHER)


def _kick(key: StreamKey) -> ResponseReturnValue:
    """Send the publisher away."""
    sessions.send_away(live_session(key), "kicked", sessions.HOLD, by=current_user)
    log_action("stream", "kicked", slug=key.slug, hold_seconds=int(sessions.HOLD.total_seconds()))
    return redirect(url_for("pages.stream", slug=key.slug, said="kicked"), HTTPStatus.SEE_OTHER)


def _delete(key: StreamKey) -> ResponseReturnValue:
    """Forget the key."""
    slug = key.slug
    keys.delete(key, by=current_user)
    log_action("key", "deleted", slug=slug)
    return redirect(url_for("pages.streams", said="deleted"), HTTPStatus.SEE_OTHER)


class Action(NamedTuple):
    """Something that asks first: its question, what follows from it, its button's word, what it does, and who may."""

    question: str
    consequence: str
    word: str
    do: Callable[[StreamKey], ResponseReturnValue]
    judge: Callable[[permissions.Who, StreamKey], None] = lambda _who, _key: None


ACTIONS = {
    "rotate": Action(
        "Give {} a new key?",
        "The former key stops working at once, and a stream that runs on it ends within seconds."
        " The new key is shown once, on the next page.",
        "Make a new key",
        _rotate,
        permissions.judge_rotation,
    ),
    "revoke": Action(
        "Revoke the key of {}?",
        "Nobody can publish under this name until you give it a new key. A stream that runs ends within seconds.",
        "Revoke the key",
        _revoke,
    ),
    "kick": Action(
        "End the live stream {}?",
        "The publisher is disconnected within seconds and refused for a minute. The key stays as it is.",
        "End the stream",
        _kick,
    ),
    "delete": Action(
        "Delete {}?",
        "The name, its key and its history are forgotten. This can't be undone.",
        "Delete for good",
        _delete,
        permissions.judge_deletion,
    ),
}


def _action(name: str) -> Action:
    """Return the action *name* or answer 404."""
    if name not in ACTIONS:
        abort(HTTPStatus.NOT_FOUND)
    return ACTIONS[name]


def _allowed(action: Action, key: StreamKey) -> bool:
    """Tell whether the signed-in user may do this with *key*."""
    try:
        action.judge(current_user, key)
    except Denied:
        return False
    return True


@blueprint.get("/streams/<slug>/<action>")
@signed_in(*MANAGERS)
def ask_about_stream(slug: str, action: str) -> ResponseReturnValue:
    """Ask before something is done that can't be undone."""
    asked = _action(action)
    key = visible_key(slug)
    asked.judge(current_user, key)
    return render_template(
        "confirm.html",
        question=asked.question.format(key.slug),
        consequence=asked.consequence,
        word=asked.word,
        back=url_for("pages.stream", slug=slug),
    )


@blueprint.post("/streams/<slug>/<action>")
@signed_in(*MANAGERS)
def act_on_stream(slug: str, action: str) -> ResponseReturnValue:
    """Do it."""
    return _action(action).do(visible_key(slug))
