"""What all parts of the API have in common: strict arguments, the rate limit, and described errors."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import wraps
from http import HTTPStatus
from typing import Any, TypeVar

from flask import Request, abort
from flask_jwt_extended import current_user
from flask_smorest import Blueprint
from marshmallow import RAISE, Schema
from webargs.flaskparser import FlaskParser

from .. import permissions
from ..people import tokens
from ..site.problem_details import PROBLEM, Problem
from ..site.rate_limits import api_requests

View = TypeVar("View", bound=Callable[..., Any])


class StrictParser(FlaskParser):
    """Refuses unknown fields wherever they stand; webargs would pass over those of a query."""

    DEFAULT_UNKNOWN_BY_LOCATION = {"json": RAISE, "query": RAISE}  # noqa: RUF012  # as the base class declares it

    def load_json(self, req: Request, schema: Schema) -> Any:
        """Return the body; one nested too deep, with an endless number or half a character is no JSON of ours."""
        try:
            found = super().load_json(req, schema)
            json.dumps(found, ensure_ascii=False, default=str).encode()
        except (RecursionError, ValueError):
            abort(HTTPStatus.BAD_REQUEST, "The body is no JSON that can be read.")
        return found


class ApiBlueprint(Blueprint):
    """A part of the API; give the part's name and its path under /api/v1."""

    ARGUMENTS_PARSER = StrictParser()

    def __init__(self, name: str, path: str, description: str) -> None:
        super().__init__(f"api_{name}", name, url_prefix=f"/api/v1{path}", description=description)
        api_requests(self)

    def signed_in(self, *roles: str) -> Callable[[View], View]:
        """Let a view be called by a signed-in user in one of *roles* (none named: any), and say so in the document."""

        def decorate(view: View) -> View:
            @wraps(view)
            def for_roles(*args: Any, **kwargs: Any) -> Any:
                tokens.checked("headers")
                if not permissions.in_role(current_user, roles):
                    abort(HTTPStatus.FORBIDDEN, f"This needs the role {' or '.join(roles)}.")
                return view(*args, **kwargs)

            guarded = self.doc(security=[{"bearer": []}])(for_roles)
            return self.refusals(HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)(guarded)  # type: ignore[no-any-return]  # flask-smorest has no types

        return decorate

    def refusals(self, *statuses: HTTPStatus) -> Callable[[View], View]:
        """Describe the errors with *statuses*; too many requests is always one of them."""

        def decorate(view: View) -> View:
            for status in {*statuses, HTTPStatus.TOO_MANY_REQUESTS}:
                view = self.alt_response(status, schema=Problem, content_type=PROBLEM, description=status.phrase)(view)
            return view

        return decorate

    def takes(self, schema: type[Schema], location: str = "json") -> Callable[[View], View]:
        """Take the fields of *schema*, and describe how a wrong body is refused."""

        def decorate(view: View) -> View:
            view = self.arguments(schema, location=location)(view)
            refused = [HTTPStatus.UNPROCESSABLE_ENTITY]
            if location == "json":
                refused += [HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE]
            return self.refusals(*refused)(view)

        return decorate
