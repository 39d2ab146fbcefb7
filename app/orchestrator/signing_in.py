"""What the API and the pages share about people: an attempt to sign in, and who did what."""

from __future__ import annotations

from typing import Any

from flask import request
from flask_jwt_extended import current_user

from . import accounts, logins, tokens
from .events import note
from .metrics import auth_attempts
from .models import User

WRONG = "The name or the password is wrong."
LONGEST_NAME = 64


def attempt(name: str, password: str) -> tokens.Pair | None:
    """Return tokens for *name*, or None; the same answer in the same time whether the name exists or not.

    The failed attempt's log line is what fail2ban counts. It has names that exist alone: the others may be passwords.
    """
    user = accounts.authenticate(name, password)
    known = user or accounts.find(name)
    auth_attempts.labels("success" if user else "failed").inc()
    note("login", "success" if user else "failed", request.remote_addr, user=known.name if known else None)
    return tokens.issue(logins.begin(user)) if user else None


def change_password(user: User, current: str, new: str) -> None:
    """Give *user* the password *new*; a wrong *current* one counts as a failed attempt to sign in.

    Raises:
        AccountProblem: the current password is wrong, or the new one is weak.
    """
    if not accounts.verifies(user, current):
        auth_attempts.labels("failed").inc()
        note("login", "failed", request.remote_addr, user=user.name)
        raise accounts.AccountProblem("The current password is wrong.")
    accounts.set_password(user, new)
    note("user", "password changed", request.remote_addr, user=user.name)


def actor(event: str, result: str, **details: Any) -> None:
    """Log what the signed-in user did."""
    note(event, result, request.remote_addr, user=current_user.name, **details)
