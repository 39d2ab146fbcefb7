"""Signing in by name and password, and choosing another password."""

from __future__ import annotations

from flask import g, request

from ..models import User
from ..site.events import note
from ..site.metric_files import Counter
from . import accounts, brute_force, logins, tokens

auth_attempts = Counter("auth_attempts", "Attempts to sign in.", ["status"])
for _status in ("failed", "success"):  # each series is there from the start, so that its first increase is seen as one
    auth_attempts.labels(_status)

WRONG = "The name or the password is wrong."


def sign_in(name: str, password: str) -> tokens.Pair | None:
    """Return tokens for *name*, or None; the same answer in the same time whether the name exists or not."""
    user = accounts.authenticate(name, password)
    if user is None:
        _failed(name, password)
        return None
    auth_attempts.labels("success").inc()
    note("login", "success", request.remote_addr, user=user.name)
    return tokens.issue(logins.begin(user))


def _failed(name: str, password: str) -> None:
    """Note a wrong password. fail2ban and the limit of attempts count it when it is tried for the first time.

    The log has names that exist alone: the others may be passwords.
    """
    g.guessed = brute_force.is_new_guess("login", request.remote_addr or "", name, password)
    known = accounts.find(name)
    auth_attempts.labels("failed").inc()
    note("login", "failed" if g.guessed else "repeated", request.remote_addr, user=known.name if known else None)


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
