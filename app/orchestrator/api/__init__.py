"""The API for programs: /api/v1, described by its own OpenAPI 3.1 document at /api/openapi.json."""

from __future__ import annotations

from flask import Flask
from flask_smorest import Api

from ..site.problem_details import Problem, problem
from . import auth, docs, invitations, keys, recordings, relays, streams, users


class ProblemApi(Api):
    """An API whose errors are problem details; the application's own handler answers with them."""

    ERROR_SCHEMA = Problem
    DEFAULT_ERROR_RESPONSE_NAME = None  # each view names its refusals; "anything else" would describe nothing
    handle_http_exception = staticmethod(problem)


def configure(app: Flask) -> None:
    """Register the API on *app*."""
    app.config.update(
        API_TITLE="Streamkeep",
        API_VERSION="v1",
        OPENAPI_VERSION="3.1.0",
        OPENAPI_URL_PREFIX="/api",
        OPENAPI_JSON_PATH="openapi.json",
        API_SPEC_OPTIONS={
            "info": {
                "description": "Sign in, manage stream keys, see and end what is live.",
                "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            },
            "components": {"securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}}},
        },
    )
    api = ProblemApi(app)
    for module in (auth, users, keys, invitations, relays, streams, recordings):
        api.register_blueprint(module.blueprint)
    app.register_blueprint(docs.blueprint)
