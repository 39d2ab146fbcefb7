"""People who sign in."""

from __future__ import annotations

import secrets
import string

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError
from sqlalchemy import delete as remove
from sqlalchemy import select

from ..models import ROLES, Login, User
from ..permissions import OPERATOR, Who
from ..site.clock import now
from ..site.database import db
from ..streams import keys, sessions
from . import logins

# OWASP's Password Storage Cheat Sheet: Argon2id, 19 MiB, 2 passes, 1 lane.
hasher = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
# Compared with when there is no such user, so that the answer takes as long as for one that there is.
NOBODY = hasher.hash(secrets.token_urlsafe())

SHORTEST_PASSWORD = 16  # characters; the guide's rule (section 1)
LONGEST_PASSWORD = 128
LONGEST_NAME = 64
FEWEST_DIFFERENT = 6
CLASSES = (string.ascii_lowercase, string.ascii_uppercase, string.digits, "!#%+,-.:=?@_~")


class AccountProblem(ValueError):
    """An account that can't be made or changed; the message is one sentence for people."""


def find(name: str) -> User | None:
    """Return the user *name*."""
    return db.session.scalar(select(User).where(User.name == name))


def known(name: str) -> User:
    """Return the user *name*, or raise AccountProblem."""
    user = find(name)
    if user is None:
        raise AccountProblem(f"There is no user {name!r}: the list of users shows who there is.")
    return user


def everybody() -> list[User]:
    """Return all users by name."""
    return list(db.session.scalars(select(User).order_by(User.name)))


def verifies(user: User, password: str) -> bool:
    """Tell whether *password* is the one of *user*."""
    return _matches(user.password_hash, password)


def _matches(password_hash: str, password: str) -> bool:
    """Tell whether *password* has *password_hash*; see `_hashed`."""
    db.session.commit()
    try:
        return hasher.verify(password_hash, password)
    except (VerifyMismatchError, InvalidHashError):
        return False


def _hashed(password: str) -> str:
    """Return the hash of *password*. It is slow on purpose, and whoever publishes does not wait for it.

    The transaction ends here, so that nothing is locked meanwhile: what was read before may have changed after.
    """
    db.session.commit()
    return hasher.hash(password)


def authenticate(name: str, password: str) -> User | None:
    """Return the user who may sign in with these, or None; an unknown name takes as long as a wrong password."""
    user = find(name)
    password_hash = user.password_hash if user else NOBODY
    if not _matches(password_hash, password):
        return None
    user = find(name)
    return user if user and user.password_hash == password_hash and user.disabled_at is None else None


def generate_password(name: str) -> str:
    """Return a random password for the user *name*, of 24 characters with all four classes."""
    while True:
        value = "".join(secrets.choice("".join(CLASSES)) for _ in range(24))
        if all(any(c in kind for c in value) for kind in CLASSES) and name.lower() not in value.lower():
            return value


def judge_password(name: str, password: str) -> None:
    """Raise AccountProblem when *password* is too easy to guess for the user *name*."""
    if not SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
        raise AccountProblem(f"A password has {SHORTEST_PASSWORD} to {LONGEST_PASSWORD} characters.")
    if len(set(password)) < FEWEST_DIFFERENT:
        raise AccountProblem(f"A password has at least {FEWEST_DIFFERENT} different characters.")
    if name.lower() in password.lower():
        raise AccountProblem("A password does not contain the user's name.")


def _must_be_free(name: str) -> None:
    """Raise AccountProblem when there is a user *name*."""
    if find(name) is not None:
        raise AccountProblem(f"{name} exists already: choose another name.")


def create(name: str, role: str, password: str | None = None) -> tuple[User, str]:
    """Make the user *name* and return it with its password, which is generated when none is given.

    Raises:
        AccountProblem: the name breaks the rule or is taken, the role does not exist, or the password is weak.
    """
    if not keys.well_formed(name):
        raise AccountProblem("A user's name has 3 to 64 of the characters a-z, A-Z, 0-9, - and _.")
    if role not in ROLES:
        raise AccountProblem(f"A role is one of {', '.join(ROLES)}.")
    _must_be_free(name)
    password = generate_password(name) if password is None else password
    judge_password(name, password)
    password_hash = _hashed(password)
    _must_be_free(name)
    user = User(name=name, password_hash=password_hash, role=role)
    db.session.add(user)
    db.session.commit()
    return user, password


def set_password(user: User, password: str | None = None) -> str:
    """Give *user* a new password (generated when none is given), end whatever was signed in, and return it.

    Raises:
        AccountProblem: the password is weak, or the user was deleted meanwhile.
    """
    name = user.name
    password = generate_password(name) if password is None else password
    judge_password(name, password)
    password_hash = _hashed(password)
    user = known(name)
    user.password_hash = password_hash
    logins.revoke_all(user)
    return password


def _must_not_be_last_admin(user: User) -> None:
    """Raise AccountProblem when nobody could manage this host without *user*."""
    others = [u for u in everybody() if u.role == "admin" and u.disabled_at is None and u.id != user.id]
    if user.role == "admin" and not others:
        raise AccountProblem(f"{user.name} is the last admin: make another one first.")


def set_role(user: User, role: str) -> None:
    """Give *user* another role; who is signed in is signed out."""
    if role not in ROLES:
        raise AccountProblem(f"A role is one of {', '.join(ROLES)}.")
    if role == user.role:
        return
    _must_not_be_last_admin(user)
    user.role = role
    logins.revoke_all(user)


def disable(user: User) -> None:
    """Let *user* sign in no more, and nobody publish on their keys; what is live on them ends within seconds."""
    _must_not_be_last_admin(user)
    user.disabled_at = user.disabled_at or now()
    sessions.send_away_all_of(user, "disabled")
    logins.revoke_all(user)


def enable(user: User) -> None:
    """Let *user* sign in again, and publish on the keys that were not revoked for themselves."""
    user.disabled_at = None
    db.session.commit()


def delete(user: User, *, by: Who = OPERATOR) -> None:
    """Forget *user*; their keys are revoked by *by* and belong to nobody, and what is live on them ends in seconds."""
    _must_not_be_last_admin(user)
    sessions.send_away_all_of(user, "revoked")
    for key in user.keys:
        keys.withdraw(key, by)
    db.session.execute(remove(Login).where(Login.user_id == user.id))
    db.session.delete(user)
    db.session.commit()


def ensure_admin(name: str, password: str) -> None:
    """Make the admin *name*, or give the existing one the deployed *password* when the deployment's has changed."""
    user = find(name)
    if user and user.deployed_hash and _matches(user.deployed_hash, password):
        return
    password_hash = _hashed(password)
    user = find(name)
    if user is None:
        user = User(name=name, role="admin")
        db.session.add(user)
    user.password_hash = user.deployed_hash = password_hash
    logins.revoke_all(user)
