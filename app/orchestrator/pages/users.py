"""Who may sign in: admins manage, auditors look."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import NamedTuple

from flask import abort, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_jwt_extended import current_user

from ..models import ROLES, User
from ..people import accounts, logins
from ..people.access import known_user, log_action
from ..permissions import ADMINS, OBSERVERS
from .blueprint import blueprint, signed_in

SAID = {
    "role": "The role is changed, and the user is signed out.",
    "disabled": "The user is signed out and can't sign in any more. Nobody publishes on their keys.",
    "enabled": "The user can sign in again, and publish.",
    "deleted": "The user is gone. The streams stay, belong to nobody, and their keys are revoked.",
}


def _list(status: int = HTTPStatus.OK, **values: object) -> ResponseReturnValue:
    """Show all users."""
    return render_template("users.html", users=accounts.everybody(), roles=ROLES, **values), status


def _one(user: User, status: int = HTTPStatus.OK, **values: object) -> ResponseReturnValue:
    """Show *user*."""
    return render_template("user.html", user=user, signed_in=logins.count(user), roles=ROLES, **values), status


@blueprint.get("/users")
@signed_in(*OBSERVERS)
def users() -> ResponseReturnValue:
    """List all users."""
    return _list(form={}, said=SAID.get(request.args.get("said", "")))


@blueprint.post("/users")
@signed_in(*ADMINS)
def create_user() -> ResponseReturnValue:
    """Let somebody sign in; the password is shown this once."""
    try:
        user, password = accounts.create(request.form.get("name", "").strip(), request.form.get("role", ""))
    except accounts.AccountProblem as problem:
        return _list(HTTPStatus.UNPROCESSABLE_ENTITY, form=request.form, problem=str(problem))
    log_action("user", "created", subject=user.name, role=user.role)
    return render_template("user_password.html", user=user, password=password), HTTPStatus.CREATED


@blueprint.get("/users/<name>")
@signed_in(*OBSERVERS)
def user(name: str) -> ResponseReturnValue:
    """Show a user."""
    return _one(known_user(name), said=SAID.get(request.args.get("said", "")))


def _to(user: User, said: str) -> ResponseReturnValue:
    """Go back to the page of *user*."""
    return redirect(url_for("pages.user", name=user.name, said=said), HTTPStatus.SEE_OTHER)


def _role(user: User) -> ResponseReturnValue:
    """Give another role."""
    accounts.set_role(user, request.form.get("role", ""))
    log_action("user", "changed", subject=user.name, role=user.role)
    return _to(user, "role")


def _disable(user: User) -> ResponseReturnValue:
    """Let sign in no more, and nobody publish on their keys."""
    accounts.disable(user)
    log_action("user", "changed", subject=user.name, disabled=True)
    return _to(user, "disabled")


def _enable(user: User) -> ResponseReturnValue:
    """Let sign in again."""
    accounts.enable(user)
    log_action("user", "changed", subject=user.name, disabled=False)
    return _to(user, "enabled")


def _reset(user: User) -> ResponseReturnValue:
    """Generate another password and show it, this once."""
    password = accounts.set_password(user)
    log_action("user", "password reset", subject=user.name)
    return render_template("user_password.html", user=user, password=password), HTTPStatus.OK


def _delete(user: User) -> ResponseReturnValue:
    """Forget the user."""
    name = user.name
    accounts.delete(user, by=current_user)
    log_action("user", "deleted", subject=name)
    return redirect(url_for("pages.users", said="deleted"), HTTPStatus.SEE_OTHER)


class Action(NamedTuple):
    """Something that is done to a user; where *question* is not empty, it asks first."""

    do: Callable[[User], ResponseReturnValue]
    question: str = ""
    consequence: str = ""
    word: str = ""


ACTIONS = {
    "role": Action(_role),
    "enable": Action(_enable),
    "disable": Action(
        _disable,
        "Disable {}?",
        "Whatever is signed in under this name is signed out at once. What is live on their keys ends within seconds,"
        " and nobody can publish on them until you enable the user again.",
        "Disable the user",
    ),
    "reset": Action(
        _reset,
        "Give {} a new password?",
        "The former password stops working and the user is signed out. The new one is shown once, on the next page.",
        "Make a new password",
    ),
    "delete": Action(
        _delete,
        "Delete {}?",
        "The user is signed out and forgotten. The streams stay and belong to nobody; their keys are revoked, and what"
        " is live on them ends within seconds.",
        "Delete for good",
    ),
}


@blueprint.get("/users/<name>/<action>")
@signed_in(*ADMINS)
def ask_about_user(name: str, action: str) -> ResponseReturnValue:
    """Ask before something is done to a user."""
    asked = ACTIONS.get(action)
    if asked is None or not asked.question:
        abort(HTTPStatus.NOT_FOUND)
    user = known_user(name)
    return render_template(
        "confirm.html",
        question=asked.question.format(user.name),
        consequence=asked.consequence,
        word=asked.word,
        back=url_for("pages.user", name=user.name),
    )


@blueprint.post("/users/<name>/<action>")
@signed_in(*ADMINS)
def act_on_user(name: str, action: str) -> ResponseReturnValue:
    """Do it."""
    asked = ACTIONS.get(action)
    if asked is None:
        abort(HTTPStatus.NOT_FOUND)
    user = known_user(name)
    try:
        return asked.do(user)
    except accounts.AccountProblem as problem:
        return _one(known_user(name), HTTPStatus.UNPROCESSABLE_ENTITY, problem=str(problem))
