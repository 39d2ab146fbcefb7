"""Secrets of others that have to be told to them again, and so can't be kept as hashes: sealed at rest.

What seals is derived from DATA_KEY (HKDF, RFC 5869), which lies outside the database: who copies the database alone
opens nothing. What DATA_KEY_PREVIOUS sealed is opened too, until it has been sealed anew.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from .settings import Settings

PURPOSE = b"streamkeep relay targets"


class Unopenable(Exception):
    """Something that no key of ours has sealed."""


def _derived(secret: str) -> Fernet:
    """Return what seals with *secret*."""
    return Fernet(urlsafe_b64encode(HKDF(SHA256(), 32, salt=None, info=PURPOSE).derive(secret.encode())))


class Sealer:
    """Seals and opens with the keys of *settings*."""

    def __init__(self, settings: Settings) -> None:
        self._newest = _derived(settings.data_key)
        self._all = MultiFernet([_derived(key) for key in (settings.data_key, settings.data_key_previous) if key])

    def seal(self, text: str) -> str:
        """Return *text* sealed."""
        return self._newest.encrypt(text.encode()).decode()

    def open(self, sealed: str) -> str:
        """Return what was sealed.

        Raises:
            Unopenable: another key sealed it.
        """
        try:
            return self._all.decrypt(sealed.encode()).decode()
        except InvalidToken:
            raise Unopenable from None

    def anew(self, sealed: str) -> str:
        """Return *sealed* as the newest key seals it; what that one sealed already stays as it is.

        Raises:
            Unopenable: another key sealed it.
        """
        try:
            self._newest.decrypt(sealed.encode())
        except InvalidToken:
            return self.seal(self.open(sealed))
        return sealed
