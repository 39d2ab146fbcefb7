"""People who sign in, as tests see them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from flask.testing import FlaskClient
from werkzeug.test import TestResponse


@dataclass
class Person:
    """Somebody with a name and a password, who may be signed in to the API."""

    client: FlaskClient
    name: str
    password: str
    tokens: dict[str, Any] = field(default_factory=dict)

    def sign_in(self) -> Person:
        answer = self.client.post("/api/v1/auth/login", json={"name": self.name, "password": self.password})
        assert answer.status_code == 200, answer.text
        self.tokens = answer.json
        return self

    def ask(self, method: str, path: str, refreshing: bool = False, **options: Any) -> TestResponse:
        bearer = self.tokens["refresh_token" if refreshing else "access_token"]
        headers = {"Authorization": f"Bearer {bearer}"} | options.pop("headers", {})
        return self.client.open(f"/api/v1{path}", method=method, headers=headers, **options)

    def get(self, path: str, **options: Any) -> TestResponse:
        return self.ask("GET", path, **options)

    def post(self, path: str, **options: Any) -> TestResponse:
        return self.ask("POST", path, **options)
