"""The API as a program outside uses it."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from typing import Any

from outside import Outside, Site


@dataclass
class Api:
    """Calls with one user's token."""

    site: Site
    outside: Outside
    token: str = ""

    def call(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Return (status, answer) of a call of *path* under /api/v1."""
        words = ["-X", method]
        if self.token:
            words += ["-H", f"Authorization: Bearer {self.token}"]
        if body is not None:
            words += ["-H", "Content-Type: application/json", "-d", json.dumps(body)]
        status, text = self.outside.get(f"https://{self.site.address}/api/v1{path}", *words)
        return status, json.loads(text) if text.strip() else None

    def does(self, method: str, path: str, body: Any = None) -> Any:
        """Return the answer of a call that has to succeed."""
        status, answer = self.call(method, path, body)
        assert 200 <= status < 300, f"{method} {path}: {status} {answer}"
        return answer

    def sign_in(self, name: str, password: str) -> None:
        """Take the token of *name* for further calls."""
        self.token = self.does("POST", "/auth/login", {"name": name, "password": password})["access_token"]

    def downloads(self, path: str, file: str) -> None:
        """Download *path* into *file* on the machine outside."""
        url = shlex.quote(f"https://{self.site.address}/api/v1{path}")
        self.outside.output(f"curl -skf -m 30 -H 'Authorization: Bearer {self.token}' -o {file} {url}")
