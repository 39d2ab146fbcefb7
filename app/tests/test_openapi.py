"""The API described by its own OpenAPI document, and fuzzed from it."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import pytest
import schemathesis
from api_clients import Person
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given
from hypothesis import settings as how
from hypothesis import strategies as st
from orchestrator.people import accounts, logins, tokens
from orchestrator.site.database import db
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

CHECKS = (
    schemathesis.checks.not_a_server_error,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)


@pytest.fixture
def document(client: FlaskClient) -> dict[str, Any]:
    answer: dict[str, Any] = client.get("/api/openapi.json").json
    return answer


def test_every_operation_is_described(app: Flask, document: dict[str, Any]) -> None:
    assert document["openapi"] == "3.1.0"
    rules = [rule.rule.replace("<", "{").replace(">", "}") for rule in app.url_map.iter_rules()]
    assert set(document["paths"]) == {rule for rule in rules if rule.startswith("/api/v1/")}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if method == "parameters":
                continue
            where = f"{method} {path}"
            assert operation["summary"], where
            assert "429" in operation["responses"], where
            if path not in ("/api/v1/auth/login",):
                assert operation["security"] == [{"bearer": []}], where
                assert "401" in operation["responses"], where
            for status, response in operation["responses"].items():
                if int(status) >= 400:
                    assert list(response["content"]) == ["application/problem+json"], where


def test_no_field_is_taken_that_is_not_described(document: dict[str, Any]) -> None:
    for name in ("Credentials", "NewKey", "KeyChange", "NewUser", "UserChange", "PasswordChange", "Kick", "NewRelay"):
        assert document["components"]["schemas"][name]["additionalProperties"] is False, name


@pytest.fixture
def schema(app: Flask, admin: Person) -> Any:
    for slug in ("alice", "bob"):
        admin.post("/keys", json={"slug": slug})
    db.session.commit()
    return schemathesis.openapi.from_wsgi("/api/openapi.json", app)


@pytest.mark.parametrize("examples", [10, pytest.param(40, marks=pytest.mark.slow)])
def test_whatever_is_sent_the_answer_is_as_described(schema: Any, admin: Person, examples: int) -> None:
    operations = [found.ok() for found in schema.get_all_operations()]
    assert len(operations) >= 20
    statuses = Counter()
    for operation in operations:

        @how(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck), database=None)
        @given(case=operation.as_strategy(), anonymous=st.sampled_from([False, False, False, True]))
        def fuzz(case: schemathesis.Case, anonymous: bool) -> None:
            # A token of its own for each: some of what is sent signs out.
            token = tokens.issue(logins.begin(accounts.known(admin.name)))
            bearer = token.refresh if case.path.endswith("/refresh") else token.access
            db.session.commit()
            answer = case.call(headers={} if anonymous else {"Authorization": f"Bearer {bearer}"})
            case.validate_response(answer, checks=CHECKS)
            statuses[answer.status_code] += 1

        fuzz()
    assert {200, 201, 204, 401, 404, 422} <= set(statuses)
    assert statuses.total() > 7 * examples


def test_the_page_for_people_shows_every_operation(client: FlaskClient, document: dict[str, Any]) -> None:
    page = client.get("/api/docs")
    assert page.status_code == 200
    for path, operations in document["paths"].items():
        for method in set(operations) - {"parameters"}:
            assert f"{method.upper()} {path}" in page.text
    assert not re.search(r"<script(?![^>]* src=)", page.text), "a script of its own stands in the page"
