"""Where else a stream goes: servers of others, and what becomes of each."""

from __future__ import annotations

from http import HTTPStatus

from flask import redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_jwt_extended import current_user

from ..models import VISIBILITIES, Relay
from ..people.access import found, log_action, visible_key
from ..permissions import MANAGERS, may_change
from ..streams import relays
from .blueprint import blueprint, signed_in
from .keys import page_of, relays_of


def _known(slug: str, number: str) -> Relay:
    """Return a relay of *slug* if the signed-in user may see it, or answer 404."""
    return found(relays.find(visible_key(slug), number), "The stream is not passed on there.")


@blueprint.get("/streams/<slug>/relays")
@signed_in()
def relay_list(slug: str) -> ResponseReturnValue:
    """Return the part of a stream's page that is fetched again every few seconds."""
    key = visible_key(slug)
    return render_template("relays.html", key=key, may_change=may_change(current_user, key), **relays_of(key))


@blueprint.post("/streams/<slug>/relays")
@signed_in(*MANAGERS)
def pass_on(slug: str) -> ResponseReturnValue:
    """Pass a stream on to another server; what is wrong is told, but the stream key is not sent back."""
    key = visible_key(slug)
    server = request.form.get("server", "").strip()
    try:
        relay = relays.create(key, server, request.form.get("stream_key", "").strip())
    except relays.RelayProblem as problem:
        conflict = isinstance(problem, relays.NoRelay | relays.TooMany)
        page = render_template(
            "key.html",
            form=None,
            visibilities=VISIBILITIES,
            relay_problem=str(problem),
            relay_server=server,
            **page_of(key),
        )
        return page, HTTPStatus.CONFLICT if conflict else HTTPStatus.UNPROCESSABLE_ENTITY
    log_action("relay", "created", slug=slug, relay=relay.id)
    return redirect(url_for("pages.stream", slug=slug, said="passed-on"), HTTPStatus.SEE_OTHER)


@blueprint.get("/streams/<slug>/relays/<number>/remove")
@signed_in(*MANAGERS)
def ask_about_relay(slug: str, number: str) -> ResponseReturnValue:
    """Ask before a stream is passed on there no more."""
    server = _known(slug, number).server
    return render_template(
        "confirm.html",
        question=f"Pass {slug} on no more?",
        consequence=f"{server} gets nothing any more, within seconds, and its stream key is forgotten here.",
        word="Remove",
        back=url_for("pages.stream", slug=slug),
    )


@blueprint.post("/streams/<slug>/relays/<number>/remove")
@signed_in(*MANAGERS)
def remove_relay(slug: str, number: str) -> ResponseReturnValue:
    """Remove it."""
    relays.delete(_known(slug, number))
    log_action("relay", "deleted", slug=slug, relay=number)
    return redirect(url_for("pages.stream", slug=slug, said="kept-here"), HTTPStatus.SEE_OTHER)
