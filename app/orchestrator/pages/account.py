"""One's own account."""

from __future__ import annotations

from http import HTTPStatus

from flask import render_template, request
from flask.typing import ResponseReturnValue
from flask_jwt_extended import current_user, get_jwt

from ..people import accounts, logins, tokens
from ..people.access import log_action
from ..people.auth import change_password
from ..site.database import db
from ..site.rate_limits import login_attempts
from .blueprint import blueprint, signed_in
from .login import leave


def _show(status: int = HTTPStatus.OK, **values: object) -> ResponseReturnValue:
    """Show the account."""
    page = render_template(
        "account.html",
        logins=logins.of(current_user),
        this=get_jwt()[tokens.LOGIN_CLAIM],
        shortest=accounts.SHORTEST_PASSWORD,
        longest=accounts.LONGEST_PASSWORD,
        **values,
    )
    return page, status


@blueprint.get("/account")
@signed_in()
def account() -> ResponseReturnValue:
    """Show who is signed in, and where."""
    return _show()


@blueprint.post("/account/password")
@login_attempts
@signed_in()
def choose_password() -> ResponseReturnValue:
    """Choose another password; whatever is signed in with the former one is signed out, this browser too."""
    new = request.form.get("new", "")
    try:
        if new != request.form.get("again", ""):
            raise accounts.AccountProblem("The two new passwords are not the same.")
        change_password(current_user, request.form.get("current", "")[: accounts.LONGEST_PASSWORD + 1], new)
    except accounts.AccountProblem as problem:
        return _show(HTTPStatus.UNPROCESSABLE_ENTITY, problem=str(problem))
    return leave("password")


@blueprint.post("/account/sign-out-everywhere")
@signed_in()
def sign_out_everywhere() -> ResponseReturnValue:
    """End all logins of this user."""
    logins.revoke_all(current_user)
    db.session.commit()
    log_action("logins", "revoked")
    return leave("everywhere")
