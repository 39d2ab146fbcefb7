"""Which refused secrets are guesses, and which are one mistake that repeats itself.

An encoder with a wrong key, or a program with a former password, tries again every few seconds: that is one guess,
however often it comes. What is kept of a refused secret is a hash under a key that lies outside the database, for a day
after it was tried last. fail2ban and the limit of attempts to sign in count what is new.
"""

from __future__ import annotations

import hmac
from datetime import timedelta
from hashlib import sha256

from sqlalchemy import delete, func, select

from ..models import Refusal
from ..site.clock import now
from ..site.database import db
from ..site.settings import current_settings

KEPT = timedelta(days=1)  # the longest window in which an operator may let failures count
MOST = 10_000  # refusals; the ones tried longest ago are forgotten first


def _mark(*parts: str) -> str:
    """Return what is kept of a refused secret and where it was tried: HMAC-SHA256 (RFC 2104), hex.

    Each part is hashed by itself first, so that no two lists of parts read the same.
    """
    apart = b"".join(sha256(part.encode(errors="surrogatepass")).digest() for part in parts)
    return hmac.new(current_settings().jwt_secret.encode(), b"refusal" + apart, sha256).hexdigest()


def is_new_guess(kind: str, client: str, name: str, secret: str) -> bool:
    """Tell whether *client* (an address) tried this wrong *secret* under *name* for the first time; remember that.

    *kind* keeps streams and people apart, who may have the same name.
    """
    mark, moment = _mark(kind, client, name, secret), now()
    db.session.execute(delete(Refusal).where(Refusal.at < moment - KEPT))
    known = db.session.get(Refusal, mark)
    if known:
        known.at = moment
    else:
        too_many = (db.session.scalar(select(func.count()).select_from(Refusal)) or 0) + 1 - MOST
        if too_many > 0:
            oldest = select(Refusal.mark).order_by(Refusal.at).limit(too_many)
            db.session.execute(delete(Refusal).where(Refusal.mark.in_(oldest)))
        db.session.add(Refusal(mark=mark, at=moment))
    db.session.commit()
    return known is None
