"""Errors: for people a page, for programs a problem document."""

from __future__ import annotations

from http import HTTPStatus

from flask import Response, make_response, render_template, request
from flask.globals import request_ctx
from werkzeug.exceptions import HTTPException

from ..site.problem_details import problem

FOR_PROGRAMS = ("/api/", "/internal/", "/metrics", "/healthz", "/readyz")
SAID = {
    404: "There is nothing at this address. The stream may have another name, or the page was removed.",
    405: "This address can't be opened this way: go back and use the page's own buttons.",
    413: "That was more than this page takes: send less.",
    500: "Something here went wrong. It is in the log; try again in a moment.",
}


def _wants_page() -> bool:
    """Tell whether a browser asks; a program that takes anything gets a problem document.

    So does who names a host that can be none: a page has links, and there would be no address for them.
    """
    if request_ctx.url_adapter is None:
        return False
    accepted = request.accept_mimetypes
    named = any(kind == "text/html" for kind, _quality in accepted)
    return named and accepted["text/html"] >= accepted["application/json"]


def answer_error(error: HTTPException) -> Response:
    """Return *error* in the form that the caller understands."""
    if request.path.startswith(FOR_PROGRAMS) or not _wants_page():
        return problem(error)
    status = error.code or HTTPStatus.INTERNAL_SERVER_ERROR
    own = error.description if status not in SAID or error.description != type(error).description else None
    response = make_response(render_template("error.html", title=error.name, said=own or SAID.get(status, "")), status)
    for name, value in error.get_headers():
        if name.lower() not in ("content-type", "content-length", "www-authenticate"):
            response.headers[name] = value
    return response
