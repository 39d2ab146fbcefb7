"""People who sign in."""

from __future__ import annotations

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError
from sqlalchemy import select

from .database import db
from .models import User

# OWASP's Password Storage Cheat Sheet: Argon2id, 19 MiB, 2 passes, 1 lane.
hasher = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)


def find(name: str) -> User | None:
    """Return the user *name*."""
    return db.session.scalar(select(User).where(User.name == name))


def verifies(user: User, password: str) -> bool:
    """Tell whether *password* is the one of *user*."""
    try:
        return hasher.verify(user.password_hash, password)
    except (VerifyMismatchError, InvalidHashError):
        return False


def ensure_admin(name: str, password: str) -> None:
    """Make the admin *name*, or give the existing one the deployed *password* when it has changed."""
    user = find(name)
    if user is None:
        db.session.add(User(name=name, password_hash=hasher.hash(password), role="admin"))
    elif not verifies(user, password):
        user.password_hash = hasher.hash(password)
    db.session.commit()
