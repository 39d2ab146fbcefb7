"""Signing in and out."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from flask import abort, request
from flask_jwt_extended import current_user

from ..models import User
from ..people import accounts, auth, tokens
from ..site.rate_limits import login_attempts
from .blueprint import ApiBlueprint
from .schemas import Credentials, PasswordChange, Tokens, UserOut

blueprint = ApiBlueprint("auth", "/auth", "Sign in and out.")


def _shown(pair: tokens.Pair) -> dict[str, Any]:
    """Return *pair* as the API shows it."""
    seconds = int(tokens.ACCESS.total_seconds())
    return {"access_token": pair.access, "refresh_token": pair.refresh, "expires_in": seconds}


@blueprint.post("/login")
@login_attempts
@blueprint.takes(Credentials)
@blueprint.response(HTTPStatus.OK, Tokens)
@blueprint.refusals(HTTPStatus.UNAUTHORIZED)
def login(credentials: dict[str, str]) -> dict[str, Any]:
    """Sign in with name and password."""
    pair = auth.sign_in(credentials["name"], credentials["password"])
    return _shown(pair) if pair else tokens.unauthorized(auth.WRONG)


@blueprint.post("/refresh")
@blueprint.doc(security=[{"bearer": []}])
@blueprint.response(HTTPStatus.OK, Tokens)
@blueprint.refusals(HTTPStatus.UNAUTHORIZED)
def refresh() -> dict[str, Any]:
    """Exchange the refresh token (as bearer) for new tokens; it does not count a second time."""
    tokens.checked("headers", refresh=True)
    pair = tokens.renew(request.remote_addr)
    return _shown(pair) if isinstance(pair, tokens.Pair) else tokens.unauthorized(tokens.NOT_VALID)


@blueprint.post("/logout")
@blueprint.response(HTTPStatus.NO_CONTENT)
@blueprint.signed_in()
def logout() -> None:
    """Sign out: neither the access nor the refresh token of this login counts any more."""
    tokens.sign_out()


@blueprint.get("/me")
@blueprint.response(HTTPStatus.OK, UserOut)
@blueprint.signed_in()
def me() -> User:
    """Tell who is signed in."""
    user: User = current_user
    return user


@blueprint.put("/password")
@login_attempts
@blueprint.response(HTTPStatus.NO_CONTENT)
@blueprint.signed_in()
@blueprint.takes(PasswordChange)
def change_password(change: dict[str, str]) -> None:
    """Choose another password; whatever is signed in with the former one is signed out, this login too."""
    try:
        auth.change_password(current_user, change["current"], change["new"])
    except accounts.AccountProblem as problem:
        abort(HTTPStatus.UNPROCESSABLE_ENTITY, str(problem))
