"""Secrets of others that have to be told to them again, and so can't be kept as hashes: encrypted at rest.

What encrypts is derived from DATA_KEY (HKDF, RFC 5869), which lies outside the database: who copies the database alone
decrypts nothing. What DATA_KEY_PREVIOUS encrypted is decrypted too, until it has been encrypted anew.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from .settings import Settings

PURPOSE = b"streamkeep relay targets"


class Undecryptable(Exception):
    """Something that no key of ours has encrypted."""


def _derived(secret: str) -> Fernet:
    """Return what encrypts with *secret*."""
    return Fernet(urlsafe_b64encode(HKDF(SHA256(), 32, salt=None, info=PURPOSE).derive(secret.encode())))


class Cipher:
    """Encrypts and decrypts with the keys of *settings*."""

    def __init__(self, settings: Settings) -> None:
        self._newest = _derived(settings.data_key)
        self._all = MultiFernet([_derived(key) for key in (settings.data_key, settings.data_key_previous) if key])

    def encrypt(self, text: str) -> str:
        """Return *text* encrypted."""
        return self._newest.encrypt(text.encode()).decode()

    def decrypt(self, encrypted: str) -> str:
        """Return what was encrypted.

        Raises:
            Undecryptable: another key encrypted it.
        """
        try:
            return self._all.decrypt(encrypted.encode()).decode()
        except InvalidToken:
            raise Undecryptable from None

    def reencrypt(self, encrypted: str) -> str:
        """Return *encrypted* as the newest key encrypts it; what that one encrypted already stays as it is.

        Raises:
            Undecryptable: another key encrypted it.
        """
        try:
            self._newest.decrypt(encrypted.encode())
        except InvalidToken:
            return self.encrypt(self.decrypt(encrypted))
        return encrypted
