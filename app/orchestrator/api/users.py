"""Who may sign in. For admins; auditors may look."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from flask import abort
from flask_jwt_extended import current_user

from ..models import User
from ..people import accounts
from ..people.access import known_user, log_action
from ..permissions import ADMINS, OBSERVERS
from .blueprint import ApiBlueprint
from .schemas import NewUser, Password, UserChange, UserOut

blueprint = ApiBlueprint("users", "/users", "Who may sign in.")


@blueprint.get("")
@blueprint.response(HTTPStatus.OK, UserOut(many=True))
@blueprint.signed_in(*OBSERVERS)
def everybody() -> list[User]:
    """List all users."""
    return accounts.everybody()


@blueprint.post("")
@blueprint.response(HTTPStatus.CREATED, Password)
@blueprint.signed_in(*ADMINS)
@blueprint.takes(NewUser)
def create(new: dict[str, str]) -> dict[str, str]:
    """Let somebody sign in; the password is generated and shown this once."""
    try:
        user, password = accounts.create(new["name"], new["role"])
    except accounts.AccountProblem as problem:
        abort(HTTPStatus.UNPROCESSABLE_ENTITY, str(problem))
    log_action("user", "created", subject=user.name, role=user.role)
    return {"name": user.name, "password": password}


@blueprint.get("/<name>")
@blueprint.response(HTTPStatus.OK, UserOut)
@blueprint.refusals(HTTPStatus.NOT_FOUND)
@blueprint.signed_in(*OBSERVERS)
def one(name: str) -> User:
    """Show a user."""
    return known_user(name)


@blueprint.patch("/<name>")
@blueprint.response(HTTPStatus.OK, UserOut)
@blueprint.refusals(HTTPStatus.NOT_FOUND)
@blueprint.signed_in(*ADMINS)
@blueprint.takes(UserChange)
def change(change: dict[str, Any], name: str) -> User:
    """Give a user another role, or let them sign in no more or again; both sign them out.

    Nobody publishes on the keys of who is disabled, and what is live on them ends within seconds.
    """
    user = known_user(name)
    try:
        if "role" in change:
            accounts.set_role(user, change["role"])
        if "disabled" in change:
            (accounts.disable if change["disabled"] else accounts.enable)(user)
    except accounts.AccountProblem as problem:
        abort(HTTPStatus.UNPROCESSABLE_ENTITY, str(problem))
    log_action("user", "changed", subject=user.name, **change)
    return user


@blueprint.post("/<name>/password")
@blueprint.response(HTTPStatus.OK, Password)
@blueprint.refusals(HTTPStatus.NOT_FOUND)
@blueprint.signed_in(*ADMINS)
def reset_password(name: str) -> dict[str, str]:
    """Generate a new password, shown this once, and sign the user out."""
    try:
        password = accounts.set_password(known_user(name))
    except accounts.AccountProblem as problem:
        abort(HTTPStatus.NOT_FOUND, str(problem))
    log_action("user", "password reset", subject=name)
    return {"name": name, "password": password}


@blueprint.delete("/<name>")
@blueprint.response(HTTPStatus.NO_CONTENT)
@blueprint.refusals(HTTPStatus.NOT_FOUND, HTTPStatus.UNPROCESSABLE_ENTITY)
@blueprint.signed_in(*ADMINS)
def delete(name: str) -> None:
    """Forget a user; their keys are revoked and belong to nobody, and what is live on them ends within seconds."""
    user = known_user(name)
    try:
        accounts.delete(user, by=current_user)
    except accounts.AccountProblem as problem:
        abort(HTTPStatus.UNPROCESSABLE_ENTITY, str(problem))
    log_action("user", "deleted", subject=name)
