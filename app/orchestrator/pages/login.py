"""Signing in and out, and going on: tokens in cookies that scripts can't read (RFC 6265bis: __Host-, __Secure-)."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from flask import Response, make_response, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_jwt_extended import set_access_cookies, set_refresh_cookies, unset_jwt_cookies
from werkzeug.exceptions import Unauthorized

from ..people import accounts, auth, tokens
from ..site.database import writes
from ..site.rate_limits import login_attempts
from .blueprint import SAFE_METHODS, blueprint, local, signed_in, viewer

SAID = {
    "out": "You are signed out.",
    "everywhere": "You are signed out everywhere.",
    "password": "The password is changed. Sign in with the new one.",
    "over": "Your session is over. Sign in again.",
}


def _form(status: int = HTTPStatus.OK, **values: Any) -> Response:
    """Return the form for signing in."""
    return make_response(render_template("sign_in.html", **values), status)


def _with_cookies(answer: ResponseReturnValue, pair: tokens.Pair | str) -> Response:
    """Return *answer* with the tokens."""
    response = make_response(answer)
    if isinstance(pair, tokens.Pair):
        set_refresh_cookies(response, pair.refresh, max_age=int(tokens.REFRESH.total_seconds()))
        pair = pair.access
    set_access_cookies(response, pair)
    return response


@blueprint.get("/session")
def sign_in() -> ResponseReturnValue:
    """Show the form for signing in to whom the refresh token does not sign in anew."""
    way, said = local(request.args.get("next", "")), request.args.get("said", "")
    if viewer():
        return redirect(way)
    # Who was told something comes from where the cookies were taken away: nobody is led round in circles.
    if tokens.REFRESH_COOKIE in request.cookies and not said:
        return redirect(url_for("pages.go_on", next=way), HTTPStatus.TEMPORARY_REDIRECT)
    return _form(next=request.args.get("next", ""), said=SAID.get(said))


@blueprint.post("/session")
@login_attempts
def begin() -> ResponseReturnValue:
    """Sign in."""
    name, password = request.form.get("name", ""), request.form.get("password", "")
    pair = auth.sign_in(name, password) if len(password) <= accounts.LONGEST_PASSWORD else None
    if pair is None:
        wanted = request.form.get("next", "")
        return _form(HTTPStatus.UNAUTHORIZED, next=wanted, name=name[: accounts.LONGEST_NAME], wrong=auth.WRONG)
    return _with_cookies(redirect(local(request.form.get("next", "")), HTTPStatus.SEE_OTHER), pair)


@blueprint.post("/session/end")
@signed_in()
def end() -> ResponseReturnValue:
    """Sign out."""
    tokens.sign_out()
    return leave("out")


def leave(said: str) -> Response:
    """Take the cookies away and say why."""
    response = make_response(redirect(url_for("pages.sign_in", said=said), HTTPStatus.SEE_OTHER))
    unset_jwt_cookies(response)
    return response


@blueprint.route("/session/continue", methods=["GET", "POST"])
def go_on() -> ResponseReturnValue:
    """Exchange the refresh token for new ones and go on to `next`; without `next` there is nothing to show.

    The browser sends the refresh token to this path alone.
    """
    writes()
    wanted = request.args.get("next", "")
    way = local(wanted) if wanted else ""  # judged before anything is exchanged
    try:
        tokens.checked("cookies", refresh=True)
        pair = tokens.renew(request.remote_addr, tabs=True)
    except Unauthorized:
        pair = None
    if pair is None:
        return _over(way)
    if not way:
        return _with_cookies(("", HTTPStatus.NO_CONTENT), pair)
    return _with_cookies(redirect(way, HTTPStatus.TEMPORARY_REDIRECT), pair)


def _over(wanted: str) -> ResponseReturnValue:
    """Lead to the form for signing in, and from there back to *wanted* if that is a page."""
    if not wanted:
        return make_response("", HTTPStatus.UNAUTHORIZED)
    said = "over" if tokens.REFRESH_COOKIE in request.cookies else None
    if "HX-Request" in request.headers:  # a part of a page can't show a form: the whole page goes there
        page = url_for("pages.sign_in", next=url_for("pages.dashboard"), said=said)
        response = make_response("", HTTPStatus.NO_CONTENT, {"HX-Redirect": page})
    else:
        back = wanted if request.method in SAFE_METHODS else None
        response = make_response(redirect(url_for("pages.sign_in", next=back, said=said), HTTPStatus.SEE_OTHER))
    unset_jwt_cookies(response)
    return response
