"""A browser as the pages see it: cookies over https, forms with the token that the page gave."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

SITE = "https://streams.test"
HTML = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


@dataclass
class Browser:
    """Somebody with a name and a password in front of pages."""

    client: FlaskClient
    name: str = ""
    password: str = ""

    def get(self, path: str, **options: Any) -> TestResponse:
        return self.client.get(path, base_url=SITE, headers=HTML | options.pop("headers", {}), **options)

    def send(self, path: str, fields: dict[str, Any] | None = None, **options: Any) -> TestResponse:
        """Post *fields* as they are."""
        headers = HTML | {"Sec-Fetch-Site": "same-origin"} | options.pop("headers", {})
        return self.client.post(path, base_url=SITE, data=fields or {}, headers=headers, **options)

    def post(self, path: str, **fields: Any) -> TestResponse:
        """Post *fields* with the token that the pages carry."""
        return self.send(path, fields | {"csrf_token": self.token()})

    def token(self) -> str:
        found = re.search(r'name="csrf-token" content="([0-9a-f]+)"', self.get("/account").text)
        assert found
        return found[1]

    def sign_in(self, **fields: str) -> TestResponse:
        return self.send("/session", {"name": self.name, "password": self.password} | fields)

    def cookie(self, name: str, path: str = "/") -> str:
        found = self.client.get_cookie(name, domain="streams.test", path=path)
        return found.value if found else ""
