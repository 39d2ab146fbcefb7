"""What all pages have in common: who looks, where foreign forms are refused, and how a session goes on."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from http import HTTPStatus
from typing import Any, ParamSpec, cast

from flask import Blueprint, abort, redirect, request, url_for
from flask.typing import ResponseReturnValue
from flask_jwt_extended import current_user, get_csrf_token, get_current_user
from flask_jwt_extended import verify_jwt_in_request as verify
from flask_jwt_extended.exceptions import JWTExtendedException
from jwt.exceptions import PyJWTError
from werkzeug.exceptions import HTTPException, Unauthorized

from .. import permissions
from ..models import User
from ..people import tokens
from ..site.rate_limits import page_views

blueprint = Blueprint("pages", __name__, template_folder="../templates")
page_views(blueprint)
P = ParamSpec("P")
VIEWER = "streamkeep.viewer"  # where a request remembers who sent it
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


@blueprint.before_request
def refuse_foreign_forms() -> None:
    """Refuse what another site's page sends, signing in included (login CSRF).

    Browsers say where a form comes from in Sec-Fetch-Site, older ones in Origin (https://www.w3.org/TR/fetch-metadata/).
    """
    if request.method in SAFE_METHODS:
        return
    site = request.headers.get("Sec-Fetch-Site")
    origin = request.headers.get("Origin")
    if site is None:
        foreign = origin is not None and origin != f"{request.scheme}://{request.host}"
    else:
        foreign = site not in ("same-origin", "none")
    if foreign:
        abort(HTTPStatus.FORBIDDEN, "This form came from another site: open the page here and send it again.")


def signed_in(*roles: str) -> Callable[[Callable[P, ResponseReturnValue]], Callable[P, ResponseReturnValue]]:
    """Let a page be seen by who signed in, in one of *roles* (none named: any); others are led to sign in."""

    def decorate(view: Callable[P, ResponseReturnValue]) -> Callable[P, ResponseReturnValue]:
        @wraps(view)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> ResponseReturnValue:
            try:
                tokens.checked("cookies")
            except Unauthorized:
                # 307 keeps a form's method and fields: what somebody wrote for half an hour is not lost.
                way = url_for("pages.go_on", next=request.full_path.rstrip("?"))
                return redirect(way, HTTPStatus.TEMPORARY_REDIRECT)
            if not permissions.in_role(current_user, roles):
                abort(HTTPStatus.FORBIDDEN, f"This page needs the role {' or '.join(roles)}.")
            request.environ[VIEWER] = current_user
            return view(*args, **kwargs)

        return guarded

    return decorate


def viewer() -> User | None:
    """Return who is signed in; pages that everybody may see ask this."""
    if VIEWER not in request.environ:
        try:
            verify(locations=["cookies"])
            request.environ[VIEWER] = get_current_user()
        except (JWTExtendedException, PyJWTError, HTTPException):  # the last: a form that can't be read has no token
            request.environ[VIEWER] = None
    return cast("User | None", request.environ[VIEWER])


def local(path: str) -> str:
    """Return *path* when it stays on this host, else the dashboard: nobody is led elsewhere by a link to us."""
    # Browsers read a backslash as a slash, and //host as another host; control characters they leave out.
    stays = path.startswith("/") and not path.startswith("//") and "\\" not in path and path.isprintable()
    return path if stays else url_for("pages.dashboard")


@blueprint.app_context_processor
def _for_templates() -> dict[str, Any]:
    """Give the templates who looks and what for, and the token that forms send back."""
    user = viewer()
    cookie = request.cookies.get("__Host-access", "")
    return {
        "viewer": user,
        "administers": user is not None and permissions.administers(user),
        "observes": user is not None and permissions.observes(user),
        "manages": user is not None and permissions.manages(user),
        "csrf_token": get_csrf_token(cookie) if user else "",
    }
