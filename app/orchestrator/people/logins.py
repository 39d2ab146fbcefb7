"""Sign-ins and the refresh tokens that descend from them (RFC 9700, section 4.14: rotation and reuse detection)."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

from sqlalchemy import ColumnElement, delete, func, select, update

from ..models import Login, User
from ..site.clock import now
from ..site.database import db

LONGEST_LOGIN = timedelta(days=30)
MOST = 100  # logins of one user; a program that signs in for every call ends its own oldest ones
# Two tabs of one browser that wake up together send the same refresh token; the second is no thief.
TWO_TABS = timedelta(seconds=10)


def begin(user: User) -> Login:
    """Begin a login of *user*; those that are over are forgotten, and the user's oldest beyond MOST."""
    db.session.execute(delete(Login).where(Login.expires_at < now()))
    oldest = select(Login.id).where(Login.user_id == user.id).order_by(Login.created_at.desc()).offset(MOST - 1)
    db.session.execute(delete(Login).where(Login.id.in_(oldest)))
    login = Login(user_id=user.id, expires_at=now() + LONGEST_LOGIN)
    db.session.add(login)
    db.session.commit()
    return login


def find(login_id: str) -> Login | None:
    """Return the login *login_id* while it holds: neither over nor revoked, and its user not disabled."""
    login = db.session.get(Login, login_id)
    if login is None or login.revoked_at is not None or login.expires_at <= now():
        return None
    return login if login.user.disabled_at is None else None


def rotate(login: Login) -> None:
    """Replace the refresh token of *login*: the former one does not count any more."""
    login.previous_id, login.refresh_id, login.refreshed_at = login.refresh_id, str(uuid4()), now()
    db.session.commit()


def is_second_tab(login: Login, refresh_id: str) -> bool:
    """Tell whether *refresh_id* was replaced only just now."""
    return refresh_id == login.previous_id and now() - (login.refreshed_at or login.created_at) <= TWO_TABS


def revoke(login: Login) -> None:
    """End *login*: none of its tokens counts any more."""
    login.revoked_at = login.revoked_at or now()
    db.session.commit()


def revoke_all(user: User) -> None:
    """End all logins of *user*, and save what else has changed of them."""
    db.session.flush()  # a user who was made just now has an id only then
    db.session.execute(
        update(Login).where(Login.user_id == user.id, Login.revoked_at.is_(None)).values(revoked_at=now())
    )
    db.session.commit()


def _holding(user: User) -> tuple[ColumnElement[bool], ...]:
    """Return what is true of the logins of *user* that hold."""
    return Login.user_id == user.id, Login.revoked_at.is_(None), Login.expires_at > now()


def of(user: User) -> list[Login]:
    """Return the logins of *user* that hold, the newest first; there are MOST at most."""
    query = select(Login).where(*_holding(user)).order_by(Login.created_at.desc())
    return list(db.session.scalars(query))


def count(user: User) -> int:
    """Return how many logins of *user* hold."""
    return db.session.scalar(select(func.count(Login.id)).where(*_holding(user))) or 0
