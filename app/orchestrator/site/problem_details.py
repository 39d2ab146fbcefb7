"""One shape for every error: problem details (RFC 9457)."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from flask import Response, jsonify
from marshmallow import Schema, fields
from werkzeug.exceptions import HTTPException

PROBLEM = "application/problem+json"


class Problem(Schema):
    """What is wrong, in a form for programs and in one sentence for people."""

    type = fields.String(required=True, metadata={"description": "Always about:blank: the title is the status's name."})
    title = fields.String(required=True)
    status = fields.Integer(required=True)
    detail = fields.String(required=True, metadata={"description": "One sentence: what is wrong, and what to do."})
    errors = fields.Dict(metadata={"description": "For 422: by location and field, what is wrong with each."})


def problem(error: HTTPException) -> Response:
    """Return *error* as problem details."""
    status = error.code or HTTPStatus.INTERNAL_SERVER_ERROR
    # webargs keeps here what it found wrong with the fields.
    found: dict[str, Any] = getattr(error, "data", None) or {}
    body = {"type": "about:blank", "title": error.name, "status": status, "detail": error.description}
    if "messages" in found:
        body |= {"detail": "Some fields are missing, unknown or wrong: see errors.", "errors": found["messages"]}
    response = jsonify(body)
    response.status_code = status
    response.content_type = PROBLEM
    for name, value in error.get_headers():
        if name.lower() not in ("content-type", "content-length"):
            response.headers[name] = value
    return response
