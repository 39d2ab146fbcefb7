"""What the API and the pages share about people: an attempt to sign in, and who did what."""

from __future__ import annotations

from typing import Any

from flask import g, request
from flask_jwt_extended import current_user

from . import accounts, guesses, logins, tokens
from .events import note
from .metrics import auth_attempts
from .models import User

WRONG = "The name or the password is wrong."
LONGEST_NAME = 64


def attempt(name: str, password: str) -> tokens.Pair | None:
    """Return tokens for *name*, or None; the same answer in the same time whether the name exists or not."""
    user = accounts.authenticate(name, password)
    if user is None:
        _failed(name, password)
        return None
    auth_attempts.labels("success").inc()
    note("login", "success", request.remote_addr, user=name[:LONGEST_NAME])
    return tokens.issue(logins.begin(user))


def _failed(name: str, password: str) -> None:
    """Note a wrong password. fail2ban and the limit of attempts count it when it is tried for the first time."""
    g.guessed = guesses.is_new("login", request.remote_addr or "", name, password)
    auth_attempts.labels("failed").inc()
    note("login", "failed" if g.guessed else "repeated", request.remote_addr, user=name[:LONGEST_NAME])


def change_password(user: User, current: str, new: str) -> None:
    """Give *user* the password *new*; a wrong *current* one counts as a failed attempt to sign in.

    Raises:
        AccountProblem: the current password is wrong, or the new one is weak.
    """
    if not accounts.verifies(user, current):
        _failed(user.name, current)
        raise accounts.AccountProblem("The current password is wrong.")
    accounts.set_password(user, new)
    note("user", "password changed", request.remote_addr, user=user.name)


def actor(event: str, result: str, **details: Any) -> None:
    """Log what the signed-in user did."""
    note(event, result, request.remote_addr, user=current_user.name, **details)
